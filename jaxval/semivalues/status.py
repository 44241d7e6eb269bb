"""The current status of a run, and what a stopping rule says about its bounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxval.types import ValueEstimate

__all__ = [
    "Limits",
    "Rule",
    "Status",
    "degrees_of_freedom",
    "difference_errors",
    "limits",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Status:
    """The current status of a run.

    Attributes:
      estimate: Estimate so far.
      covariance: Covariance of the values, `None` where the estimator does not keep it.
      num_evaluations: Utility evaluations: coalitions scored.
      steps: Steps of the estimator.
      seconds: Seconds spent, those before a resume included.
    """

    estimate: ValueEstimate
    covariance: Float[np.ndarray, "n n"] | None = None
    num_evaluations: int = 0
    steps: int = 0
    seconds: float = 0.0


Rule = Callable[[Status], bool]


class Limits(NamedTuple):
    """What a rule bounds; `None` where it does not.

    Attributes:
      num_evaluations: Utility evaluations after which the rule surely fires.
      seconds: Seconds after which the rule surely fires.
    """

    num_evaluations: int | None = None
    seconds: float | None = None


def limits(rule: Rule) -> Limits:
    """The bounds of a rule: of `budget`, `time_limit`, and combinations of them.

    Args:
      rule: Any rule; one without a `limits` attribute bounds nothing.

    Example:
      >>> from jaxval.semivalues.stopping import any_of, budget, units
      >>> limits(any_of(budget(100), units(64)))
      Limits(num_evaluations=100, seconds=None)
    """
    return getattr(rule, "limits", Limits())


def degrees_of_freedom(estimate: ValueEstimate) -> Float[np.ndarray, " n"]:
    """Degrees of freedom of each standard error, infinite for exact values."""
    if estimate.degrees is None:
        return np.asarray(estimate.counts, float) - 1
    return np.asarray(estimate.degrees, float)


def difference_errors(
    estimate: ValueEstimate,
    covariance: Float[np.ndarray, "n n"] | None,
    order: Int[np.ndarray, " n"],
) -> Float[np.ndarray, " neighbours"]:
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
