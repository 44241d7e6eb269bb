"""Training runs, the currency of the paper's figure 1."""

from typing import NamedTuple

from jaxval._checks import check

__all__ = ["AnalyticCounts", "Cost", "figure_1_counts"]


class Cost(NamedTuple):
    """Utility evaluations of EcoVal, and how many of them were training runs.

    Attributes:
      clusters: Training runs for the values of the clusters; 0 in closed form.
      representatives: Training runs for the values of the representatives, as run: what
        was truncated doesn't count; 0 in closed form.
      num_representatives: Number of representatives $p$.
      scores: Utility evaluations, in closed form or by training.

    Example:
      >>> Cost(31, 800, 60, 831).total, Cost(0, 0, 60, 831).total
      (831, 0)
    """

    clusters: int
    representatives: int
    num_representatives: int
    scores: int

    @property
    def total(self) -> int:
        """All training runs."""
        return self.clusters + self.representatives


class AnalyticCounts(NamedTuple):
    r"""Training runs by the paper's own count, before any truncation.

    Attributes:
      tmc_shapley: Runs of $3m$ permutations of $m$ runs each.
      distributional_shapley: Runs of $T$ iterations of $1 + m$ runs.
      ecoval: Runs for the clusters, $C + 1$, and for the representatives, $3p^2$.
      ecoval_light: Runs without the $\alpha$ correction: $C + 1$.
    """

    tmc_shapley: int
    distributional_shapley: int
    ecoval: int
    ecoval_light: int


def figure_1_counts(
    num_points: int,
    num_clusters: int,
    num_representatives: int,
    num_iterations: int = 1000,
) -> AnalyticCounts:
    """The counts behind the paper's figure 1.

    Args:
      num_points: Number of points $m$.
      num_clusters: Number of clusters $C$.
      num_representatives: Number of representatives $p$.
      num_iterations: Iterations $T$ of Distributional Shapley, which the paper leaves
        open.

    Raises:
      ValueError: if a number is less than 1.

    Example:
      >>> figure_1_counts(200, 30, 60)[0], figure_1_counts(200, 30, 60).ecoval
      (120000, 10831)

    References:
      Tarun et al., *EcoVal*, KDD 2024, section 5.1 and figure 1.
    """
    for name, number in (
        ("num_points", num_points),
        ("num_clusters", num_clusters),
        ("num_representatives", num_representatives),
        ("num_iterations", num_iterations),
    ):
        check(number >= 1, f"{name} must be at least 1; got {number}.")
    m, p = num_points, num_representatives
    light = num_clusters + 1
    return AnalyticCounts(3 * m * m, num_iterations * (m + 1), light + 3 * p * p, light)
