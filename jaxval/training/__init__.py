"""One training run as a pure function of (key, variables, data, coalition)."""

from jaxval.training.convolution import as_matrix_products
from jaxval.training.losses import (
    LossFn,
    MetricFn,
    accuracy,
    cross_entropy,
    margin,
    mean_metric,
    negative,
    squared_error,
)
from jaxval.training.memory import run_bytes
from jaxval.training.network import (
    Network,
    Variables,
    from_module,
    on_cpu,
    predict,
    stateless,
)
from jaxval.training.run import Recipe, Trained, train, until_settled

__all__ = [
    "LossFn",
    "MetricFn",
    "Network",
    "Recipe",
    "Trained",
    "Variables",
    "accuracy",
    "as_matrix_products",
    "cross_entropy",
    "from_module",
    "margin",
    "mean_metric",
    "negative",
    "on_cpu",
    "predict",
    "run_bytes",
    "squared_error",
    "stateless",
    "train",
    "until_settled",
]
