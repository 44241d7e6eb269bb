"""Semi-values: weights, exact enumeration, and estimators with true error bars.

`semivalues.value_models`, regressions on values, is imported by its own name: it brings
scikit-learn along.
"""

from jaxval.semivalues import (
    adjusted,
    distributional,
    exact,
    intervals,
    least_squares,
    msr,
    orders,
    permutation,
    point_scores,
    stopping,
    truncated,
    weights,
)
from jaxval.semivalues.checkpoint import CheckpointError
from jaxval.semivalues.estimator import Ends, Estimator
from jaxval.semivalues.runs import Outcome, merge, run, run_detailed
from jaxval.semivalues.stopping import Status

__all__ = [
    "CheckpointError",
    "Ends",
    "Estimator",
    "Outcome",
    "Status",
    "adjusted",
    "distributional",
    "exact",
    "intervals",
    "least_squares",
    "merge",
    "msr",
    "orders",
    "permutation",
    "point_scores",
    "run",
    "run_detailed",
    "stopping",
    "truncated",
    "weights",
]
