r"""From the value of a cluster to the values of its points: Eqs. 12 to 21, in JAX.

With $v = V_c / n_c$ and the shares
$s^\alpha_i = Q_i / \sum_{j \in c} Q_j$, $s^\beta_i = d_i / \sum_{j \in c} d_j$,

$$\hat\Phi_i = v\,(\Gamma_{\alpha_i} + \Gamma_{\beta_i} - 1), \qquad
\Gamma_i = \frac{1 + s_i V_c}{1 + v}.$$

Every $\Gamma$ averages to 1 over its cluster, so the values of a cluster's members add
up to $V_c$ whatever $Q$ and $d$ are; and
$\hat\Phi_i = v + v^2 (n_c s^\alpha_i + n_c s^\beta_i - 2) / (1 + v)$ shows that the
correction is of second order in $v$: it orders the points of a cluster and hardly ever
moves one past a point of another cluster.

What the formulas leave undefined is decided here, and each decision is counted in
`Allocation.hazards`: $\sum Q$ near zero or negative (a *share rule*, one of the plain
functions of `share_rules` or your own), all distances zero but for rounding (each
member gets $1/n_c$), and $1 + v$ near zero or negative (no correction in that cluster).

Points outside the reference divide by sums that they are no part of, so nothing in the
formulas bounds their shares: next to a single member of $Q = 10^{-7}$ an ordinary point
would get a share of $10^5$. Their shares are bounded by the range of their cluster's
members, or by 0 and 1 where that is wider: `Allocation.bounded`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from jaxval._checks import check, same_length
from jaxval._targets import numbers
from jaxval.ecoval.records import FULL, Allocation, Hazards, Members, Terms
from jaxval.ecoval.share_rules import ShareRule, equal_where_unsafe
from jaxval.execution.precision import in_double
from jaxval.types import AnyArray

__all__ = ["adjust", "allocate"]


@in_double
def adjust(
    v_c: Num[AnyArray, " clusters"],
    n_c: Num[AnyArray, " clusters"],
    q: Num[AnyArray, " n"],
    d: Num[AnyArray, " n"],
    cluster: Int[AnyArray, " n"],
    *,
    terms: Terms = FULL,
    share_rule: ShareRule = equal_where_unsafe,
) -> Float[Array, " n"]:
    r"""EcoVal's values of the points that divide the clusters' values among them.

    $$\hat\Phi_i = \frac{V_c}{n_c}\Bigl[\frac{1 + V_c Q_i / \sum_j Q_j}{1 + V_c/n_c}
    + \frac{1 + V_c d_i / \sum_j d_j}{1 + V_c/n_c} - 1\Bigr]$$

    Args:
      v_c: Leave-cluster-out value $V_c$ of each cluster.
      n_c: Number of points in each cluster.
      q: Predicted value $Q_i$ of each point.
      d: Distance $d_i$ of each point to its centroid, not negative.
      cluster: Cluster, 0 to C-1, of each point.
      terms: Factors to apply.
      share_rule: Rule for $Q_i / \sum Q_j$, also where the sum is not positive.

    Returns:
      $\hat\Phi_i$ of each point; the values of a cluster add up to its $V_c$ when
      `n_c` counts these points.

    Example:
      >>> values = adjust(
      ...     jnp.array([0.2, 0.0]), jnp.array([2, 1]),
      ...     jnp.array([3.0, 1.0, 2.0]), jnp.array([1.0, 1.0, 0.0]),
      ...     jnp.array([0, 0, 1]))
      >>> [round(float(value), 4) for value in values]
      [0.1045, 0.0955, 0.0]

    References:
      Tarun et al., *EcoVal*, KDD 2024, Eqs. 12, 16, 18 and 21, Algorithm 1.
    """
    members = Members(q, d, cluster)
    return _allocate(v_c, n_c, members, members, terms, share_rule).values


@in_double
def allocate(
    v_c: Num[AnyArray, " clusters"],
    points: Members,
    reference: Members | None = None,
    *,
    terms: Terms = FULL,
    share_rule: ShareRule = equal_where_unsafe,
) -> Allocation:
    r"""Values of `points`, with $n_c$ and the sums taken over `reference`.

    With the points as their own reference their values add up to $V_c$ cluster by
    cluster. With another reference (the valued data, for unseen points) the value of
    one point doesn't depend on which others are valued with it: a member of the
    reference gets its own value again, another point what one with its $Q$ and $d$
    would get, as far as the range of shares goes (see the head of this module).

    Args:
      v_c: Value of each cluster.
      points: Points to be valued.
      reference: Members that $n_c$, $\sum Q$ and $\sum d$ are taken over; the points
        themselves when left out. A cluster without members pays nothing.
      terms: Factors to apply.
      share_rule: Rule for $Q_i / \sum Q_j$.

    Returns:
      Values, factors, and what had to be decided.

    Example:
      >>> valued = Members(jnp.array([3.0, 1.0]), jnp.ones(2), jnp.array([0, 0]))
      >>> later = Members(jnp.array([2.0, 80.0]), jnp.ones(2), jnp.array([0, 0]))
      >>> out = allocate(jnp.array([0.2]), later, valued)
      >>> [round(float(value), 4) for value in out.values], out.bounded.tolist()
      ([0.1, 0.1091], [False, True])

    References:
      Tarun et al., *EcoVal*, KDD 2024, Eqs. 12, 16, 18 and 21.
    """
    if not isinstance(v_c, jax.core.Tracer):
        v_c = numbers("v_c", v_c, ndim=1)
        check(len(v_c) > 0, "v_c is empty: there is no cluster.")
    points = _read_members("points", points, len(v_c))
    if reference is None:
        reference = points
    else:
        reference = _read_members("reference", reference, len(v_c))
    n_c = _per_cluster(jnp.ones(len(reference.q)), reference.cluster, len(v_c))
    return _allocate(v_c, n_c, points, reference, terms, share_rule)


def _read_members(name: str, members: Members, num_clusters: int) -> Members:
    """Numbers, lengths and clusters checked, unless they are traced."""
    if any(isinstance(part, jax.core.Tracer) for part in members):
        return members
    q, d = (
        numbers(f"{name}.{part}", getattr(members, part), ndim=1) for part in ("q", "d")
    )
    cluster = numbers(f"{name}.cluster", members.cluster, ndim=1)
    same_length(**{f"{name}.q": q, f"{name}.d": d, f"{name}.cluster": cluster})
    check(
        bool(((cluster >= 0) & (cluster < num_clusters) & (cluster % 1 == 0)).all()),
        f"{name}.cluster must hold cluster numbers 0 to {num_clusters - 1}.",
    )
    return Members(q, d, cluster.astype(np.int32))


_SAFE = 0.05
"""The smallest $1 + V_c/n_c$ that is divided by. Accuracies stay far above it."""

_OUTSIZED = 0.5
"""The largest $|V_c/n_c|$ at which $v^2/(1+v)$ is no larger than $|v|$ either way."""

_ROUNDING = 1e-9
"""Mean distances of a cluster below this share of the largest distance are rounding."""

_WITHIN = 1e-9
"""How far, relatively, a share may leave its range before that counts."""


def _allocate(v_c, n_c, points, reference, terms, share_rule) -> Allocation:
    v_c, n_c = jnp.asarray(v_c, jnp.float64), jnp.asarray(n_c, jnp.float64)
    points, reference = _in_double(points), _in_double(reference)
    present = n_c > 0
    each = jnp.where(present, v_c / jnp.where(present, n_c, 1.0), 0.0)
    # (m,) shares of the points, (n,) of the members, (clusters,) truth values.
    alpha, beta, of_members, unsafe, zero = _shares(points, reference, n_c, share_rule)
    safe = 1.0 + each >= _SAFE

    def at(per_cluster):
        return per_cluster[points.cluster]

    def gamma(share):
        divisor = at(jnp.where(safe, 1.0 + each, 1.0))
        return jnp.where(at(safe), (1.0 + share * at(v_c)) / divisor, 1.0)

    bounds = [_range(share, reference.cluster, n_c) for share in of_members]
    one, nowhere = jnp.ones_like(alpha), jnp.zeros(alpha.shape, bool)
    gammas, outside, lead = [one, one], nowhere, jnp.zeros_like(alpha)
    for place, (wanted, share) in enumerate(zip(terms, (alpha, beta), strict=True)):
        if wanted:
            within, moved = _bounded(share, *(at(bound) for bound in bounds[place]))
            gammas[place], outside = gamma(within), outside | moved
            lead = lead + at(n_c) * share - 1.0
    return Allocation(
        values=at(each) * (gammas[0] + gammas[1] - 1.0),
        gamma_alpha=gammas[0],
        gamma_beta=gammas[1],
        preference=lead,
        hazards=Hazards(
            no_members=~present,
            unsafe_sum=present & unsafe,
            zero_distances=present & zero,
            no_correction=present & ~safe,
            tied_at_zero=present & (v_c == 0),
            negative=present & (v_c < 0),
            outsized=jnp.abs(each) > _OUTSIZED,
        ),
        cluster=points.cluster,
        bounded=outside & at(present),
    )


def _shares(points, reference, n_c, share_rule):
    """Shares of the points and of the reference's members, and where rules stepped in.

    Both in one call of each rule, so that a member valued again gets the same bits.
    """
    count = len(points.q)
    both = Members(
        *(
            jnp.concatenate([own, others])
            for own, others in zip(points, reference, strict=True)
        )
    )
    alpha, unsafe = share_rule(
        both.q, both.cluster, reference.q, reference.cluster, n_c
    )
    beta, zero = _distance_shares(both, reference, n_c)
    of_members = (alpha[count:], beta[count:])
    return alpha[:count], beta[:count], of_members, unsafe, zero


def _distance_shares(points, reference, n_c):
    total = _per_cluster(reference.d, reference.cluster, len(n_c))
    # Identical points lie off their mean by rounding errors, which are no distances.
    zero = total <= _ROUNDING * n_c * jnp.max(reference.d, initial=0.0)
    share = points.d / jnp.where(zero, 1.0, total)[points.cluster]
    equal = 1.0 / jnp.maximum(n_c, 1.0)
    return jnp.where(zero[points.cluster], equal[points.cluster], share), zero


def _range(share, cluster, n_c):
    # From 0 and 1 on, so that clusters without members meet no infinity on the way.
    low, high = jnp.zeros_like(n_c), jnp.ones_like(n_c)
    return low.at[cluster].min(share), high.at[cluster].max(share)


def _bounded(share, low, high):
    room = _WITHIN * (high - low)
    moved = (share < low - room) | (share > high + room)
    return jnp.clip(share, low, high), moved


def _in_double(members: Members) -> Members:
    q, d = (jnp.asarray(part, jnp.float64) for part in members[:2])
    return Members(q, d, jnp.asarray(members.cluster, jnp.int32))


def _per_cluster(x, cluster, clusters):
    return jax.ops.segment_sum(x, cluster, clusters)
