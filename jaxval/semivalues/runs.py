"""Driving an estimator: rounds of steps, devices, checkpoints, a word when to stop.

Step $i$ draws with `fold_in(key, i)` and samples are folded in the order of their
steps, so a run's result depends on its key and on how many steps it made; not on how
often it was interrupted, nor on the devices it was spread over.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jax.tree_util import Partial
from jaxtyping import Float, Int

from jaxval._checks import check
from jaxval.coalitions import queries
from jaxval.execution.precision import double
from jaxval.semivalues import checkpoint as _checkpoint
from jaxval.semivalues.estimator import Estimator
from jaxval.semivalues.stopping import Rule, Status
from jaxval.types import PRNGKey, ValueEstimate

__all__ = ["Outcome", "merge", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """A finished run.

    Attributes:
      estimate: Values, standard errors and counts, as NumPy arrays.
      covariance: Covariance of the values, `None` where the estimator keeps none.
      num_evaluations: Utility evaluations: coalitions scored.
      steps: Steps of the estimator.
      seconds: Wall time, that before a resume included.
      state: Final state of the estimator, for `merge` or for what it alone reports.
    """

    estimate: ValueEstimate
    covariance: Float[np.ndarray, "n n"] | None
    num_evaluations: int
    steps: int
    seconds: float
    state: Any

    @property
    def values(self) -> Float[np.ndarray, " n"]:
        """The values, in the units of the score."""
        return np.asarray(self.estimate.values)

    @property
    def stderr(self) -> Float[np.ndarray, " n"]:
        """Standard error of each value."""
        return np.asarray(self.estimate.stderr)

    @property
    def counts(self) -> Int[np.ndarray, " n"]:
        """Independent units behind each value."""
        return np.asarray(self.estimate.counts)


def run(
    key: PRNGKey,
    estimator: Estimator,
    game: Any,
    *,
    until: Rule,
    every: int = 16,
    checkpoint: str | pathlib.Path | None = None,
    save_seconds: float | int = 1.0,
    tag: str = "",
    mesh: Mesh | None = None,
    batch: int = 1,
    progress: Callable[[Status], None] | None = None,
) -> Outcome:
    """Run an estimator on a game until a rule says stop.

    Args:
      key: PRNG key of the run; step $i$ draws with `fold_in(key, i)`.
      estimator: Estimator for as many players as the game has.
      game: Traced games are passed into one compiled program as arguments; games
        `on_host` are scored in Python.
      until: from `stopping`, asked after every round.
      every: steps a round.
      checkpoint: a file to save the state in, and to resume from where it exists.
      save_seconds: between two saves, at least; the last round is always saved.
      tag: part of the checkpoint's identity: name what the game's arrays do not show.
      mesh: devices to spread the steps of a round over (its first axis).
      batch: steps vmapped at once on each device: faster for small games, at the price
        of `batch` times the memory.
      progress: called with the status after every round.

    Returns:
      The outcome: estimate (float64 NumPy), covariance, evaluations, final state.

    Raises:
      ValueError: if the numbers of players differ, `every` can't be split evenly over
        the devices, or a score is not finite.
      CheckpointError: if the checkpoint is damaged or belongs to another run.

    Example:
      >>> from jaxval.semivalues import permutation, stopping
      >>> game = Game(3, lambda mask: mask.sum() ** 2.0)
      >>> rule = stopping.budget(60)
      >>> method = permutation.permutation_sampling(3)
      >>> out = run(jax.random.key(0), method, game, until=rule)
      >>> out.steps, out.num_evaluations, out.covariance.shape
      (32, 64, (3, 3))
    """
    devices = 1 if mesh is None else mesh.devices.size
    check(every >= 1, f"every must be at least 1; got {every}.")
    check(batch >= 1, f"batch must be at least 1; got {batch}.")
    check(
        every % devices == 0,
        f"every must be a multiple of the mesh's {devices} devices; got {every}.",
    )
    path = None if checkpoint is None else pathlib.Path(checkpoint)
    who = {} if path is None else _checkpoint.identity(
        estimator.settings, game, key, every, tag
    )  # fmt: skip
    with double():
        started = time.monotonic()
        known = queries.ends(game) if estimator.has_endpoints else None
        state, steps, spent = (estimator.init(known), known), 0, 0.0
        check_players(estimator, game, state[0])
        loaded = None if path is None else _checkpoint.load(path, who, state)
        if loaded is not None:
            if known is not None:
                _check_ends(path, known, loaded.state[1])
            state, steps, spent = loaded
        saved_at, saved_steps = started, steps
        status = _status(estimator, state[0], steps, spent)
        while not (steps > 0 and until(status)):
            state = (_round(estimator, game, key, state, steps, every, mesh, batch),
                     state[1])  # fmt: skip
            steps += every
            now = time.monotonic()
            status = _status(estimator, state[0], steps, spent + now - started)
            _check_state(state[0], steps, every)
            if path is not None and now - saved_at >= save_seconds:
                _checkpoint.save(path, who, state, steps, status.seconds)
                saved_at, saved_steps = now, steps
            if progress is not None:
                progress(status)
        if path is not None and saved_steps != steps:
            _checkpoint.save(path, who, state, steps, status.seconds)
    _check_known(status.estimate, estimator.unit)
    return _outcome(status, state[0])


def merge(estimator: Estimator, states: Sequence[Any]) -> Outcome:
    """One outcome from several runs with different keys, on whatever machines.

    Counts and utility calls add up exactly.

    Args:
      estimator: that all states come from.
      states: the `state` of each `Outcome`.

    Example:
      >>> from jaxval.semivalues import permutation, stopping
      >>> game = Game(3, lambda mask: mask.sum() ** 2.0)
      >>> method = permutation.permutation_sampling(3)
      >>> states = [
      ...     run(
      ...         jax.random.key(seed), method, game, until=stopping.units(32)
      ...     ).state
      ...     for seed in range(2)
      ... ]
      >>> merge(method, states).estimate.counts.tolist()
      [64, 64, 64]

    References:
      Chan, Golub and LeVeque, *Updating formulae and a pairwise algorithm for
      computing sample variances*, 1979.
    """
    check(len(states) > 0, "states is empty: there is nothing to merge.")
    with double():
        state = functools.reduce(estimator.merge, states)
        status = _status(estimator, state, 0, 0.0)
    return _outcome(status, state)


def _outcome(status: Status, state: Any) -> Outcome:
    return Outcome(
        estimate=status.estimate,
        covariance=status.covariance,
        num_evaluations=status.num_evaluations,
        steps=status.steps,
        seconds=status.seconds,
        state=state,
    )


def check_players(estimator: Estimator, game: Any, state: Any) -> None:
    """Check that the estimator was made for as many players as the game has."""
    made_for = jax.eval_shape(estimator.estimate, state).values.shape[0]
    check(
        made_for == game.num_players,
        f"estimator was made for {made_for} players; the game has {game.num_players}.",
    )


def _round(estimator, game, key, state, start, count, mesh, batch):
    state, known = state
    if game.on_host:
        keys = [jax.random.fold_in(key, start + i) for i in range(count)]
        for k in keys:
            drawn = estimator.sample(k, game, known)
            state = _fold_one(_partial(estimator.fold), state, drawn)
        return state
    index = jnp.arange(start, start + count, dtype=jnp.uint32)
    sample = _partial(estimator.sample)
    samples = _sampler(mesh, batch)(sample, key, index, game, known)
    if mesh is not None:
        samples = jax.device_put(samples, mesh.devices.flat[0])
    return _fold_all(_partial(estimator.fold), state, samples)


def _partial(fn) -> Partial:
    # Arrays of a Partial are arguments, not constants: one program for all weights.
    return fn if isinstance(fn, Partial) else Partial(fn)


@functools.lru_cache(maxsize=128)
def _sampler(mesh, batch):
    def draw(sample, key, index, game, known):
        one = lambda i: sample(jax.random.fold_in(key, i), game, known)
        return jax.lax.map(one, index, batch_size=None if batch == 1 else batch)

    if mesh is None:
        return jax.jit(draw)
    axis, everywhere = PartitionSpec(mesh.axis_names[0]), PartitionSpec()
    return jax.jit(
        jax.shard_map(
            draw,
            mesh=mesh,
            in_specs=(everywhere, everywhere, axis, everywhere, everywhere),
            out_specs=axis,
            check_vma=False,
        )
    )


@jax.jit
def _fold_all(fold, state, samples):
    step = lambda state, sample: (fold(state, sample), None)
    return jax.lax.scan(step, state, samples)[0]


_fold_one = jax.jit(lambda fold, state, sample: fold(state, sample))
_ask = jax.jit(lambda e, c, state: (e(state), c(state)))


def _status(estimator, state, steps, seconds) -> Status:
    told = _ask(_partial(estimator.estimate), _partial(estimator.covariance), state)
    estimate, covariance = jax.tree.map(np.asarray, told)
    calls = int(estimator.num_evaluations(state))
    return Status(estimate, covariance, calls, steps, seconds)


def _check_state(state, steps, every):
    for leaf in jax.tree.leaves(state):
        if not np.isfinite(np.asarray(leaf)).all():
            raise ValueError(
                f"the game's score must be finite; a coalition met in steps "
                f"{steps - every} to {steps - 1} has one that is not. A game must be "
                "defined for every coalition, and a solver in it must converge."
            )


def _check_ends(path, known, saved):
    if not np.allclose(np.asarray(known), np.asarray(saved), rtol=1e-6, atol=1e-12):
        raise _checkpoint.CheckpointError(
            f"checkpoint {path} belongs to another run (scores of nobody and everybody:"
            f" {np.asarray(saved).tolist()} there, {np.asarray(known).tolist()} here). "
            "It was left as it is: give this run another checkpoint."
        )


def _check_known(estimate, unit):
    unknown = np.flatnonzero(~np.isfinite(estimate.values))
    check(
        unknown.size == 0,
        f"players {unknown[:5].tolist()} have no value yet: too few of the unit "
        f"({unit}) were drawn. Draw more, or sample permutations.",
    )
