"""Training runs, the currency of the paper's figure 1."""

from typing import NamedTuple

from jaxval._checks import check

__all__ = ["AnalyticCounts", "Cost", "figure_1_counts"]


class Cost(NamedTuple):
    """Training runs that EcoVal made.

    Attributes:
      clusters: for the values of the clusters; 0 in closed form.
      representatives: for the values of the representatives, as run: what was
        truncated doesn't count.
      num_representatives: $p$.
    """

    clusters: int
    representatives: int
    num_representatives: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.clusters + self.representatives


class AnalyticCounts(NamedTuple):
    r"""Training runs by the paper's own reckoning, before any truncation.

    Attributes:
      tmc_shapley: $3m$ permutations of $m$ runs each.
      distributional_shapley: $T$ iterations of $1 + m$ runs.
      ecoval: $C + 1$ for the clusters and $3p^2$ for the representatives.
      ecoval_light: without the $\alpha$ correction: $C + 1$.
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
      num_points: $m$.
      num_clusters: $C$.
      num_representatives: $p$.
      num_iterations: $T$ of Distributional Shapley, which the paper leaves open.

    Example:
      >>> figure_1_counts(200, 30, 60)[0], figure_1_counts(200, 30, 60).ecoval
      (120000, 10831)
    """
    for name, number in (
        ("num_points", num_points),
        ("num_clusters", num_clusters),
        ("num_representatives", num_representatives),
    ):
        check(number >= 1, f"{name} must be at least 1; got {number}.")
    m, p = num_points, num_representatives
    light = num_clusters + 1
    return AnalyticCounts(3 * m * m, num_iterations * (m + 1), light + 3 * p * p, light)
