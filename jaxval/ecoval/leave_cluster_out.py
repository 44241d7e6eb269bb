r"""What the model loses without a cluster: $V_c = U(B) - U(B \setminus c)$ (Eq. 5)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxval._checks import check
from jaxval.coalitions import queries
from jaxval.coalitions.algebra import grouped
from jaxval.coalitions.game import Game

__all__ = ["ClusterValues", "leave_cluster_out", "leave_out_values"]


class ClusterValues(NamedTuple):
    r"""Value of each cluster.

    Attributes:
      values: Values $V_c$; 0 for a cluster without members.
      full: Score $U(B)$ of all points.
      without: Scores $U(B \setminus c)$.
      training_runs: Training runs, one per score; 0 where the game answers all of them
        from one factorisation.
      scores: Utility evaluations: without each cluster that has members, and with all.
    """

    values: Float[np.ndarray, " clusters"]
    full: float
    without: Float[np.ndarray, " clusters"]
    training_runs: int
    scores: int


def leave_cluster_out(
    game: Game, cluster: Int[np.ndarray, " n"], num_clusters: int
) -> ClusterValues:
    r"""$V_c$ of every cluster from a game whose players are points.

    Args:
      game: Game $U$ of the points of $B$.
      cluster: Cluster of each point.
      num_clusters: Number of clusters C; those without a point in $B$ are worth 0 and
        cost nothing.

    Raises:
      ValueError: if a score is not finite.

    References:
      Tarun et al., *EcoVal*, KDD 2024, Eq. 5 and Algorithm 1, line 8.

    Example:
      >>> size = Game(3, lambda mask: mask.sum() * 1.0)
      >>> leave_cluster_out(size, np.array([0, 2, 2]), 3).values.tolist()
      [1.0, 0.0, 2.0]
    """
    present, member = np.unique(np.asarray(cluster), return_inverse=True)
    by_cluster = grouped(game, member, len(present))
    return leave_out_values(by_cluster, present, num_clusters)


def leave_out_values(
    by_cluster: Game, present: Int[np.ndarray, " present"], num_clusters: int
) -> ClusterValues:
    r"""$V_c$ from a game whose players are the clusters that have members.

    For kernel or ridge regression built with `owner=` the cluster of each point, all
    leave-cluster-out scores come from one factorisation, without any training.

    Args:
      by_cluster: Game with one player for each cluster in `present`, in that order.
      present: Numbers of the clusters that have members, ascending.
      num_clusters: Number of clusters C.

    Raises:
      ValueError: if a score is not finite.

    Example:
      >>> weigh = lambda mask: float(np.dot([0.2, 0.5], np.asarray(mask)))
      >>> two = Game(2, weigh, on_host=True)
      >>> leave_out_values(two, np.array([0, 2]), 3).values.round(3).tolist()
      [0.2, 0.0, 0.5]
    """
    check(
        by_cluster.num_players == len(present),
        f"the game must have one player for each of the {len(present)} clusters with "
        f"members; it has {by_cluster.num_players}.",
    )
    full, without = queries.leave_one_out_scores(by_cluster)
    full = float(full)
    values, scores = np.zeros(num_clusters), np.full(num_clusters, full)
    values[present], scores[present] = full - without, without
    count = 1 + len(present)
    runs = 0 if by_cluster.fast_leave_one_out is not None else count
    return ClusterValues(values, full, scores, runs, count)
