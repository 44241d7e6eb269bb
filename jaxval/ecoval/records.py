"""What EcoVal's formulas take and give: records of arrays, which JAX can trace."""

from typing import NamedTuple

from jaxtyping import Array, Bool, Float, Int, Num

from jaxval.types import AnyArray

__all__ = [
    "FULL",
    "NO_ADJUSTMENT",
    "NO_ALPHA",
    "NO_BETA",
    "Allocation",
    "Hazards",
    "Members",
    "Terms",
]


class Terms(NamedTuple):
    """Which adjustment factors to apply; the four variants of the paper's figure 4.

    Attributes:
      alpha: Whether the predicted values of the points count.
      beta: Whether their distances to the centroid count.
    """

    alpha: bool = True
    beta: bool = True


FULL = Terms()
NO_ALPHA = Terms(alpha=False)
NO_BETA = Terms(beta=False)
NO_ADJUSTMENT = Terms(alpha=False, beta=False)


class Members(NamedTuple):
    """The points that a cluster's value is divided over: $n_c$ and both sums.

    Attributes:
      q: Values $Q_j$ as the regression model predicts them, one per point.
      d: Distances $d_j$ to the cluster's centroid, one per point.
      cluster: Cluster, 0 to C-1, of each point.
    """

    q: Num[AnyArray, " n"]
    d: Num[AnyArray, " n"]
    cluster: Int[AnyArray, " n"]


class Hazards(NamedTuple):
    r"""Which clusters met a case that the paper's formulas leave open.

    Attributes:
      no_members: No point of the reference is in the cluster.
      unsafe_sum: $\sum Q$ was not safely positive; the share rule replaced it.
      zero_distances: All members coincide with the centroid; each gets $1/n_c$.
      no_correction: $1 + V_c / n_c$ was not safely positive; both factors are 1.
      tied_at_zero: $V_c = 0$, so that all members get exactly 0.
      negative: $V_c < 0$: the model is better off without the cluster.
      outsized: $|V_c / n_c| > 1/2$: the correction, of second order for accuracies, is
        no longer small against what it corrects. Measure the utility in units in which
        it stays between 0 and 1.
    """

    no_members: Bool[Array, " clusters"]
    unsafe_sum: Bool[Array, " clusters"]
    zero_distances: Bool[Array, " clusters"]
    no_correction: Bool[Array, " clusters"]
    tied_at_zero: Bool[Array, " clusters"]
    negative: Bool[Array, " clusters"]
    outsized: Bool[Array, " clusters"]


class Allocation(NamedTuple):
    r"""Values of points and what they are made of.

    Attributes:
      values: Values $\hat\Phi_i$, one per point.
      gamma_alpha: Factors $\Gamma_{\alpha_i}$ (1 where switched off).
      gamma_beta: Factors $\Gamma_{\beta_i}$ (1 where switched off).
      preference: Order inside a cluster whatever the sign of $V_c$, and this library's
        tie rule when $V_c = 0$: $n_c s^\alpha_i + n_c s^\beta_i - 2$ (of the factors
        switched on), of shares as they are, not bounded. No value.
      hazards: Truth values, one per cluster and kind.
      cluster: Cluster of each point.
      bounded: Whether a share lay outside its range and was moved to its end; never
        for points of the reference itself.
    """

    values: Float[Array, " m"]
    gamma_alpha: Float[Array, " m"]
    gamma_beta: Float[Array, " m"]
    preference: Float[Array, " m"]
    hazards: Hazards
    cluster: Int[AnyArray, " m"]
    bounded: Bool[Array, " m"]
