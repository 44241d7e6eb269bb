r"""Values of points that come later, without any further training.

The mixture says which cluster a point belongs to, the regression what it would be
worth by itself ($Q$), the centroid how far off it lies ($d$); $V_c$, $n_c$ and the two
sums are those of a *reference* population. The paper says only that this works, so the
choice is yours:

- the valued data $B$ (the default): a point gets what it would get as a member of $B$,
  a member of $B$ gets its own value again, and no value depends on who else comes;
- the whole pool (`fitted.pool`): the same, with $n_c$ and the sums over every point
  that was clustered;
- the arrivals themselves (`members_of(fitted, points)`): they divide $V_c$ among them.
"""

import numpy as np

from jaxval.ecoval.allocation import FULL, Allocation, Members, Terms, allocate
from jaxval.ecoval.pipeline import Fitted, Points, members
from jaxval.precision import float64

__all__ = ["members_of", "unseen_values"]


def members_of(fitted: Fitted, points: Points) -> Members:
    """Clusters, predicted values and distances of other points."""
    x = np.asarray(points.x, np.float64)
    wanted = fitted.clustering.centroids.shape[1]
    if x.ndim != 2 or x.shape[1] != wanted:
        raise ValueError(
            f"points.x must be embeddings of {wanted} dimensions, as those EcoVal was "
            f"fitted on; got shape {x.shape}. Apply the same embedding."
        )
    return members(fitted.clustering, fitted.predict, points)


def unseen_values(
    fitted: Fitted,
    points: Points,
    reference: Members | None = None,
    *,
    terms: Terms = FULL,
) -> Allocation:
    """Values of unseen points.

    Args:
      fitted: what `fit` found.
      points: embeddings and targets, embedded as the fitted ones were.
      reference: whose $n_c$ and sums count; the fitted members when left out.
      terms: which adjustment factors to apply.

    Returns:
      Values and factors. A point of a cluster without members in the reference gets 0;
      `hazards.no_members` says which clusters those are.
    """
    return allocate(
        float64(fitted.clusters.values),
        members_of(fitted, points),
        fitted.reference if reference is None else reference,
        terms=terms,
        share_rule=fitted.settings.share_rule,
    )
