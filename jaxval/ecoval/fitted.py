"""EcoVal's settings, its utilities, and all that it learns."""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Int, Num

from jaxval.coalitions.game import Game
from jaxval.distributional.regressions import Predict
from jaxval.ecoval.clusters import Clustering, Mixture
from jaxval.ecoval.cost import Cost
from jaxval.ecoval.leave_cluster_out import ClusterValues
from jaxval.ecoval.records import Members
from jaxval.ecoval.share_rules import ShareRule, equal_where_unsafe
from jaxval.types import AnyArray, Points, ValueEstimate

__all__ = ["DEFAULT", "ClusterGame", "Fitted", "Settings", "Utility"]


Utility = Callable[[Num[AnyArray, "n d"], Num[AnyArray, "n ..."]], Game]
"""$U$: points to the game whose players they are."""

ClusterGame = Callable[[Points, Int[np.ndarray, " n"], int], Game]
"""$U$ of clusters: points, the cluster of each (0 to C-1, none empty), and C."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    r"""What the paper leaves open and takes no function to say.

    Attributes:
      mixture: Gaussian mixture; the paper's.
      per_cluster: Representatives of each cluster whose Shapley values are computed.
      representatives_from_pool: Whether they are drawn from all clustered points
        (Algorithm 1, line 13), or from $B$ alone.
      members_from_pool: Whether $n_c$, $\sum Q$ and $\sum d$ are taken over all
        clustered points, or over $B$ alone, where they make a cluster's values add up
        to $V_c$.
      share_rule: Rule for $Q_i / \sum Q_j$, also where that is unsafe.
    """

    mixture: Mixture = Mixture()
    per_cluster: int = 2
    representatives_from_pool: bool = True
    members_from_pool: bool = False
    share_rule: ShareRule = equal_where_unsafe


DEFAULT = Settings()
"""The paper's settings, and this library's where it leaves them open."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fitted:
    """All that EcoVal learns; values of any point follow without further training.

    Attributes:
      clustering: Function from embeddings to clusters, and the centroids.
      clusters: Values $V_c$ and the scores behind them.
      sample: Rows of the representatives among the points and then the pool.
      estimate: Shapley values of the representatives.
      predict: Regression $R$, from embeddings and targets to $Q$.
      fit_quality: Cross-validated share of the variance that $R$ explains.
      points: Cluster, $Q$ and $d$ of the valued points.
      reference: Members that $n_c$ and the sums are taken over.
      pool: All clustered points as members.
      cost: Training runs and utility evaluations.
      settings: Settings as given.
      classes_lost: Classes of $B$ that lie in one cluster as a whole, by cluster: its
        $V_c$ measures what becomes of the utility without them. 0 where the targets
        are no integers.
    """

    clustering: Clustering
    clusters: ClusterValues
    sample: Int[np.ndarray, " p"]
    estimate: ValueEstimate
    predict: Predict
    fit_quality: float
    points: Members
    reference: Members
    pool: Members
    cost: Cost
    settings: Settings
    classes_lost: Int[np.ndarray, " clusters"]
