"""Semi-values: weights, exact enumeration, and estimators with true error bars."""

from jaxval.semivalues import (
    designed,
    exact,
    intervals,
    least_squares,
    orders,
    permutation,
    regression_adjustment,
    sample_reuse,
    stopping,
    truncated,
    weights,
)
from jaxval.semivalues.checkpoint import CheckpointError
from jaxval.semivalues.estimator import Estimator
from jaxval.semivalues.least_squares import kernel_banzhaf, kernel_shap
from jaxval.semivalues.permutation import (
    antithetic,
    permutation_sampling,
    quasi_random,
    stratified,
)
from jaxval.semivalues.regression_adjustment import regression_adjusted
from jaxval.semivalues.runs import Outcome, merge, run
from jaxval.semivalues.sample_reuse import msr, msr_unbiased
from jaxval.semivalues.stopping import Status
from jaxval.semivalues.truncated import tmc
from jaxval.types import Ends

__all__ = [
    "CheckpointError",
    "Ends",
    "Estimator",
    "Outcome",
    "Status",
    "antithetic",
    "designed",
    "exact",
    "intervals",
    "kernel_banzhaf",
    "kernel_shap",
    "least_squares",
    "merge",
    "msr",
    "msr_unbiased",
    "orders",
    "permutation",
    "permutation_sampling",
    "quasi_random",
    "regression_adjusted",
    "regression_adjustment",
    "run",
    "sample_reuse",
    "stopping",
    "stratified",
    "tmc",
    "truncated",
    "weights",
]
