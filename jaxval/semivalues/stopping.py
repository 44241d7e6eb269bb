"""When to stop: plain functions of how things stand, and ways to combine them.

A rule is asked between rounds of steps. It never fires on what is not known yet: a
missing standard error is not a small one, and one of exactly zero says only that all
units agreed so far.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from jaxval._checks import check, positive
from jaxval.types import ValueEstimate

__all__ = [
    "Rule",
    "Status",
    "all_of",
    "any_of",
    "budget",
    "ranks_stable",
    "stderr_below",
    "time_limit",
    "units",
]


class Status(NamedTuple):
    """How a run stands.

    Attributes:
      estimate: so far.
      covariance: of the values, `None` where the estimator does not keep it.
      num_evaluations: coalitions scored.
      steps: of the estimator.
      seconds: spent, those before a resume included.
    """

    estimate: ValueEstimate
    covariance: Float[np.ndarray, "n n"] | None = None
    num_evaluations: int = 0
    steps: int = 0
    seconds: float = 0.0


Rule = Callable[[Status], bool]


def units(count: int) -> Rule:
    """Stop at `count` independent units behind every value.

    Example:
      >>> estimate = ValueEstimate(np.zeros(2), np.zeros(2), np.array([5, 5]))
      >>> units(5)(Status(estimate)), units(6)(Status(estimate))
      (True, False)
    """
    check(count >= 1, f"count must be at least 1; got {count}.")
    return lambda status: _fewest(status) >= count


def budget(num_evaluations: int) -> Rule:
    """Stop once so many coalitions were scored (the step that crosses it is kept).

    Example:
      >>> status = Status(ValueEstimate(np.zeros(1), np.zeros(1), np.ones(1)), None, 50)
      >>> budget(50)(status), budget(51)(status)
      (True, False)
    """
    check(num_evaluations >= 1, f"num_evaluations must be >= 1; got {num_evaluations}.")
    return lambda status: status.num_evaluations >= num_evaluations


def time_limit(seconds: float | int) -> Rule:
    """Stop after so many seconds, those before a resume included.

    The only rule under which two runs need not stop at the same step.

    Example:
      >>> estimate = ValueEstimate(np.zeros(1), np.zeros(1), np.ones(1))
      >>> time_limit(8)(Status(estimate, seconds=9.0))
      True
    """
    positive("seconds", seconds)
    return lambda status: status.seconds >= seconds


def stderr_below(
    threshold: float | int, *, min_units: int = 30, min_agreeing: int = 300
) -> Rule:
    """Stop when every standard error is below a threshold.

    Args:
      threshold: in the units of the score.
      min_units: below it no standard error is believed.
      min_agreeing: an error of exactly 0 (all units agree) is believed only after so
        many: by the rule of three, what 300 units never showed happens in fewer than
        one in a hundred.

    Example:
      >>> known = ValueEstimate(np.ones(2), np.full(2, 0.01), np.full(2, 50))
      >>> nothing_yet = known._replace(stderr=np.zeros(2))
      >>> rule = stderr_below(0.02)
      >>> rule(Status(known)), rule(Status(nothing_yet))
      (True, False)

    References:
      Hanley and Lippman-Hand, *If nothing goes wrong, is everything all right?*, 1983
      (the rule of three).
    """
    positive("threshold", threshold)

    def rule(status: Status) -> bool:
        stderr = np.asarray(status.estimate.stderr)
        enough = np.where(stderr == 0, max(min_agreeing, min_units), min_units)
        known = np.asarray(status.estimate.counts) >= enough
        return bool((known & (stderr < threshold)).all())

    return rule


def ranks_stable(
    confidence: float = 0.95,
    *,
    tie: float | int = 0.0,
    min_units: int = 30,
    min_agreeing: int = 300,
) -> Rule:
    """Stop when the order of the players is known.

    Every two neighbours in the ranking must be told apart, or be shown to differ by
    less than `tie`, all of them together with the given confidence (Bonferroni) at
    each look.

    Args:
      confidence: of the whole ranking.
      tie: a difference that does not matter; with 0, equal players are never told
        apart and the rule never fires on them.
      min_units: below it no standard error is believed.
      min_agreeing: units before an error of exactly 0 is believed.

    Example:
      >>> clear = ValueEstimate(np.array([1.0, 2.0]), np.full(2, 0.1), np.full(2, 40))
      >>> close = clear._replace(values=np.array([1.0, 1.1]))
      >>> ranks_stable()(Status(clear)), ranks_stable()(Status(close))
      (True, False)

    References:
      Dunn, *Multiple comparisons among means*, 1961 (the correction).
    """
    check(0.5 < confidence < 1, f"confidence must be in (0.5, 1); got {confidence}.")
    positive("tie", tie, zero=True)

    def rule(status: Status) -> bool:
        values = np.asarray(status.estimate.values)
        fewest = _fewest(status)
        if fewest < max(min_units, 2) or not np.isfinite(values).all():
            return False
        order = np.argsort(-values)
        gap = -np.diff(values[order])
        error = difference_errors(status.estimate, status.covariance, order)
        enough = (error > 0) | (fewest >= min_agreeing)
        tail = (1 - confidence) / max(len(gap), 1)
        reach = stats.t.ppf(1 - tail / 2, fewest - 1) * error
        return bool((enough & ((gap > reach) | (gap + reach < tie))).all())

    return rule


def any_of(*rules: Rule) -> Rule:
    """Stop when one of the rules says so.

    Example:
      >>> status = Status(ValueEstimate(np.zeros(1), np.zeros(1), np.ones(1)), None, 50)
      >>> any_of(budget(50), units(7))(status)
      True
    """
    check(len(rules) > 0, "any_of needs at least one rule.")
    return lambda status: any(rule(status) for rule in rules)


def all_of(*rules: Rule) -> Rule:
    """Stop when all rules say so at the same look.

    Example:
      >>> status = Status(ValueEstimate(np.zeros(1), np.zeros(1), np.ones(1)), None, 50)
      >>> all_of(budget(50), units(7))(status)
      False
    """
    check(len(rules) > 0, "all_of needs at least one rule: none would stop at once.")
    return lambda status: all(rule(status) for rule in rules)


def difference_errors(estimate: ValueEstimate, covariance, order):
    """Standard errors of the differences between neighbours of an order.

    From the covariance where it is kept; otherwise the sum of both errors, an upper
    bound whatever the correlation.
    """
    a, b = order[:-1], order[1:]
    if covariance is None:
        stderr = np.asarray(estimate.stderr)
        return stderr[a] + stderr[b]
    c = np.asarray(covariance)
    return np.sqrt(np.maximum(c[a, a] + c[b, b] - 2 * c[a, b], 0.0))


def _fewest(status: Status) -> int:
    return int(np.min(np.asarray(status.estimate.counts)))
