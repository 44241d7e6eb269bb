"""Judging values: curves, detection, correlation, stability, reliability."""

from jaxval.evaluation.agreement import (
    Agreement,
    Reliability,
    bootstrap_interval,
    pearson,
    rank_stability,
    spearman,
    split_half_reliability,
    top_overlap,
)
from jaxval.evaluation.curves import (
    Band,
    Curve,
    addition_curve,
    area,
    area_between,
    band,
    removal_curve,
)
from jaxval.evaluation.detection import Detection, detect, two_means
from jaxval.evaluation.ranking import descending, mean_ranks, near_ties

__all__ = [
    "Agreement",
    "Band",
    "Curve",
    "Detection",
    "Reliability",
    "addition_curve",
    "area",
    "area_between",
    "band",
    "bootstrap_interval",
    "descending",
    "detect",
    "mean_ranks",
    "near_ties",
    "pearson",
    "rank_stability",
    "removal_curve",
    "spearman",
    "split_half_reliability",
    "top_overlap",
    "two_means",
]
