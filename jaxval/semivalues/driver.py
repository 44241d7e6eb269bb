"""The loop of a run: rounds sized by its limits, steps compiled once."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jaxval._checks import check
from jaxval.coalitions import queries
from jaxval.coalitions.game import Game
from jaxval.execution.options import Execution
from jaxval.execution.parallel import indexed_map
from jaxval.semivalues import checkpoint as _checkpoint
from jaxval.semivalues import estimator as _estimator
from jaxval.semivalues import exact
from jaxval.semivalues.estimator import Estimator
from jaxval.semivalues.host import OutOfTime, Record
from jaxval.semivalues.saves import Saves
from jaxval.semivalues.stopping import Rule, Status, limits
from jaxval.types import PRNGKey

__all__ = ["Driver", "check_players", "status_of"]

_PATIENCE = 0.25
"""Seconds of work on a device between two looks at the clock."""

_EXHAUSTED = 1000
"""Evaluations per coalition of a small game after which sampling has nothing more to
learn: none has been missed, and enumeration costs a thousandth."""


class Driver:
    """One run.

    `whole` is the state after whole steps, and their number: what is saved. Shortened
    steps go on from it, and are drawn anew by a run that resumes.
    """

    def __init__(
        self,
        key: PRNGKey,
        estimator: Estimator,
        game: Any,
        until: Rule,
        every: int,
        execution: Execution,
        saves: Saves,
    ) -> None:
        self.key, self.estimator, self.game = key, estimator, game
        self.until, self.every, self.execution = until, every, execution
        self.saves, self.limits = saves, limits(until)
        self.started = time.monotonic()
        self.ends = queries.ends(game) if estimator.has_endpoints else None
        state = estimator.init(self.ends)
        check_players(estimator, game, state)
        loaded = saves.load(state, self.ends)
        self.whole, self.spent, scored = (state, 0), 0.0, []
        if loaded is not None:
            self.whole = (loaded.state, loaded.steps)
            self.spent, scored = loaded.seconds, loaded.scored
        self.record = None
        if game.on_host and isinstance(game, Game):
            self.record = Record(game, scored, self._is_over)
        self.chunk, self.pace, self.is_exact = 1, 0.0, False

    def run(self, progress: Callable[[Status], None] | None) -> tuple[Status, Any]:
        """Rounds of steps until the rule, the clock or the game's size ends them."""
        state, steps = self.whole
        status = self._status(state, steps)
        try:
            while not (steps > 0 and self.until(status)):
                if self._is_exhausted(status):
                    return self._enumerate(status), state
                state, steps = self._round(state, steps, status)
                status = self._status(state, steps)
                if progress is not None:
                    progress(status)
        except OutOfTime:
            status = self._status(state, steps)
        finally:
            # Also after an exception or an interrupt: nothing that is scored is lost.
            self.saves.write(self._what(), self.ends)
        return status, state

    def _round(self, state: Any, steps: int, status: Status) -> tuple[Any, int]:
        """Steps up to the next look at the rule."""
        left, each = self._left(status), self.estimator.max_evaluations
        short = left is not None and each is not None and left < each
        if (short or steps > self.whole[1]) and self.estimator.shorten is not None:
            sample = self.estimator.shorten(max(left or 1, 1))
            return self._advance(sample, state, steps, 1), steps + 1
        count = self.every - steps % self.every
        if self.game.on_host:
            count = 1
        elif left is not None:
            count = min(count, max(left // each, 1) if each else 1)
        stop = steps + count
        while steps < stop:
            some = self._chunk_of(stop - steps)
            started = time.monotonic()
            state = self._advance(self.estimator.sample, state, steps, some)
            steps += some
            self.whole = (state, steps)
            if self.record is not None:
                self.record.clear()
            self._pace(time.monotonic() - started, some)
            if self.saves.is_due():
                self.saves.write(self._what(), self.ends)
            if self._is_over():
                break
        return state, steps

    def _advance(self, sample: Any, state: Any, steps: int, count: int) -> Any:
        """The state `count` steps later, checked."""
        fold = _partial(self.estimator.fold)
        if self.game.on_host:
            game = self.game if self.record is None else self.record.game
            finite = True
            for i in range(steps, steps + count):
                one = sample(jax.random.fold_in(self.key, i), game, self.ends)
                state, finite = _fold_one(fold, state, one)
        else:
            batch = self.execution.batch_size or 1
            samples = indexed_map(
                _keyed(sample),
                steps,
                count,
                self.key,
                self.game,
                self.ends,
                capacity=self.every,
                batch_size=batch,
                mesh=self.execution.mesh,
            )
            state, finite = _fold_all(fold, state, samples, jnp.int32(count))
        if not finite:
            self._name_the_coalition(steps, count)
        return state

    def _left(self, status: Status) -> int | None:
        if self.limits.num_evaluations is None:
            return None
        return self.limits.num_evaluations - status.num_evaluations

    def _seconds(self) -> float:
        return self.spent + time.monotonic() - self.started

    def _is_over(self) -> bool:
        # A first step is always made: without it there is no value to return.
        bound = self.limits.seconds
        return bound is not None and self.whole[1] > 0 and self._seconds() >= bound

    def _chunk_of(self, left: int) -> int:
        # What the clock decides here is how soon an interrupt, a save or a time limit
        # is noticed; never what comes out.
        devices, batch = self.execution.num_devices, self.execution.batch_size or 1
        some = max(self.chunk, devices * batch)
        bound = self.limits.seconds
        if bound is not None and self.pace > 0:
            some = min(some, max(int((bound - self._seconds()) / self.pace), 1))
        return min(some, left)

    def _pace(self, seconds: float, count: int) -> None:
        self.pace = seconds / count
        if seconds < _PATIENCE:
            self.chunk = 2 * count
        else:
            self.chunk = max(int(count * _PATIENCE / seconds), 1)

    def _status(self, state: Any, steps: int) -> Status:
        return status_of(self.estimator, state, steps, self._seconds())

    def _what(self) -> _checkpoint.Loaded:
        state, steps = self.whole
        scored = [] if self.record is None else self.record.scored
        return _checkpoint.Loaded(state, steps, self._seconds(), scored)

    def _is_exhausted(self, status: Status) -> bool:
        n = self.game.num_players
        is_game = isinstance(self.game, Game)
        has_weights = self.estimator.log_weights is not None and is_game
        return has_weights and n <= 16 and status.num_evaluations >= _EXHAUSTED * 2**n

    def _enumerate(self, status: Status) -> Status:
        assert self.estimator.log_weights is not None
        estimate = exact.values(self.game, self.estimator.log_weights)
        covariance = status.covariance
        self.is_exact = True
        return dataclasses.replace(
            status,
            estimate=estimate,
            covariance=None if covariance is None else np.zeros_like(covariance),
            num_evaluations=status.num_evaluations + int(estimate.counts[0]),
        )

    def _name_the_coalition(self, steps: int, count: int) -> None:
        """Raise, after asking the game again for what the bad steps asked it."""
        if isinstance(self.game, Game):
            checked = _asked_on_host(self.game)
            for i in range(steps, steps + count):
                key = jax.random.fold_in(self.key, i)
                self.estimator.sample(key, checked, self.ends)
        raise ValueError(
            f"the game's score must be finite; a coalition met in steps {steps} to "
            f"{steps + count - 1} has one that is not. A game must be defined for "
            "every coalition, and a solver in it must converge."
        )


def check_players(estimator: Estimator, game: Any, state: Any) -> None:
    """Check that the estimator was made for as many players as the game has."""
    made_for = jax.eval_shape(estimator.estimate, state).values.shape[0]
    check(
        made_for == game.num_players,
        f"estimator was made for {made_for} players; the game has {game.num_players}.",
    )


def _asked_on_host(game: Game) -> Game:
    """The same game, whose scores are asked for (and checked) by `queries`."""
    prefixes = functools.partial(queries.prefix_scores, game)
    return Game(
        game.num_players,
        lambda mask: queries.scores(game, np.asarray(mask)[None])[0],
        fast_scores=functools.partial(queries.scores, game),
        fast_prefixes=None if game.fast_prefixes is None else prefixes,
        on_host=True,
    )


def _partial(fn: Callable[..., Any]) -> Partial:
    # Arrays of a Partial are arguments, not constants: one program for all weights.
    return fn if isinstance(fn, Partial) else Partial(fn)


def _keyed(sample: Callable[..., Any]) -> Partial:
    """A sample function of a step's number instead of its key."""
    whole = _partial(sample)
    return Partial(_Keyed(whole.func), *whole.args, **whole.keywords)


@dataclasses.dataclass(frozen=True)
class _Keyed:
    sample: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        *arrays, i, key, game, ends = args
        return self.sample(*arrays, jax.random.fold_in(key, i), game, ends)


@jax.jit
def _fold_all(fold: Partial, state: Any, samples: Any, count: Any) -> Any:
    """The state with the first `count` samples folded in, and whether it is finite."""
    row = lambda k: jax.tree.map(
        lambda x: jax.lax.dynamic_index_in_dim(x, k, 0, keepdims=False), samples
    )
    state = jax.lax.fori_loop(0, count, lambda k, state: fold(state, row(k)), state)
    return state, _is_finite(state)


@jax.jit
def _fold_one(fold: Partial, state: Any, sample: Any) -> Any:
    state = fold(state, sample)
    return state, _is_finite(state)


def _is_finite(state: Any) -> Any:
    good = [
        jnp.isfinite(leaf).all()
        for leaf in jax.tree.leaves(state)
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
    ]
    return jnp.stack(good).all() if good else jnp.asarray(True)


_ask = jax.jit(lambda estimate, covariance, state: (estimate(state), covariance(state)))


def status_of(estimator: Estimator, state: Any, steps: int, seconds: float) -> Status:
    """The status of a state, NaN where nothing is known."""
    estimate, covariance = _ask(
        _partial(estimator.estimate), _partial(estimator.covariance), state
    )
    estimate = _estimator.to_numpy(estimate)
    if covariance is not None:
        is_finite = np.isfinite(estimate.stderr)
        both = is_finite[:, None] & is_finite[None, :]
        covariance = np.where(both, np.asarray(covariance), np.nan)
    return Status(
        estimate=estimate,
        covariance=covariance,
        num_evaluations=int(estimator.num_evaluations(state)),
        steps=steps,
        seconds=seconds,
    )
