r"""What $Q_i / \sum_{j \in c} Q_j$ means, also where the sum is not positive (Eq. 15).

Values predicted by a regression can have any sign. Where they nearly cancel inside a
cluster the paper's share explodes (weights of $10^7$ were seen), and where their sum is
negative it reverses the order: the worst point gets the largest share. A *share rule*
decides; each is a plain function, pass your own for another decision.

A rule takes the points' $Q$ and clusters, the reference's $Q$ and clusters, and the
members of each cluster; it gives each point's share and, for each cluster, whether the
paper's formula was unsafe there. The shares of the reference's own points add up to 1.
"""

from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num

from jaxval.types import AnyArray

__all__ = [
    "ShareRule",
    "absolute",
    "as_in_the_paper",
    "equal_where_unsafe",
    "refuse_where_unsafe",
    "shifted",
    "softplus",
]


@runtime_checkable
class ShareRule(Protocol):
    """Shares of points in their clusters."""

    def __call__(
        self,
        q: Num[AnyArray, " m"],
        cluster: Int[AnyArray, " m"],
        reference_q: Num[AnyArray, " n"],
        reference_cluster: Int[AnyArray, " n"],
        n_c: Num[AnyArray, " clusters"],
    ) -> tuple[Float[Array, " m"], Bool[Array, " clusters"]]:
        """The share of each point, and which clusters are unsafe.

        Args:
          q: Predicted values of the points to be valued.
          cluster: Cluster of each of these points.
          reference_q: Predicted values of the members that the sums are taken over.
          reference_cluster: Cluster of each of these members.
          n_c: Number of members of each cluster.

        Returns:
          A share for each point, that of a member when its $Q$ is a member's; and for
          each cluster whether the paper's formula was unsafe.
        """
        ...


def as_in_the_paper(q, cluster, reference_q, reference_cluster, n_c):
    r"""$Q_i / \sum Q_j$ and nothing else, except $1/n_c$ where the sum is exactly 0.

    Example:
      >>> q, c = np.array([2.0, -1.0, -0.5]), np.zeros(3, int)
      >>> shares, unsafe = as_in_the_paper(q, c, q, c, np.array([3]))
      >>> np.asarray(shares, float).round(2).tolist(), unsafe.tolist()
      ([4.0, -2.0, -1.0], [False])

    References:
      Tarun et al., *EcoVal*, KDD 2024, Eq. 15.
    """
    total = _sum(reference_q, reference_cluster, n_c)
    unsafe = _unsafe(reference_q, reference_cluster, n_c)
    shares = q / jnp.where(total == 0, 1.0, total)[cluster]
    return jnp.where((total == 0)[cluster], _equal(n_c)[cluster], shares), unsafe


def equal_where_unsafe(q, cluster, reference_q, reference_cluster, n_c):
    r"""$Q_i / \sum Q_j$ where that is safe, and $1/n_c$ elsewhere (the default).

    Safe means $\sum Q_j \ge \tfrac{1}{10} \sum |Q_j|$, which bounds every member's
    share by 10. The shares of other points are bounded in `allocate`.

    Example:
      >>> q, c = np.array([2.0, -1.0, -1.5]), np.zeros(3, int)
      >>> shares, unsafe = equal_where_unsafe(q, c, q, c, np.array([3]))
      >>> np.asarray(shares, float).round(2).tolist(), unsafe.tolist()
      ([0.33, 0.33, 0.33], [True])

    References:
      This library's; Tarun et al., *EcoVal*, KDD 2024, Eq. 15 leaves the case open.
    """
    total = _sum(reference_q, reference_cluster, n_c)
    unsafe = _unsafe(reference_q, reference_cluster, n_c)
    shares = q / jnp.where(unsafe, 1.0, total)[cluster]
    return jnp.where(unsafe[cluster], _equal(n_c)[cluster], shares), unsafe


def shifted(q, cluster, reference_q, reference_cluster, n_c):
    r"""Where unsafe, $Q_j - \min_c Q$ takes the place of $Q_j$: keeps the order.

    Example:
      >>> q, c = np.array([2.0, -1.0, -2.0]), np.zeros(3, int)
      >>> shares, unsafe = shifted(q, c, q, c, np.array([3]))
      >>> np.asarray(shares, float).round(2).tolist(), unsafe.tolist()
      ([0.8, 0.2, 0.0], [True])

    References:
      This library's; Tarun et al., *EcoVal*, KDD 2024, Eq. 15 leaves the case open.
    """
    highest = jnp.max(jnp.asarray(reference_q), initial=0.0)
    # From a finite number on, so that clusters without members meet no infinity.
    low = jnp.full(len(n_c), highest).at[reference_cluster].min(reference_q)
    low = jnp.where(n_c > 0, low, 0.0)
    unsafe = _unsafe(reference_q, reference_cluster, n_c)
    move = jnp.where(unsafe, low, 0.0)

    # An unseen point may lie below every member.
    def keep(x, c):
        return jnp.where(unsafe[c], jnp.maximum(x - move[c], 0.0), x)

    return _normalised(keep, q, cluster, reference_q, reference_cluster, n_c), unsafe


