"""Judging values: ranking, curves, detection, agreement, reliability, replicates."""

from jaxval.evaluation.agreement import (
    Agreement,
    Overlap,
    bootstrap_interval,
    pearson,
    spearman,
    top_overlap,
)
from jaxval.evaluation.curves import (
    Band,
    Curve,
    addition_curve,
    area,
    area_between,
    band,
    even_steps,
    removal_curve,
)
from jaxval.evaluation.detection import Detection, detect, kmeans_threshold
from jaxval.evaluation.ranking import (
    beats_next,
    mean_ranks,
    num_tied,
    num_unresolved_neighbours,
    order_descending,
    prob_greater,
    rank_ranges,
    ranks,
)
from jaxval.evaluation.reliability import (
    Reliability,
    rank_stability,
    split_half_reliability,
)
from jaxval.evaluation.replicates import (
    bootstrap_stderr,
    mean_and_error,
    mean_and_stderr,
)

__all__ = [
    "Agreement",
    "Band",
    "Curve",
    "Detection",
    "Overlap",
    "Reliability",
    "addition_curve",
    "area",
    "area_between",
    "band",
    "beats_next",
    "bootstrap_interval",
    "bootstrap_stderr",
    "detect",
    "even_steps",
    "kmeans_threshold",
    "mean_and_error",
    "mean_and_stderr",
    "mean_ranks",
    "num_tied",
    "num_unresolved_neighbours",
    "order_descending",
    "pearson",
    "prob_greater",
    "rank_ranges",
    "rank_stability",
    "ranks",
    "removal_curve",
    "spearman",
    "split_half_reliability",
    "top_overlap",
]
