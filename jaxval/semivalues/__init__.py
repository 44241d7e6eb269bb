"""Semi-values: weights, exact enumeration, and estimators with true error bars."""

from jaxval.semivalues import (
    adjusted,
    exact,
    intervals,
    least_squares,
    msr,
    orders,
    permutation,
    stopping,
    truncated,
    weights,
)
from jaxval.semivalues.checkpoint import CheckpointError
from jaxval.semivalues.estimator import Estimator
from jaxval.semivalues.runs import Outcome, merge, run, run_detailed
from jaxval.semivalues.stopping import Status
from jaxval.types import Ends

__all__ = [
    "CheckpointError",
    "Ends",
    "Estimator",
    "Outcome",
    "Status",
    "adjusted",
    "exact",
    "intervals",
    "least_squares",
    "merge",
    "msr",
    "orders",
    "permutation",
    "run",
    "run_detailed",
    "stopping",
    "truncated",
    "weights",
]
