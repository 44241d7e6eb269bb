r"""Values of unseen (out-of-sample) points, without any further training.

The mixture gives the cluster of a point, the regression its predicted value ($Q$), the
centroid its distance ($d$); $V_c$, $n_c$ and the two
sums are those of a *reference* population. The paper says only that this works, so the
choice is yours:

- the valued data $B$ (the default): a member of $B$ gets its own value again, no value
  depends on which others are valued, and the share of a point unlike the members of its
  cluster is bounded by theirs (`Allocation.bounded`): it is no part of the sums it is
  divided by, so that nothing else would bound its value;
- the whole pool (`fitted.pool`): the same, with $n_c$ and the sums over every point
  that was clustered;
- the unseen points themselves (`members_of(fitted, points)`): they divide $V_c$ among
  them.
"""

import numpy as np

from jaxval._checks import finite
from jaxval.ecoval.allocation import allocate
from jaxval.ecoval.fitted import Fitted
from jaxval.ecoval.pipeline import members
from jaxval.ecoval.records import FULL, Allocation, Members, Terms
from jaxval.execution.precision import float64
from jaxval.types import Points

__all__ = ["members_of", "unseen_values"]


def members_of(fitted: Fitted, points: Points) -> Members:
    """Clusters, predicted values and distances of other points.

    Args:
      fitted: Result of `fit`.
      points: Embeddings and targets, embedded as the fitted ones were.

    Raises:
      ValueError: if the embeddings have other dimensions or aren't finite.

    Example:
      >>> import jax
      >>> from jaxval import Game
      >>> from jaxval.ecoval import clusters, fit
      >>> score = lambda mask: 0.1 * mask.sum()
      >>> size = lambda x, y: Game(len(x), score, on_host=True)
      >>> x = np.array([[0.0], [1.0], [7.0]])
      >>> two = clusters.given(lambda x: (x[:, 0] > 4).astype(int), x, 2)
      >>> fitted = fit(jax.random.key(0), size, Points(x, x[:, 0]), clustering=two)
      >>> later = members_of(fitted, Points(np.array([[5.0]]), np.zeros(1)))
      >>> later.cluster.tolist(), later.d.tolist()
      ([1], [2.0])
    """
    x = np.asarray(points.x, np.float64)
    wanted = fitted.clustering.centroids.shape[1]
    if x.ndim != 2 or x.shape[1] != wanted:
        raise ValueError(
            f"points.x must be embeddings of {wanted} dimensions, as those EcoVal was "
            f"fitted on; got shape {x.shape}. Apply the same embedding."
        )
    finite("points.x", x)
    return members(fitted.clustering, fitted.predict, points)


def unseen_values(
    fitted: Fitted,
    points: Points,
    reference: Members | None = None,
    *,
    terms: Terms = FULL,
) -> Allocation:
    """Values of unseen points: $V_c$, $n_c$ and the sums of others, their own $Q$, $d$.

    Args:
      fitted: Result of `fit`.
      points: Embeddings and targets, embedded as the fitted ones were.
      reference: Members whose $n_c$ and sums count; the fitted ones when left out.
      terms: Adjustment factors to apply.

    Returns:
      Values and factors. A point of a cluster without members in the reference gets 0;
      `hazards.no_members` says which clusters those are. `report` counts both these
      points and those whose shares were bounded.

    Example:
      >>> import jax
      >>> from jaxval import Game
      >>> from jaxval.ecoval import clusters, fit
      >>> score = lambda mask: 0.1 * mask.sum()
      >>> size = lambda x, y: Game(len(x), score, on_host=True)
      >>> x = np.array([[0.0], [2.0], [7.0]])
      >>> two = clusters.given(lambda x: (x[:, 0] > 4).astype(int), x, 2)
      >>> fitted = fit(jax.random.key(0), size, Points(x, x[:, 0]), clustering=two)
      >>> later = Points(np.array([[2.0], [9.0]]), np.array([2.0, 9.0]))
      >>> unseen_values(fitted, later).values.round(3).tolist()
      [0.1, 0.1]

    References:
      Tarun et al., *EcoVal*, KDD 2024, section 5 (the out-of-sample set).
    """
    return allocate(
        float64(fitted.clusters.values),
        members_of(fitted, points),
        fitted.reference if reference is None else reference,
        terms=terms,
        share_rule=fitted.settings.share_rule,
    )
