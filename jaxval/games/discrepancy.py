r"""How far a coalition's rows are from the target sample, as a game (identity E)."""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float

from jaxval._checks import finite
from jaxval.coalitions.game import Game
from jaxval.execution.precision import float64, in_double
from jaxval.kernels.mmd import KernelSums, mmd_from_totals
from jaxval.kernels.mmd_rows import RowKernels, discrepancy_rows
from jaxval.linalg import additive_table, pairwise_table

__all__ = ["discrepancy"]


class _Mmd(NamedTuple):
    sums: KernelSums
    empty_score: Float[Array, ""]


def discrepancy(
    sums: KernelSums | RowKernels,
    *,
    unbiased: bool = False,
    root: bool = True,
    empty_score: float = 0.0,
) -> Game:
    r"""$v(S) = \mathrm{MMD}(S, T)$ of a coalition's rows to the target sample.

    Args:
      sums: Kernel sums of owners and target (`jaxval.kernels.mmd.kernel_sums`), or of
        owners and each row of the target (`jaxval.kernels.mmd_rows.row_kernels`): the
        game then answers by row of the target, whose weights enter as
        `Game.reduce_rows(..., weights)`.
      unbiased: Whether the means leave the diagonal out; the biased estimate (paper and
        released code) makes small coalitions look far away.
      root: MMD, not its square; 0 where an unbiased square is negative.
      empty_score: Score $v(\emptyset)$.

    Raises:
      ValueError: If `empty_score` is not finite.

    Example:
      >>> import numpy as np
      >>> from jaxval.kernels.mmd import kernel_sums, rbf_ladder
      >>> x = np.array([[0.0], [1.0]])
      >>> sums = kernel_sums(x, np.array([0, 1]), x[:1], rbf_ladder(1.0))
      >>> float(discrepancy(sums).score(jnp.array([True, False])))
      0.0

    References:
      Wu, Shu and Low, DAVINZ, ICML 2022, Definition 1.
    """
    finite("empty_score", empty_score)
    rule = {"unbiased": bool(unbiased), "root": bool(root)}
    rows = None
    if isinstance(sums, RowKernels):
        rows = discrepancy_rows(sums, **rule, empty_score=empty_score)
        sums = sums.sums
    arrays = _Mmd(sums, float64(empty_score))
    return Game(
        len(sums.sizes),
        Partial(_Discrepancy(**rule), arrays),
        fast_powerset=Partial(_DiscrepancyPowerset(**rule), arrays),
        rows=rows,
    )


@dataclasses.dataclass(frozen=True)
class _Discrepancy:
    unbiased: bool
    root: bool

    @in_double
    def __call__(self, arrays, mask):
        sums, inside = arrays.sums, mask.astype(jnp.float64)
        within = inside @ sums.between @ inside
        return self.of(arrays, within, inside @ sums.to_valid, inside @ sums.sizes)

    def of(self, arrays, within, across, size):
        """From totals over a coalition's rows, of one coalition or of many."""
        some = jnp.maximum(size, 1.0)
        rule = (self.unbiased, self.root)
        value = mmd_from_totals(arrays.sums, within, across, some, *rule)
        return jnp.where(size > 0, value, arrays.empty_score)


@dataclasses.dataclass(frozen=True)
class _DiscrepancyPowerset(_Discrepancy):
    @in_double
    def __call__(self, arrays):
        sums = arrays.sums
        tables = (
            pairwise_table(sums.between),
            additive_table(sums.to_valid),
            additive_table(sums.sizes),
        )
        return self.of(arrays, *tables)
