"""Games: what the data of a coalition is worth, each a pure function of a mask."""

from jaxval.games import (
    analytic,
    complexity,
    custom,
    davinz,
    kernel_regression,
    knn,
    linear_models,
    retraining,
    size,
    volume,
)

__all__ = [
    "analytic",
    "complexity",
    "custom",
    "davinz",
    "kernel_regression",
    "knn",
    "linear_models",
    "retraining",
    "size",
    "volume",
]
