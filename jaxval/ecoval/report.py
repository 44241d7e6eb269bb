"""What went out of the ordinary in one run of EcoVal, counted and said."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from jaxval.ecoval.fitted import Fitted
from jaxval.ecoval.records import Allocation

__all__ = ["Report", "report"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    r"""Counts of what the paper's formulas leave open, and of what weakens the values.

    Clusters are the fit's; points are those of the allocation, valued or unseen.

    Attributes:
      clusters: Number of clusters.
      clusters_without_members: Clusters worth 0 for want of a valued point.
      clusters_at_zero: Clusters with $V_c = 0$.
      clusters_negative: Clusters with $V_c < 0$.
      clusters_unsafe_sum: Clusters where $\sum Q$ is not safely positive.
      clusters_zero_distances: Clusters whose members all lie on the centroid.
      clusters_uncorrected: Clusters where $1 + V_c/n_c$ is not safely positive.
      clusters_outsized: Clusters with $|V_c/n_c| > 1/2$: the correction isn't small.
      clusters_losing_classes: Clusters that hold a whole class of the valued points.
      clusters_overfitted: Clusters of fewer points than numbers fitted to them.
      clusters_short_of_representatives: Clusters of fewer points than representatives
        were asked for.
      points: Number of points.
      points_without_members: Points in clusters without a valued point; worth 0.
      points_tied_at_zero: Points in clusters with $V_c = 0$.
      points_at_zero: Points worth exactly 0, for whatever reason.
      points_unsafe_sum: Points in clusters with an unsafe sum.
      points_bounded: Points outside the range of their cluster's members; never
        members.
      points_overcorrected: Points moved by more than their cluster's mean value $v$.
      largest_correction: Largest $|\hat\Phi_i - v| / |v|$.
      parameters: Numbers that the mixture fitted for each cluster; 0 if it was given.
      mixture_converged: Whether the clustering met its tolerance.
      regression_r2: Cross-validated share of the variance that $R$ explains; NaN where
        there is nothing to explain.
      representative_noise: Mean squared standard error of the representatives' values
        over their variance: 1 means that they are all noise; NaN where all are equal.
    """

    clusters: int
    clusters_without_members: int
    clusters_at_zero: int
    clusters_negative: int
    clusters_unsafe_sum: int
    clusters_zero_distances: int
    clusters_uncorrected: int
    clusters_outsized: int
    clusters_losing_classes: int
    clusters_overfitted: int
    clusters_short_of_representatives: int
    points: int
    points_without_members: int
    points_tied_at_zero: int
    points_at_zero: int
    points_unsafe_sum: int
    points_bounded: int
    points_overcorrected: int
    largest_correction: float
    parameters: int
    mixture_converged: bool
    regression_r2: float
    representative_noise: float

    def sentences(self) -> tuple[str, ...]:
        """What a reader should know before trusting the values; nothing that isn't so.

        Example:
          >>> counts = {field.name: 0 for field in dataclasses.fields(Report)}
          >>> counts |= {"clusters": 4, "clusters_negative": 1, "points": 40}
          >>> counts |= {"largest_correction": 0.0, "regression_r2": 0.5}
          >>> counts |= {"representative_noise": 0.1, "mixture_converged": True}
          >>> Report(**counts).sentences()
          ('1 of 4 clusters is worth less than 0: the utility is higher without it.',)
        """
        return (*_of_clusters(self), *_of_points(self), *_of_models(self))


def report(fitted: Fitted, allocation: Allocation) -> Report:
    """Count the hazards that one allocation met.

    Args:
      fitted: Result of `fit`.
      allocation: Values of its points or of unseen ones.

    Example:
      >>> import jax
      >>> from jaxval import Game
      >>> from jaxval.ecoval import Points, clusters, fit, values
      >>> score = lambda mask: 0.1 * mask.sum()
      >>> size = lambda x, y: Game(len(x), score, on_host=True)
      >>> x = np.array([[0.0], [2.0], [7.0]])
      >>> two = clusters.given(lambda x: (x[:, 0] > 4).astype(int), x, 2)
      >>> fitted = fit(jax.random.key(0), size, Points(x, x[:, 0]), clustering=two)
      >>> counts = report(fitted, values(fitted))
      >>> counts.clusters_zero_distances, counts.points, counts.points_at_zero
      (1, 3, 0)
    """
    hazards = allocation.hazards
    cluster, pooled = np.asarray(allocation.cluster), np.asarray(fitted.pool.cluster)
    count = len(hazards.no_members)
    representatives = np.bincount(pooled[fitted.sample], minlength=count)
    size = np.bincount(pooled, minlength=count)
    factor = np.asarray(allocation.gamma_alpha) + np.asarray(allocation.gamma_beta)
    moved = np.abs(factor - 2)

    def inside(hazard):
        return int(np.asarray(hazard)[cluster].sum())

    return Report(
        clusters=count,
        clusters_without_members=int(hazards.no_members.sum()),
        clusters_at_zero=int(hazards.tied_at_zero.sum()),
        clusters_negative=int(hazards.negative.sum()),
        clusters_unsafe_sum=int(hazards.unsafe_sum.sum()),
        clusters_zero_distances=int(hazards.zero_distances.sum()),
        clusters_uncorrected=int(hazards.no_correction.sum()),
        clusters_outsized=int(hazards.outsized.sum()),
        clusters_losing_classes=int(np.sum(fitted.classes_lost > 0)),
        clusters_overfitted=int(
            np.sum((size > 0) & (size < fitted.clustering.parameters))
        ),
        clusters_short_of_representatives=int(
            np.sum(representatives < fitted.settings.per_cluster)
        ),
        points=len(cluster),
        points_without_members=inside(hazards.no_members),
        points_tied_at_zero=inside(hazards.tied_at_zero),
        points_at_zero=int(np.sum(np.asarray(allocation.values) == 0)),
        points_unsafe_sum=inside(hazards.unsafe_sum),
        points_bounded=int(np.asarray(allocation.bounded).sum()),
        points_overcorrected=int(np.sum(moved > 1)),
        largest_correction=float(np.max(moved, initial=0.0)),
        parameters=fitted.clustering.parameters,
        mixture_converged=fitted.clustering.converged,
        regression_r2=fitted.fit_quality,
        representative_noise=_noise(fitted.estimate),
    )


def _noise(estimate) -> float:
    worth, stderr = (np.asarray(part, float) for part in estimate[:2])
    spread = float(np.var(worth))
    return float(np.mean(stderr**2)) / spread if spread > 0 else float("nan")


def _of_clusters(r: Report) -> Iterator[str]:
    def some(k, one, many):
        return f"{k} of {r.clusters} clusters {one if k == 1 else many}"

    if k := r.clusters_without_members:
        gone = _points(r, r.points_without_members, " lies there.", " lie there.")
        yield some(k, "has", "have") + f" no valued point, and no value to share.{gone}"
    if k := r.clusters_at_zero:
        tied = _points(r, r.points_tied_at_zero, " is tied there.", " are tied there.")
        yield some(k, "is", "are") + f" worth exactly 0.{tied}"
    if k := r.clusters_negative:
        yield some(k, "is", "are") + (
            " worth less than 0: the utility is higher without "
            f"{'it' if k == 1 else 'them'}."
        )
    if k := r.clusters_losing_classes:
        yield some(k, "holds", "hold") + (
            " a whole class: what is measured there is the utility without that class."
        )
    if k := r.clusters_unsafe_sum:
        there = _points(r, r.points_unsafe_sum, " is concerned.", " are concerned.")
        yield (
            f"In {k} of {r.clusters} clusters the sum of predicted values isn't safely "
            f"positive: the share rule decided.{there}"
        )
    if k := r.clusters_zero_distances:
        yield (
            f"In {k} of {r.clusters} clusters all members lie on the centroid: "
            "distances tell nothing there."
        )
    if k := r.clusters_uncorrected:
        yield (
            f"In {k} of {r.clusters} clusters a point is worth nearly -1 or less, "
            "where the factors are undefined: all share alike."
        )
    if k := r.clusters_outsized:
        yield (
            f"In {k} of {r.clusters} clusters a point is worth more than 1/2 or less "
            "than -1/2, so that the correction isn't small: score the utility in "
            "larger units."
        )
    if k := r.clusters_overfitted:
        yield some(k, "has", "have") + (
            f" fewer points than the {r.parameters} numbers that the mixture fits for "
            "each: take fewer clusters or dimensions, or a diagonal covariance."
        )
    if k := r.clusters_short_of_representatives:
        yield some(k, "has", "have") + " fewer points than representatives asked for."


def _of_points(r: Report) -> Iterator[str]:
    if k := r.points_bounded:
        is_, its = ("is", "its") if k == 1 else ("are", "their")
        yield (
            f"{k} of {r.points} points {is_} so unlike the members of {its} cluster "
            f"that {its} share was bounded."
        )
    if k := r.points_overcorrected:
        is_, its = ("is", "its") if k == 1 else ("are", "their")
        yield (
            f"{k} of {r.points} points {is_} moved by more than {its} cluster's mean "
            f"value (at most {r.largest_correction:.3g} times): the correction isn't "
            "small there."
        )


def _of_models(r: Report) -> Iterator[str]:
    if r.representative_noise >= 0.5:
        yield (
            "The representatives' values are mostly noise (squared error over "
            f"variance: {r.representative_noise:.2f}): take more permutations."
        )
    if np.isnan(r.regression_r2):
        yield (
            "The representatives' values are too few or all alike: the alpha "
            "correction rests on nothing."
        )
    elif r.regression_r2 <= 0:
        yield (
            "The regression of the representatives' values explains nothing (R2 "
            f"{r.regression_r2:.2f}, cross-validated): the alpha correction is noise."
        )
    if not r.mixture_converged:
        yield "The mixture did not converge; more steps may change the clusters."


def _points(r: Report, k: int, one: str, many: str) -> str:
    """Say how many points it holds for, or nothing where it is none."""
    return f" {k} of {r.points} points{one if k == 1 else many}" if k else ""
