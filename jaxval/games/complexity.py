r"""The complexity of a coalition's data to a network at initialisation.

$$v(S) = \sqrt{\hat y_S^\top (\Theta_{SS} + \zeta I)^{-1} \hat y_S / m_S}$$

from a Gram matrix, from its diagonal blocks, or from features of few columns. The
score of the empty coalition is `empty_score`, which the paper leaves open (see
`jaxval.games.davinz`).
"""

import dataclasses
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int

from jaxval._checks import check, finite, positive, same_length, symmetric
from jaxval._targets import numbers, owners
from jaxval.coalitions import masks
from jaxval.coalitions.game import Game, LeaveOneOut
from jaxval.execution.memory import rows_that_fit
from jaxval.execution.precision import float64, in_double
from jaxval.games.complexity_additive import (
    complexity_of_features,
    complexity_of_forms,
    read_residual,
    root_mean,
)
from jaxval.games.residual import residual
from jaxval.linalg import (
    additive_table,
    check_positive_definite,
    cholesky,
    leave_groups_out,
    leave_parts_out,
    masked_quadratic_form,
    member_table,
    powerset_quadratic_forms,
    quadratic_form,
)
from jaxval.linalg.quadratic import half_energies
from jaxval.linalg.regulariser import RegulariserWarning

__all__ = [
    "RegulariserWarning",
    "complexity",
    "complexity_of_features",
    "complexity_of_forms",
    "residual",
]


class _Forms(NamedTuple):
    """What the complexity game knows; rows are sorted by block, padded, isolated."""

    h: Float[Array, "blocks width width"]
    y: Float[Array, "blocks width outputs"]
    owner: Int[Array, "blocks width"]
    members: Int[Array, "blocks owners most"]
    sizes: Float[Array, " owners"]
    empty_score: Float[Array, ""]


def complexity(
    gram: Any,
    residual: Any,
    owner: Any,
    *,
    zeta: float,
    relative: bool = False,
    block: Any = None,
    empty_score: float = 0.0,
) -> Game:
    r"""$v(S) = \sqrt{\hat y_S^\top (\Theta_{SS} + \zeta I)^{-1} \hat y_S / m_S}$.

    All prefixes of an order cost one factorisation, so do all leave-one-outs, and the
    whole power set is walked without refactorising. With contributor-aligned blocks
    (`block=owner`) the form is additive and everything is immediate.

    Args:
      gram: Gram matrix $\Theta$ of the tangent kernel, of all rows.
      residual: $\hat y$, see `residual`; the forms of several columns are summed.
      owner: Owner number of each row.
      zeta: Regulariser $\zeta$, added to the diagonal.
      relative: Whether `zeta` is a multiple of the mean diagonal entry of `gram`.
      block: Block number of each row: the kernel inside blocks is kept. Fixed global
        blocks as in appendix B (the same for all coalitions), `owner` itself for
        contributor-aligned ones; one block when left out.
      empty_score: Score $v(\emptyset)$.

    Raises:
      ValueError: If lengths differ, an array holds text, NaN or infinity, `gram` is
        not symmetric, or the regularised matrix is not positive definite.

    Warns:
      RegulariserWarning: If over half of $\hat y^\top \hat y / \zeta$, the form
        without a kernel, is left.

    Example:
      >>> game = complexity(np.eye(3), np.ones(3), np.array([0, 0, 1]), zeta=1.0)
      >>> game.powerset_scores().round(3).tolist()
      [0.0, 0.707, 0.707, 0.707]

    References:
      Wu, Shu and Low, DAVINZ, ICML 2022, Eq. 3 and appendix B.
    """
    gram, y = _read_gram(gram), read_residual(residual)
    same_length(gram=gram, residual=y)
    owner = owners("owner", owner, num_rows=len(gram))
    finite("empty_score", empty_score)
    if relative:
        zeta = zeta * float(np.trace(np.asarray(gram, np.float64))) / len(gram)
    positive("zeta", zeta, zero=True)
    forms = _forms(gram, y, owner, block, zeta, empty_score)
    _check_forms(forms, zeta)
    sizes = tuple(np.bincount(owner).tolist())
    if _one_owner_a_block(forms.owner, len(sizes)):
        own = _own_forms(forms)
        return complexity_of_forms(own, forms.sizes, empty_score=empty_score)
    is_one_block = len(forms.h) == 1
    leave = _LeaveOneOutOfParts(sizes) if is_one_block else _leave_one_out
    # Each coalition holds its masked copy of the matrices and their factors.
    per_score = forms.h.size * 8 * 2
    return Game(
        len(sizes),
        Partial(_score, forms),
        fast_prefixes=Partial(_prefixes, forms),
        fast_leave_one_out=Partial(leave, forms),
        fast_powerset=Partial(_Powerset(sizes), forms) if is_one_block else None,
        batch_size=rows_that_fit(per_score),
    )


def _read_gram(gram):
    """The matrix as it came, where it is in single or double precision: it is large."""
    if getattr(gram, "dtype", None) not in (np.float32, np.float64):
        gram = numbers("gram", gram)
    finite("gram", gram)
    symmetric("gram", np.asarray(gram))
    check(len(gram) > 0, "gram is empty: there are no rows to value.")
    return gram


