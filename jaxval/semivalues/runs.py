"""Driving an estimator: rounds of steps, devices, checkpoints, stopping rules.

Step $i$ draws with `fold_in(key, i)` and samples are folded in the order of their
steps, so the state after a number of steps depends on the key alone; not on how often
the run was interrupted or looked at, nor on the devices it was spread over.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxval._checks import check
from jaxval.execution.options import Execution
from jaxval.execution.precision import double
from jaxval.semivalues.design_driver import DesignDriver
from jaxval.semivalues.designed import DesignEstimator
from jaxval.semivalues.driver import Driver, status_of
from jaxval.semivalues.estimator import Estimator
from jaxval.semivalues.saves import Saves
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
      exact: Whether sampling had nothing more to learn, and the values are those of
        enumeration.
    """

    estimate: ValueEstimate
    covariance: Float[np.ndarray, "n n"] | None
    num_evaluations: int
    steps: int
    seconds: float
    state: Any
    exact: bool = False

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
    estimator: Estimator | DesignEstimator,
    game: Any,
    *,
    until: Rule,
    every: int = 16,
    execution: Execution = Execution(),
    checkpoint: str | pathlib.Path | None = None,
    save_seconds: float | int = 1.0,
    tag: str = "",
    progress: Callable[[Status], None] | None = None,
) -> Outcome:
    """Run an estimator on a game until a rule says stop.

    A budget is not overrun by more than a step, and the last step is shortened to it
    where the estimator allows it. A game on the host stops between two evaluations when
    its time is over or the process is interrupted, and what the unfinished step has
    scored is kept in the checkpoint. Whatever ends the run, the checkpoint holds every
    finished step.

    A run that has spent a thousand evaluations per coalition of the game, and whose
    rule still asks for more, ends with the exact values.

    Args:
      key: PRNG key of the run; step $i$ draws with `fold_in(key, i)`.
      estimator: Estimator for as many players as the game has.
      game: Traced games are passed into one compiled program as arguments; games
        `on_host` are scored in Python. Any pytree with `num_players` and `on_host` that
        the estimator understands may stand for it.
      until: Rule from `stopping`, asked after every step of a game on the host; of a
        traced game after `every` steps, and wherever a budget or a time limit may be
        met.
      every: Steps of a traced game between two looks at the rule.
      execution: Its `mesh` spreads steps over devices; with its `batch_size` each
        device vmaps as many steps at once, faster for small games and with as many
        times the memory (one when `None`).
      checkpoint: File to save the state in, and to resume from where it exists.
      save_seconds: Seconds between two saves, at least; the end is always saved.
      tag: Part of the checkpoint's identity: name what the game's arrays and its
        `fingerprint` do not show.
      progress: Called with the status after every look at the rule.

    Returns:
      The outcome: estimate (float64 NumPy), covariance, evaluations, final state.

    Raises:
      ValueError: If the numbers of players differ, or a score is not finite.
      CheckpointError: If the checkpoint is damaged or belongs to another run.

    Example:
      >>> import jax
      >>> from jaxval.coalitions.game import Game
      >>> from jaxval.semivalues import permutation, stopping
      >>> game = Game(3, lambda mask: mask.sum() ** 2.0)
      >>> rule = stopping.budget(60)
      >>> method = permutation.permutation_sampling(3)
      >>> out = run(jax.random.key(0), method, game, until=rule)
      >>> out.steps, out.num_evaluations, out.covariance.shape
      (30, 60, (3, 3))
    """
    check(every >= 1, f"every must be at least 1; got {every}.")
    with double():
        path = None if checkpoint is None else pathlib.Path(checkpoint)
        saves = Saves(path, float(save_seconds), estimator.settings, game, key, tag)
        if isinstance(estimator, DesignEstimator):
            driver = DesignDriver(key, estimator, game, until, execution, saves)
        else:
            driver = Driver(key, estimator, game, until, every, execution, saves)
        status, state = driver.run(progress)
    _check_known(status.estimate, estimator.unit)
    return _outcome(status, state, exact=driver.is_exact)


def merge(estimator: Estimator, states: Sequence[Any]) -> Outcome:
    """One outcome from several runs with different keys, on whatever machines.

    Counts and utility evaluations add up exactly.

    Args:
      estimator: Estimator that all states come from.
      states: State of each `Outcome`.

    Raises:
      ValueError: If there are no states.

    Example:
      >>> import jax
      >>> from jaxval.coalitions.game import Game
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
        status = status_of(estimator, state, 0, 0.0)
    return _outcome(status, state)


def _outcome(status: Status, state: Any, *, exact: bool = False) -> Outcome:
    return Outcome(
        estimate=status.estimate,
        covariance=status.covariance,
        num_evaluations=status.num_evaluations,
        steps=status.steps,
        seconds=status.seconds,
        state=state,
        exact=exact,
    )


def _check_known(estimate: ValueEstimate, unit: str) -> None:
    unknown = np.flatnonzero(~np.isfinite(estimate.values))
    check(
        unknown.size == 0,
        f"players {unknown[:5].tolist()} have no value yet: too few of the unit "
        f"({unit}) were drawn. Draw more, or sample permutations.",
    )
