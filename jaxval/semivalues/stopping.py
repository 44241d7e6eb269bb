"""Stopping rules: functions of the current status, and ways to combine them.

A rule never fires on what is not known yet: a missing standard error is not a small
one, and one of exactly zero says only that all units agreed so far. Rules that bound
the evaluations or the seconds say so (`limits`), and `run` sizes its rounds by that.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import stats

from jaxval._checks import check, positive
from jaxval.semivalues.status import (
    Limits,
    Rule,
    Status,
    degrees_of_freedom,
    difference_errors,
    limits,
)

__all__ = [
    "Limits",
    "Rule",
    "Status",
    "all_of",
    "any_of",
    "budget",
    "limits",
    "ranks_stable",
    "stderr_below",
    "time_limit",
    "units",
]


def units(count: int) -> Rule:
    """Stop at `count` independent units behind every value.

    Args:
      count: Units, at least 1.

    Example:
      >>> from jaxval.types import ValueEstimate
      >>> estimate = ValueEstimate(np.zeros(2), np.zeros(2), np.array([5, 5]))
      >>> status = Status(estimate=estimate)
      >>> units(5)(status), units(6)(status)
      (True, False)
    """
    check(count >= 1, f"count must be at least 1; got {count}.")
    return _Units(count)


def budget(num_evaluations: int) -> Rule:
    """Stop once `num_evaluations` coalitions were scored.

    The last step is shortened to the budget where the estimator allows it; otherwise
    the step that crosses it is kept.

    Args:
      num_evaluations: Utility evaluations, at least 1; the two endpoints not counted.

    Example:
      >>> from jaxval.types import ValueEstimate
      >>> estimate = ValueEstimate(np.zeros(1), np.zeros(1), np.ones(1, int))
      >>> status = Status(estimate=estimate, num_evaluations=50)
      >>> budget(50)(status), budget(51)(status)
      (True, False)
    """
    check(num_evaluations >= 1, f"num_evaluations must be >= 1; got {num_evaluations}.")
    return _Budget(num_evaluations)


def time_limit(seconds: float | int) -> Rule:
    """Stop after a time, that before a resume included.

    The only rule under which two runs need not stop at the same step. A game on the
    host is not asked for another score once the time is over.

    Args:
      seconds: Seconds, positive.

    Example:
      >>> from jaxval.types import ValueEstimate
      >>> estimate = ValueEstimate(np.zeros(1), np.zeros(1), np.ones(1, int))
      >>> time_limit(8)(Status(estimate=estimate, seconds=9.0))
      True
    """
    positive("seconds", seconds)
    return _TimeLimit(seconds)


def stderr_below(
    threshold: float | int, *, min_units: int = 30, min_agreeing: int = 300
) -> Rule:
    """Stop when every standard error is below a threshold.

    Args:
      threshold: Standard error, in the units of the score.
      min_units: Units below which no standard error is believed.
      min_agreeing: Units before an error of exactly 0 (all units agree) is believed:
        by the rule of three, what 300 units never showed happens in fewer than one in
        a hundred.

    Example:
      >>> from jaxval.types import ValueEstimate
      >>> precise = ValueEstimate(np.ones(2), np.full(2, 0.01), np.full(2, 50))
      >>> agreeing = precise._replace(stderr=np.zeros(2))
      >>> rule = stderr_below(0.02)
      >>> rule(Status(estimate=precise)), rule(Status(estimate=agreeing))
      (True, False)

    References:
      Hanley and Lippman-Hand, *If nothing goes wrong, is everything all right?*, 1983
      (the rule of three).
    """
    positive("threshold", threshold)
    return _StderrBelow(threshold, min_units, min_agreeing)


def ranks_stable(
    confidence: float = 0.95,
    *,
    tie: float | int = 0.0,
    min_units: int = 30,
    min_agreeing: int = 300,
) -> Rule:
    """Stop when the order of the players is known.

    Every two neighbours in the ranking must be significantly different, or be shown to
    differ by less than `tie`, all of them together with the given confidence
    (Bonferroni) at each look.

    Args:
      confidence: Confidence in the whole ranking.
      tie: Difference that does not matter; with 0, equal players never differ
        significantly and the rule never fires on them.
      min_units: Units below which no standard error is believed.
      min_agreeing: Units before an error of exactly 0 is believed.

    Example:
      >>> from jaxval.types import ValueEstimate
      >>> clear = ValueEstimate(np.array([1.0, 2.0]), np.full(2, 0.1), np.full(2, 40))
      >>> close = clear._replace(values=np.array([1.0, 1.1]))
      >>> rule = ranks_stable()
      >>> rule(Status(estimate=clear)), rule(Status(estimate=close))
      (True, False)

    References:
      Dunn, *Multiple comparisons among means*, 1961 (the correction).
    """
    check(0.5 < confidence < 1, f"confidence must be in (0.5, 1); got {confidence}.")
    positive("tie", tie, zero=True)
    return _RanksStable(confidence, tie, min_units, min_agreeing)


def any_of(*rules: Rule) -> Rule:
    """Stop when one of the rules says so.

    Args:
      *rules: Rules, at least one.

    Example:
      >>> from jaxval.types import ValueEstimate
      >>> estimate = ValueEstimate(np.zeros(1), np.zeros(1), np.ones(1, int))
      >>> status = Status(estimate=estimate, num_evaluations=50)
      >>> any_of(budget(50), units(7))(status)
      True
    """
    check(len(rules) > 0, "any_of needs at least one rule.")
    return _AnyOf(rules)


def all_of(*rules: Rule) -> Rule:
    """Stop when all rules say so at the same look.

    Args:
      *rules: Rules, at least one.

    Example:
      >>> from jaxval.types import ValueEstimate
      >>> estimate = ValueEstimate(np.zeros(1), np.zeros(1), np.ones(1, int))
      >>> status = Status(estimate=estimate, num_evaluations=50)
      >>> all_of(budget(50), units(7))(status)
      False
    """
    check(len(rules) > 0, "all_of needs at least one rule: none would stop at once.")
    return _AllOf(rules)


@dataclasses.dataclass(frozen=True)
class _Units:
    count: int

    def __call__(self, status: Status) -> bool:
        return _fewest(status) >= self.count


@dataclasses.dataclass(frozen=True)
class _Budget:
    num_evaluations: int

    @property
    def limits(self) -> Limits:
        return Limits(num_evaluations=self.num_evaluations)

    def __call__(self, status: Status) -> bool:
        return status.num_evaluations >= self.num_evaluations


@dataclasses.dataclass(frozen=True)
class _TimeLimit:
    seconds: float | int

    @property
    def limits(self) -> Limits:
        return Limits(seconds=float(self.seconds))

    def __call__(self, status: Status) -> bool:
        return status.seconds >= self.seconds


@dataclasses.dataclass(frozen=True)
class _StderrBelow:
    threshold: float | int
    min_units: int
    min_agreeing: int

    def __call__(self, status: Status) -> bool:
        stderr = np.asarray(status.estimate.stderr)
        agreeing = max(self.min_agreeing, self.min_units)
        enough = np.where(stderr == 0, agreeing, self.min_units)
        believed = np.asarray(status.estimate.counts) >= enough
        return bool((believed & (stderr < self.threshold)).all())


@dataclasses.dataclass(frozen=True)
class _RanksStable:
    confidence: float
    tie: float | int
    min_units: int
    min_agreeing: int

    def __call__(self, status: Status) -> bool:
        values = np.asarray(status.estimate.values)
        fewest = _fewest(status)
        if fewest < max(self.min_units, 2) or not np.isfinite(values).all():
            return False
        order = np.argsort(-values)
        gap = -np.diff(values[order])
        error = difference_errors(status.estimate, status.covariance, order)
        enough = (error > 0) | (fewest >= self.min_agreeing)
        tail = (1 - self.confidence) / max(len(gap), 1)
        free = np.min(degrees_of_freedom(status.estimate))
        reach = stats.t.ppf(1 - tail / 2, max(float(free), 1.0)) * error
        apart = (gap > reach) | (gap + reach < self.tie)
        return bool((enough & apart).all())


@dataclasses.dataclass(frozen=True)
class _AnyOf:
    rules: tuple[Rule, ...]

    @property
    def limits(self) -> Limits:
        # The first bound to be met stops the run.
        bounds = zip(*(limits(rule) for rule in self.rules), strict=True)
        return Limits(
            *(
                min((b for b in bound if b is not None), default=None)
                for bound in bounds
            )
        )

    def __call__(self, status: Status) -> bool:
        return any(rule(status) for rule in self.rules)


@dataclasses.dataclass(frozen=True)
class _AllOf:
    rules: tuple[Rule, ...]

    @property
    def limits(self) -> Limits:
        # A bound holds only where every rule has one of its kind.
        bounds = zip(*(limits(rule) for rule in self.rules), strict=True)
        return Limits(*(None if None in b else max(b) for b in bounds))

    def __call__(self, status: Status) -> bool:
        return all(rule(status) for rule in self.rules)


def _fewest(status: Status) -> int:
    return int(np.min(np.asarray(status.estimate.counts)))
