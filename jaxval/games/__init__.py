"""Games: what the data of a coalition is worth, each a pure function of a mask."""

from jaxval.games import (
    analytic,
    complexity,
    convex,
    custom,
    davinz,
    influence,
    kernel_regression,
    knn,
    retraining,
    seed_errors,
    size,
    volume,
)

__all__ = [
    "analytic",
    "complexity",
    "convex",
    "custom",
    "davinz",
    "influence",
    "kernel_regression",
    "knn",
    "retraining",
    "seed_errors",
    "size",
    "volume",
]
