"""Driving an estimator: rounds of steps, devices, checkpoints, a word when to stop.

Step $i$ draws with `fold_in(key, i)` and samples are folded in the order of their
steps, so a run's result depends on its key and on how many steps it made; not on how
often it was interrupted, nor on the devices it was spread over.
"""

from __future__ import annotations

import functools
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jax.tree_util import Partial
from jaxtyping import Float

from jaxval._checks import check
from jaxval.coalitions.game import Game
from jaxval.execution.precision import double
from jaxval.semivalues import checkpoint as _checkpoint
from jaxval.semivalues.estimator import Estimator
from jaxval.semivalues.stopping import Rule, Status
from jaxval.types import Ends, PRNGKey, ValueEstimate

__all__ = ["Outcome", "ends", "merge", "run", "run_detailed"]


class Outcome(NamedTuple):
    """A finished run.

    Attributes:
      estimate: values, standard errors and counts, as NumPy arrays.
      covariance: of the values, `None` where the estimator does not keep it.
      utility_calls: coalitions scored.
      steps: of the estimator.
      seconds: spent, those before a resume included.
      state: of the estimator, for `merge` or for what it alone reports.
    """

    estimate: ValueEstimate
    covariance: Float[np.ndarray, "n n"] | None
    utility_calls: int
    steps: int
    seconds: float
    state: Any


def run(
    estimator: Estimator,
    game: Game,
    key: PRNGKey,
    *,
    until: Rule,
    every: int = 16,
    checkpoint: str | pathlib.Path | None = None,
    save_seconds: float | int = 1.0,
    tag: str = "",
    mesh: Mesh | None = None,
    batch: int = 1,
    progress: Callable[[Status], None] | None = None,
) -> ValueEstimate:
    """Run an estimator on a game until a rule says stop.

    Args:
      estimator: for as many players as the game has.
      game: traced games are passed into one compiled program as arguments; games
        `on_host` are scored in Python.
      key: of the run; step $i$ draws with `fold_in(key, i)`.
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
      Values, standard errors and counts as float64 NumPy arrays.

    Raises:
      ValueError: if the numbers of players differ, `every` can't be split evenly over
        the devices, or a score is not finite.
      CheckpointError: if the checkpoint is damaged or belongs to another run.

    Example:
      >>> from jaxval.semivalues import permutation, stopping
      >>> game = Game(3, lambda mask: (mask.sum() >= 2) * 1.0)
      >>> rule = stopping.any_of(stopping.stderr_below(0.05), stopping.budget(10_000))
      >>> estimate = run(permutation.estimator(3), game, jax.random.key(0), until=rule)
      >>> bool((abs(estimate.values - 1 / 3) < 5 * estimate.stderr).all())
      True
    """
    return run_detailed(
        estimator, game, key, until=until, every=every, checkpoint=checkpoint,
        save_seconds=save_seconds, tag=tag, mesh=mesh, batch=batch, progress=progress,
    ).estimate  # fmt: skip


def run_detailed(
    estimator: Estimator,
    game: Game,
    key: PRNGKey,
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
    """`run`, with the state, the covariance and the counts of what was done.

    Example:
      >>> from jaxval.semivalues import permutation, stopping
      >>> game = Game(3, lambda mask: mask.sum() ** 2.0)
      >>> rule = stopping.budget(60)
      >>> method = permutation.estimator(3)
      >>> out = run_detailed(method, game, jax.random.key(0), until=rule)
      >>> out.steps, out.utility_calls, out.covariance.shape
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
        known = ends(game)
        state, steps, spent = (estimator.init(known), known), 0, 0.0
        check_players(estimator, game, state[0])
        loaded = None if path is None else _checkpoint.load(path, who, state)
        if loaded is not None:
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
    return Outcome(status.estimate, status.covariance, *status[2:5], state[0])


def ends(game: Game) -> Ends:
    r"""$v(\emptyset)$ and $v(N)$, checked to be finite.

    Example:
      >>> [float(end) for end in ends(Game(3, lambda mask: mask.sum() ** 2.0))]
      [0.0, 9.0]
    """
    nobody_everybody = jnp.asarray(
        np.stack([np.zeros(game.num_players, bool), np.ones(game.num_players, bool)])
    )
    with double():
        score = game.scores if game.on_host else functools.partial(_scores, game)
        empty, full = np.asarray(score(nobody_everybody), np.float64)
        check(
            bool(np.isfinite([empty, full]).all()),
            f"the game's score must be finite; got {empty} for nobody and {full} for "
            "everybody.",
        )
        return Ends(jnp.float64(empty), jnp.float64(full))


def merge(estimator: Estimator, states: Sequence[Any]) -> Outcome:
    """One outcome from several runs with different keys, on whatever machines.

    Counts and utility calls add up exactly.

    Args:
      estimator: that all states come from.
      states: the `state` of each `Outcome`.

    Example:
      >>> from jaxval.semivalues import permutation, stopping
      >>> game = Game(3, lambda mask: mask.sum() ** 2.0)
      >>> method = permutation.estimator(3)
      >>> states = [
      ...     run_detailed(
      ...         method, game, jax.random.key(seed), until=stopping.units(32)
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
    return Outcome(status.estimate, status.covariance, *status[2:5], state)


def check_players(estimator: Estimator, game: Game, state: Any) -> None:
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
_scores = jax.jit(lambda game, members: game.scores(members))


def _status(estimator, state, steps, seconds) -> Status:
    told = _ask(_partial(estimator.estimate), _partial(estimator.covariance), state)
    estimate, covariance = jax.tree.map(np.asarray, told)
    calls = int(estimator.calls(state))
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
