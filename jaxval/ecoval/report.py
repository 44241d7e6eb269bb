"""What went out of the ordinary in one run of EcoVal, counted and said."""

from typing import NamedTuple

import numpy as np

from jaxval.ecoval.allocation import Allocation
from jaxval.ecoval.pipeline import Fitted

__all__ = ["Report", "report"]


class Report(NamedTuple):
    r"""Counts of what the paper's formulas leave open, and of what weakens the values.

    Attributes:
      clusters: in all.
      clusters_without_members: worth 0 for want of a valued point.
      clusters_at_zero: $V_c = 0$.
      clusters_negative: $V_c < 0$.
      clusters_unsafe_sum: $\sum Q$ not safely positive.
      clusters_zero_distances: no distance to tell members apart.
      clusters_uncorrected: $1 + V_c/n_c$ not safely positive.
      clusters_short_of_representatives: with fewer points than were asked for.
      points_tied_at_zero: members of clusters with $V_c = 0$.
      points_unsafe_sum: members of clusters with an unsafe sum.
      largest_correction: largest $|\hat\Phi_i - v| / |v|$.
      mixture_converged: whether the clustering met its tolerance.
      regression_r2: cross-validated share of the variance that $R$ explains.
      representative_noise: mean squared standard error of the representatives' values
        over their variance: 1 means that they are all noise.
    """

    clusters: int
    clusters_without_members: int
    clusters_at_zero: int
    clusters_negative: int
    clusters_unsafe_sum: int
    clusters_zero_distances: int
    clusters_uncorrected: int
    clusters_short_of_representatives: int
    points_tied_at_zero: int
    points_unsafe_sum: int
    largest_correction: float
    mixture_converged: bool
    regression_r2: float
    representative_noise: float

    def sentences(self) -> tuple[str, ...]:
        """What a reader should know before trusting the values."""
        return tuple(text for text, hold in _findings(self) if hold)


def report(fitted: Fitted, allocation: Allocation) -> Report:
    """Count the hazards that one allocation met.

    Args:
      fitted: what `fit` found.
      allocation: values of its points or of unseen ones.
    """
    hazards = [np.asarray(hazard) for hazard in allocation.hazards]
    empty, unsafe, still, uncorrected, zero, negative = hazards
    cluster = np.asarray(fitted.points.cluster)
    drawn = np.bincount(
        np.asarray(fitted.pool.cluster)[fitted.sample], minlength=len(empty)
    )
    factor = np.asarray(allocation.gamma_alpha) + np.asarray(allocation.gamma_beta)
    worth, stderr = (np.asarray(part, float) for part in fitted.estimate[:2])
    spread = float(np.var(worth))
    noise = float(np.mean(stderr**2)) / spread if spread > 0 else float("nan")
    return Report(
        clusters=len(empty),
        clusters_without_members=int(empty.sum()),
        clusters_at_zero=int(zero.sum()),
        clusters_negative=int(negative.sum()),
        clusters_unsafe_sum=int(unsafe.sum()),
        clusters_zero_distances=int(still.sum()),
        clusters_uncorrected=int(uncorrected.sum()),
        clusters_short_of_representatives=int(
            np.sum(drawn < fitted.settings.per_cluster)
        ),
        points_tied_at_zero=int(zero[cluster].sum()),
        points_unsafe_sum=int(unsafe[cluster].sum()),
        largest_correction=float(np.max(np.abs(factor - 2), initial=0.0)),
        mixture_converged=fitted.clustering.converged,
        regression_r2=fitted.fit_quality,
        representative_noise=noise,
    )


def _findings(r: Report) -> list[tuple[str, bool]]:
    return [
        (
            f"{r.clusters_without_members} of {r.clusters} clusters have no valued "
            "point and are worth 0.",
            r.clusters_without_members > 0,
        ),
        (
            f"{r.clusters_at_zero} clusters are worth exactly 0, which ties "
            f"{r.points_tied_at_zero} points; {r.clusters_negative} are negative.",
            r.clusters_at_zero + r.clusters_negative > 0,
        ),
        (
            f"In {r.clusters_unsafe_sum} clusters ({r.points_unsafe_sum} points) the "
            "sum of predicted values isn't safely positive; the share rule decided.",
            r.clusters_unsafe_sum > 0,
        ),
        (
            f"In {r.clusters_zero_distances} clusters all points lie on the centroid; "
            "they share alike.",
            r.clusters_zero_distances > 0,
        ),
        (
            f"{r.clusters_uncorrected} clusters are so negative that the factors are "
            "undefined; they share alike.",
            r.clusters_uncorrected > 0,
        ),
        (
            "The regression of the representatives' values explains nothing (R2 "
            f"{r.regression_r2:.2f}, cross-validated): the alpha correction is noise.",
            not r.regression_r2 > 0,
        ),
        (
            "The mixture did not converge; more steps may change the clusters.",
            not r.mixture_converged,
        ),
    ]