def softplus(q, cluster, reference_q, reference_cluster, n_c):
    r"""$\ell \log(1 + e^{Q_j/\ell})$ for $Q_j$, $\ell$ the mean of all $|Q|$.

    Example:
      >>> q, c = np.array([2.0, -1.0, -1.5]), np.zeros(3, int)
      >>> shares, unsafe = softplus(q, c, q, c, np.array([3]))
      >>> np.asarray(shares, float).round(2).tolist(), unsafe.tolist()
      ([0.68, 0.18, 0.14], [True])

    References:
      This library's; Tarun et al., *EcoVal*, KDD 2024, Eq. 15 leaves the case open.
    """
    scale = jnp.mean(jnp.abs(reference_q))
    scale = jnp.where(scale > 0, scale, 1.0)
    unsafe = _unsafe(reference_q, reference_cluster, n_c)

    def smooth(x, _):
        return scale * jax.nn.softplus(x / scale)

    return _normalised(smooth, q, cluster, reference_q, reference_cluster, n_c), unsafe


def absolute(q, cluster, reference_q, reference_cluster, n_c):
    """$|Q_j|$ for $Q_j$: never explodes, and takes a negative value for a positive one.

    Example:
      >>> q, c = np.array([2.0, -1.0, -1.0]), np.zeros(3, int)
      >>> shares, unsafe = absolute(q, c, q, c, np.array([3]))
      >>> np.asarray(shares, float).round(2).tolist(), unsafe.tolist()
      ([0.5, 0.25, 0.25], [True])

    References:
      This library's; Tarun et al., *EcoVal*, KDD 2024, Eq. 15 leaves the case open.
    """
    unsafe = _unsafe(reference_q, reference_cluster, n_c)

    def size(x, _):
        return jnp.abs(x)

    return _normalised(size, q, cluster, reference_q, reference_cluster, n_c), unsafe


def refuse_where_unsafe(q, cluster, reference_q, reference_cluster, n_c):
    r"""$Q_i / \sum Q_j$, or an error where that is unsafe; can't be traced.

    Raises:
      ValueError: if the values of some cluster nearly cancel or are negative on the
        whole.

    Example:
      >>> q, c = np.array([2.0, -0.5, -0.5]), np.zeros(3, int)
      >>> shares, unsafe = refuse_where_unsafe(q, c, q, c, np.array([3]))
      >>> np.asarray(shares, float).round(2).tolist(), unsafe.tolist()
      ([2.0, -0.5, -0.5], [False])

    References:
      Tarun et al., *EcoVal*, KDD 2024, Eq. 15.
    """
    bad = np.flatnonzero(_unsafe(reference_q, reference_cluster, n_c))
    if bad.size:
        raise ValueError(
            f"the predicted values of {bad.size} cluster(s) (the first: "
            f"{bad[:5].tolist()}) don't have a safely positive sum, so their shares in "
            "it mean nothing; choose another share_rule (jaxval.ecoval.share_rules)."
        )
    return as_in_the_paper(q, cluster, reference_q, reference_cluster, n_c)


_SAFE_SHARE = 0.1


def _unsafe(q, cluster, n_c):
    total = _sum(q, cluster, n_c)
    return (total <= 0) | (total < _SAFE_SHARE * _sum(jnp.abs(q), cluster, n_c))


def _normalised(weight, q, cluster, reference_q, reference_cluster, n_c):
    total = _sum(weight(reference_q, reference_cluster), reference_cluster, n_c)
    # What is left after a transformation can still vanish or cancel.
    empty = total <= 0
    shares = weight(q, cluster) / jnp.where(empty, 1.0, total)[cluster]
    return jnp.where(empty[cluster], _equal(n_c)[cluster], shares)


def _sum(x, cluster, n_c):
    return jax.ops.segment_sum(x, cluster, len(n_c))


def _equal(n_c):
    return 1.0 / jnp.maximum(jnp.asarray(n_c, float), 1.0)
