r"""Algorithm 1 from end to end, every choice a setting or a function.

The authors released no code and the text leaves much open. What it says is the default;
what it leaves open is decided here, written down with its alternative, and reported:

| open in the paper | here, by default | otherwise |
|---|---|---|
| where $U$ comes from | your `utility(x, y)`, a game of points | any game |
| what is clustered | $B$ and the pool, embedded | `clustering=` your own |
| $n_c$ and both sums | over the members of $B$ | `members_from_pool` |
| representatives per cluster | 2 | `per_cluster` |
| drawn from | the clusters of $B$ and the pool | `representatives_from_pool` |
| Shapley on them | TMC, 3 permutations per point | `semivalue=` your own |
| the regression $R$ | ridge on standardised embeddings | `value_model=` your own |
| the distance | Euclidean in the embedding | embed otherwise |
| $\sum Q \le 0$ | equal shares, counted | `share_rule` |
| $V_c = 0$ | tied at 0; order by `Allocation.preference` | any other order |
| a cluster without a point of $B$ | $V_c = 0$, counted | – |
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from jaxval._checks import check, finite, same_length
from jaxval.distributional.regressions import (
    Predict,
    ValueModel,
    cross_validated,
    ridge,
)
from jaxval.ecoval.allocation import allocate
from jaxval.ecoval.clusters import Clustering, distances, gaussian_mixture
from jaxval.ecoval.cost import Cost
from jaxval.ecoval.fitted import DEFAULT, ClusterGame, Fitted, Settings, Utility
from jaxval.ecoval.leave_cluster_out import leave_cluster_out, leave_out_values
from jaxval.ecoval.records import FULL, Allocation, Members, Terms
from jaxval.ecoval.representative_values import (
    Semivalue,
    representatives,
    truncated_permutations,
)
from jaxval.execution.precision import float64
from jaxval.types import Points, PRNGKey

__all__ = ["fit", "members", "values"]


def fit(
    key: PRNGKey,
    utility: Utility,
    points: Points,
    pool: Points | None = None,
    *,
    settings: Settings = DEFAULT,
    semivalue: Semivalue | None = None,
    value_model: ValueModel | None = None,
    clustering: Clustering | None = None,
    cluster_game: ClusterGame | None = None,
    counts_training_runs: bool = True,
) -> Fitted:
    """Cluster, leave clusters out, value representatives, learn to predict values.

    Args:
      key: PRNG key of the mixture, the representatives and their permutations.
      utility: Function from points to their game, `utility(x, y)`; all of its games
        use the same validation data.
      points: Points $B$ to be valued.
      pool: Rest of the available distribution; nothing more when left out.
      settings: Settings that the paper leaves open; the defaults when left out.
      semivalue: Estimator of the representatives' values; TMC Shapley with 3
        permutations per point when left out.
      value_model: Regression $R$; ridge regression when left out.
      clustering: Clustering in place of the mixture.
      cluster_game: Faster game of clusters, as kernel or ridge regression with
        `owner=cluster`, which leaves every cluster out in closed form; the utility's
        game by default.
      counts_training_runs: Whether an evaluation of the utility is a training run,
        which is what the paper counts; `False` for kernel and ridge regression in
        closed form. Changes `cost` alone.

    Returns:
      The clusters' values, the regression and all else that values of points are made
      of: see `values`, `unseen_values` and `report`.

    Raises:
      ValueError: if the points don't fit together or a number is out of range.

    Example:
      >>> from jaxval.coalitions.game import Game
      >>> from jaxval.ecoval import clusters
      >>> score = lambda mask: 0.1 * mask.sum()
      >>> size = lambda x, y: Game(len(x), score, on_host=True)
      >>> x = np.array([[0.0], [2.0], [7.0]])
      >>> two = clusters.given(lambda x: (x[:, 0] > 4).astype(int), x, 2)
      >>> fitted = fit(jax.random.key(0), size, Points(x, x[:, 0]), clustering=two)
      >>> fitted.clusters.values.round(3).tolist(), fitted.points.cluster.tolist()
      ([0.2, 0.1], [0, 0, 1])

    References:
      Tarun et al., *EcoVal*, KDD 2024, Algorithm 1.
    """
    points, everything = _checked(points, pool)
    mixture_key, sample_key, value_key = jax.random.split(key, 3)
    if clustering is None:
        clustering = gaussian_mixture(
            mixture_key, np.asarray(everything.x), settings.mixture
        )
    cluster = _assigned(clustering, everything)
    own = cluster[: len(points.x)]
    clusters = _cluster_values(utility, cluster_game, points, own, clustering)
    available = cluster if settings.representatives_from_pool else own
    sample = representatives(sample_key, available, settings.per_cluster)
    x, y = np.asarray(everything.x)[sample], np.asarray(everything.y)[sample]
    estimate, num_evaluations = (semivalue or truncated_permutations())(
        value_key, utility(x, y)
    )
    value_model = value_model or ridge()
    targets = np.asarray(estimate.values, np.float64)
    finite("the representatives' values", targets)
    predict = value_model(x, y, targets)
    pooled = members(clustering, predict, everything)
    valued = Members(*(part[: len(points.x)] for part in pooled))
    return Fitted(
        clustering=clustering,
        clusters=clusters,
        sample=sample,
        estimate=estimate,
        predict=predict,
        fit_quality=cross_validated(value_model, x, y, targets),
        points=valued,
        reference=pooled if settings.members_from_pool else valued,
        pool=pooled,
        cost=Cost(
            clusters=clusters.training_runs if counts_training_runs else 0,
            representatives=num_evaluations if counts_training_runs else 0,
            num_representatives=len(sample),
            scores=clusters.scores + num_evaluations,
        ),
        settings=settings,
        classes_lost=_classes_lost(points.y, own, clustering.num_clusters),
    )


def values(fitted: Fitted, terms: Terms = FULL) -> Allocation:
    r"""EcoVal's values $\hat\Phi_i$ of the points it was fitted on.

    Args:
      fitted: Result of `fit`.
      terms: Adjustment factors to apply: all four variants of the paper's figure
        4 come from one fit.

    Returns:
      Values and factors; a cluster's values add up to its $V_c$ as long as `fitted`
      took its members from $B$ (the default).

    Example:
      >>> from jaxval.coalitions.game import Game
      >>> from jaxval.ecoval import clusters
      >>> score = lambda mask: 0.1 * mask.sum()
      >>> size = lambda x, y: Game(len(x), score, on_host=True)
      >>> x = np.array([[0.0], [2.0], [7.0]])
      >>> two = clusters.given(lambda x: (x[:, 0] > 4).astype(int), x, 2)
      >>> fitted = fit(jax.random.key(0), size, Points(x, x[:, 0]), clustering=two)
      >>> values(fitted).values.round(3).tolist()
      [0.1, 0.1, 0.1]

    References:
      Tarun et al., *EcoVal*, KDD 2024, Eq. 21 and Algorithm 1, lines 24 to 30.
    """
    return allocate(
        float64(fitted.clusters.values),
        fitted.points,
        fitted.reference,
        terms=terms,
        share_rule=fitted.settings.share_rule,
    )


def members(clustering: Clustering, predict: Predict, points: Points) -> Members:
    """Cluster, $Q$ and $d$ of each point.

    Args:
      clustering: Clustering with its centroids.
      predict: Regression $R$ from embeddings and targets to $Q$.
      points: Embedded points and their targets.

    Raises:
      ValueError: if a predicted value is not finite or a cluster is out of range.

    Example:
      >>> one = Clustering(lambda x: np.zeros(len(x), int), np.zeros((1, 1)))
      >>> two = Points(np.array([[3.0], [-1.0]]), np.zeros(2))
      >>> members(one, lambda x, y: x[:, 0] / 2, two).q.tolist()
      [1.5, -0.5]
    """
    x, y = np.asarray(points.x), np.asarray(points.y)
    q = np.asarray(predict(x, y), np.float64)
    finite("the predicted values", q)
    d = distances(x, clustering)
    return Members(float64(q), float64(d), jnp.asarray(_assigned(clustering, points)))


def _checked(points: Points, pool: Points | None) -> tuple[Points, Points]:
    clean = []
    for name, part in (("points", points), ("pool", pool)):
        if part is None:
            continue
        x, y = np.asarray(part.x, np.float64), np.asarray(part.y)
        check(
            x.ndim == 2 and len(x) > 0,
            f"{name}.x must be a matrix of embeddings, one per row; got shape "
            f"{x.shape}.",
        )
        same_length(**{f"{name}.x": x, f"{name}.y": y})
        finite(f"{name}.x", x)
        clean.append(Points(x, y))
    check(
        len({part.x.shape[1] for part in clean}) == 1,
        "points.x and pool.x must be embedded alike; got "
        f"{[part.x.shape[1] for part in clean]} dimensions.",
    )
    together = Points(*(np.concatenate(parts) for parts in zip(*clean, strict=True)))
    return clean[0], together


def _assigned(clustering: Clustering, points: Points) -> Int[np.ndarray, " n"]:
    cluster = np.asarray(clustering.assign(np.asarray(points.x)))
    last = clustering.num_clusters - 1
    check(
        cluster.shape == (len(points.x),)
        and np.issubdtype(cluster.dtype, np.integer)
        and bool(((cluster >= 0) & (cluster <= last)).all()),
        f"the clustering must give each point a number from 0 to {last}.",
    )
    return cluster.astype(np.int32)


def _classes_lost(y, cluster, count) -> Int[np.ndarray, " clusters"]:
    """How many classes go with each cluster, when it is left out."""
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        return np.zeros(count, int)
    classes, which = np.unique(y, return_inverse=True)
    # (classes,): the lowest and the highest cluster with a point of the class.
    first = np.full(len(classes), count)
    last = np.full(len(classes), -1)
    np.minimum.at(first, which, cluster)
    np.maximum.at(last, which, cluster)
    return np.bincount(first[first == last], minlength=count)


def _cluster_values(utility, cluster_game, points, cluster, clustering):
    count = clustering.num_clusters
    if cluster_game is None:
        return leave_cluster_out(utility(*points), cluster, count)
    present, member = np.unique(cluster, return_inverse=True)
    game = cluster_game(points, member.astype(np.int32), len(present))
    return leave_out_values(game, present, count)