def _forms(gram, y, owner, block, zeta, empty_score):
    owner = owner.astype(np.int32)
    count = int(owner.max()) + 1
    block = np.zeros(len(owner), np.int32) if block is None else block
    table = member_table(owners("block", block, num_rows=len(owner)))
    y = np.concatenate([y, np.zeros_like(y[:1])])[table]
    inner = np.append(owner, count)[table]
    return _Forms(
        jnp.stack([_regularised(gram, rows, zeta) for rows in table]),
        float64(y),
        jnp.asarray(inner),
        jnp.asarray(_members(inner, count)),
        float64(np.bincount(owner)),
        float64(empty_score),
    )


@in_double
def _regularised(gram, rows, zeta):
    n, real = len(gram), rows < len(gram)
    safe = np.where(real, rows, 0)
    is_gram = len(rows) == n and bool((rows == np.arange(n)).all())
    h = jnp.asarray(gram)
    h = h if is_gram else h[safe[:, None], safe[None, :]]
    h = h.astype(jnp.float64) * (real[:, None] & real[None, :])
    return h + jnp.diag(jnp.where(real, zeta, 1.0))


def _members(owner, count):
    """For each block and owner, its rows of the block, padded with the width."""
    most = max(np.bincount(row, minlength=count + 1)[:count].max() for row in owner)
    table = np.full((len(owner), count, most), owner.shape[1], np.int32)
    for b, row in enumerate(owner):
        for i in np.unique(row[row < count]):
            rows = np.flatnonzero(row == i)
            table[b, i, : len(rows)] = rows
    return table


def _check_forms(forms, zeta):
    form = energy = 0.0
    for h, y in zip(forms.h, forms.y, strict=True):
        factor = check_positive_definite(h, "gram + zeta I")
        form += float(np.sum(np.asarray(half_energies(factor, y))))
        energy += float(np.sum(np.asarray(y) ** 2))
    if energy > 0 and zeta * form > 0.5 * energy:
        warnings.warn(
            f"{zeta * form / energy:.0%} of the complexity is the regulariser's: zeta "
            f"= {zeta:.1e} dominates the kernel. Lower it, or give it relative to the "
            "kernel (relative=True, such as 1e-3).",
            RegulariserWarning,
            stacklevel=3,
        )


@in_double
def _score(forms, mask):
    present = jnp.concatenate([mask, jnp.zeros(1, bool)])[forms.owner]
    total = jnp.sum(jax.vmap(masked_quadratic_form)(forms.h, forms.y, present))
    return root_mean(forms, total, mask.astype(jnp.float64) @ forms.sizes)


@in_double
def _prefixes(forms, order):
    """Identity B inside each block, then each owner's part in order of arrival."""
    count = len(forms.sizes)
    rank = jnp.append(masks.ranks(order), count)[forms.owner]

    def arrivals(h, y, rank):
        rows = jnp.argsort(rank)
        energy = half_energies(cholesky(h[rows[:, None], rows[None, :]]), y[rows])
        return jnp.zeros(count + 1).at[rank[rows]].add(energy)

    added = jnp.sum(jax.vmap(arrivals)(forms.h, forms.y, rank), axis=0)[:count]
    return root_mean(forms, _cumulated(added), _cumulated(forms.sizes[order]))


def _cumulated(a):
    return jnp.concatenate([jnp.zeros(1), jnp.cumsum(a)])


@in_double
def _leave_one_out(forms):
    full, without = jax.lax.map(
        lambda block: leave_groups_out(*block), (forms.h, forms.y, forms.members)
    )
    size = jnp.sum(forms.sizes)
    return LeaveOneOut(
        root_mean(forms, jnp.sum(full), size),
        root_mean(forms, jnp.sum(without, axis=0), size - forms.sizes),
    )


@dataclasses.dataclass(frozen=True)
class _LeaveOneOutOfParts:
    """All leave-one-outs of one block, for owners of these numbers of rows."""

    sizes: tuple[int, ...]

    @in_double
    def __call__(self, forms):
        place, ordered = _largest_first(self.sizes)
        h, y = _sorted(forms, place)
        full, without = leave_parts_out(h, y, ordered)
        size = jnp.sum(forms.sizes)
        return LeaveOneOut(
            root_mean(forms, full, size),
            root_mean(forms, without[place], size - forms.sizes),
        )


def _largest_first(sizes):
    big_first = np.argsort(-np.asarray(sizes), kind="stable")
    return np.argsort(big_first), tuple(sizes[i] for i in big_first)


def _sorted(forms, place):
    rows = jnp.argsort(jnp.asarray(place)[forms.owner[0]])
    return forms.h[0][rows[:, None], rows[None, :]], forms.y[0][rows]


@dataclasses.dataclass(frozen=True)
class _Powerset:
    """The walk of the subset lattice, for owners of these numbers of rows."""

    sizes: tuple[int, ...]

    @in_double
    def __call__(self, forms):
        place, ordered = _largest_first(self.sizes)
        table = powerset_quadratic_forms(*_sorted(forms, place), ordered)
        number = additive_table(jnp.asarray(2.0) ** place).astype(jnp.int32)
        return root_mean(forms, table[number], additive_table(forms.sizes))


def _one_owner_a_block(owner, count):
    owner = np.asarray(owner)
    last = np.where(owner < count, owner, -1).max(axis=1)
    return bool((owner.min(axis=1) == last).all())


@in_double
def _own_forms(forms):
    own = jax.lax.map(lambda block: quadratic_form(*block), (forms.h, forms.y))
    return jnp.zeros(len(forms.sizes)).at[jnp.min(forms.owner, axis=1)].add(own)
