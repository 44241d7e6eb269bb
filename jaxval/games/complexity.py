r"""The complexity of a coalition's data to a network at initialisation.

$$v(S) = \sqrt{\hat y_S^\top (\Theta_{SS} + \zeta I)^{-1} \hat y_S / m_S}$$

from a Gram matrix, from its diagonal blocks, or from features of few columns. $v$ of
nobody is `empty`, which the paper leaves open (see `jaxval.games.davinz`).
"""

import functools
import warnings
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, Num

from jaxval._checks import check, finite, groups, positive, same_length
from jaxval.coalitions import masks
from jaxval.coalitions.game import Game, LeaveOneOut
from jaxval.execution.memory import rows_that_fit
from jaxval.execution.precision import float64, in_double
from jaxval.linalg import (
    Statistics,
    additive_statistics,
    additive_table,
    check_positive_definite,
    cholesky,
    leave_groups_out,
    leave_parts_out,
    masked_quadratic_form,
    member_table,
    powerset_quadratic_forms,
    powerset_statistic_forms,
    quadratic_form,
    statistic_form,
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

Residual = (
    Float[Array, " n"]
    | Float[Array, "n outputs"]
    | Float[np.ndarray, " n"]
    | Float[np.ndarray, "n outputs"]
)
Gram = Float[Array, "n n"] | Float[np.ndarray, "n n"]
Owner = Int[Array, " n"] | Int[np.ndarray, " n"]


def residual(
    outputs: Float[Array, "n outputs"] | Float[np.ndarray, "n outputs"],
    y: Num[Array, "n ..."] | Num[np.ndarray, "n ..."],
    target: Literal["own_logit", "difference"],
) -> Float[np.ndarray, " n"] | Float[np.ndarray, "n outputs"]:
    r"""$\hat y$, what the network at initialisation still has to learn.

    Args:
      outputs: of the network, one row a sample.
      y: class numbers or real targets.
      target: `"own_logit"` is the released code's $1 - f(x)_{y}$ for classes (with the
        own-class-logit kernel); `"difference"` is the paper's $y - f(x)$: with one
        output the plain difference, with several and class numbers the one-hot
        target's, one column an output, whose forms `complexity` sums.

    Example:
      >>> residual(np.array([[0.5, 0.0]]), np.array([0]), "own_logit").tolist()
      [0.5]
    """
    outputs, y = np.asarray(outputs, np.float64), np.asarray(y)
    same_length(outputs=outputs, y=y)
    classes = np.issubdtype(y.dtype, np.integer) and y.ndim == 1
    if target == "own_logit":
        check(classes, f"own_logit needs class numbers in y; got {y.dtype} {y.shape}.")
        _check_classes(y, outputs.shape[1])
        return 1.0 - np.take_along_axis(outputs, y[:, None], axis=1)[:, 0]
    if outputs.shape[1] == 1:
        return y.reshape(-1).astype(np.float64) - outputs[:, 0]
    if classes:
        _check_classes(y, outputs.shape[1])
        y = np.eye(outputs.shape[1])[y]
    check(
        y.shape == outputs.shape,
        f"y must have one target an output; got {y.shape} for {outputs.shape}.",
    )
    return y.astype(np.float64) - outputs


def _check_classes(y, count):
    check(
        bool((y >= 0).all() and (y < count).all()),
        f"y must hold class numbers 0 to {count - 1}, one for each output; got "
        f"{y.min()} to {y.max()}.",
    )


class _Forms(NamedTuple):
    """What the complexity game knows; rows are sorted by block, padded, isolated."""

    h: Float[Array, "blocks width width"]
    y: Float[Array, "blocks width outputs"]
    owner: Int[Array, "blocks width"]
    members: Int[Array, "blocks owners most"]
    sizes: Float[Array, " owners"]
    empty: Float[Array, ""]


def complexity(
    gram: Gram,
    residual: Residual,
    owner: Owner,
    *,
    zeta: float,
    relative: bool = False,
    block: Owner | None = None,
    empty: float = 0.0,
) -> Game:
    r"""$v(S) = \sqrt{\hat y_S^\top (\Theta_{SS} + \zeta I)^{-1} \hat y_S / m_S}$.

    All prefixes of an order cost one factorisation, so do all leave-one-outs, and the
    whole power set is walked without refactorising. With contributor-aligned blocks
    (`block=owner`) the form is additive and everything is immediate.

    Args:
      gram: the tangent kernel's Gram matrix $\Theta$ of all rows.
      residual: $\hat y$, see `residual`; the forms of several columns are summed.
      owner: who contributed each row.
      zeta: what is added to the diagonal.
      relative: take `zeta` as a multiple of the mean diagonal entry of `gram`.
      block: keep only the kernel inside each block of rows, numbered here: fixed
        global blocks as in appendix B (the same for all coalitions), `owner` itself
        for contributor-aligned ones. One block when left out.
      empty: $v(\emptyset)$.

    Raises:
      ValueError: if lengths differ, an array holds NaN, or the regularised matrix is
        not positive definite.

    Warns:
      RegulariserWarning: if over half of $\hat y^\top \hat y / \zeta$, the form without
        a kernel, is left.

    Example:
      >>> game = complexity(np.eye(3), np.ones(3), np.array([0, 0, 1]), zeta=1.0)
      >>> game.powerset_scores().round(3).tolist()
      [0.0, 0.707, 0.707, 0.707]
    """
    same_length(gram=gram, residual=residual, owner=owner)
    finite("gram", gram)
    finite("residual", residual)
    count = groups("owner", owner)
    if relative:
        zeta = zeta * float(np.trace(np.asarray(gram, np.float64))) / len(gram)
    positive("zeta", zeta, zero=True)
    forms = _forms(gram, residual, owner, block, zeta, empty)
    _check_forms(forms, zeta)
    if _one_owner_a_block(forms.owner, count):
        own = _own_forms(forms)
        return complexity_of_forms(own, forms.sizes, empty=empty)
    sizes = tuple(np.bincount(np.asarray(owner)).tolist())
    whole = len(forms.h) == 1
    walk = _powerset_walk(sizes) if whole else None
    leave = _leave_one_out_walk(sizes) if whole else _leave_one_out
    per_score = forms.h.size * 8 * 2
    return Game(
        count,
        Partial(_score, forms),
        fast_prefixes=Partial(_prefixes, forms),
        fast_leave_one_out=Partial(leave, forms),
        fast_powerset=walk and Partial(walk, forms),
        batch_size=rows_that_fit(per_score),
    )


def _forms(gram, residual, owner, block, zeta, empty):
    owner = np.asarray(owner, np.int32)
    count = int(owner.max()) + 1
    block = np.zeros(len(owner), np.int32) if block is None else np.asarray(block)
    same_length(owner=owner, block=block)
    table = member_table(block)
    pad = lambda a: np.concatenate([a, np.zeros_like(a[:1])])
    y = pad(np.asarray(residual, np.float64).reshape(len(owner), -1))[table]
    inner = np.append(owner, count)[table]
    return _Forms(
        jnp.stack([_regularised(gram, rows, zeta) for rows in table]),
        float64(y),
        jnp.asarray(inner),
        jnp.asarray(_members(inner, count)),
        float64(np.bincount(owner)),
        float64(empty),
    )


@in_double
def _regularised(gram, rows, zeta):
    n, real = len(gram), rows < len(gram)
    safe = np.where(real, rows, 0)
    whole = len(rows) == n and bool((rows == np.arange(n)).all())
    h = jnp.asarray(gram) if whole else jnp.asarray(gram)[safe[:, None], safe[None, :]]
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
def _root_mean(forms, total, size):
    some = size > 0
    mean = jnp.where(some, total, 1.0) / jnp.where(some, size, 1.0)
    return jnp.where(some, jnp.sqrt(jnp.maximum(mean, 0.0)), forms.empty)


@in_double
def _score(forms, mask):
    present = jnp.concatenate([mask, jnp.zeros(1, bool)])[forms.owner]
    total = jnp.sum(jax.vmap(masked_quadratic_form)(forms.h, forms.y, present))
    return _root_mean(forms, total, mask.astype(jnp.float64) @ forms.sizes)


@in_double
def _prefixes(forms, order):
    """Identity B inside each block, then everybody's part in order of arrival."""
    count = len(forms.sizes)
    rank = jnp.append(masks.ranks(order), count)[forms.owner]

    def arrivals(h, y, rank):
        rows = jnp.argsort(rank)
        energy = half_energies(cholesky(h[rows[:, None], rows[None, :]]), y[rows])
        return jnp.zeros(count + 1).at[rank[rows]].add(energy)

    added = jnp.sum(jax.vmap(arrivals)(forms.h, forms.y, rank), axis=0)[:count]
    from_nobody = lambda a: jnp.concatenate([jnp.zeros(1), jnp.cumsum(a)])
    return _root_mean(forms, from_nobody(added), from_nobody(forms.sizes[order]))


@in_double
def _leave_one_out(forms):
    each = lambda part: leave_groups_out(*part)
    full, without = jax.lax.map(each, (forms.h, forms.y, forms.members))
    size = jnp.sum(forms.sizes)
    return LeaveOneOut(
        _root_mean(forms, jnp.sum(full), size),
        _root_mean(forms, jnp.sum(without, axis=0), size - forms.sizes),
    )


@functools.cache
def _leave_one_out_walk(sizes: Sequence[int]):
    """All leave-one-outs of one block, the same function for the same group sizes."""
    place, ordered = _largest_first(sizes)

    @in_double
    def walk(forms):
        h, y = _sorted(forms, place)
        full, without = leave_parts_out(h, y, ordered)
        size = jnp.sum(forms.sizes)
        return LeaveOneOut(
            _root_mean(forms, full, size),
            _root_mean(forms, without[place], size - forms.sizes),
        )

    return walk


def _largest_first(sizes):
    big_first = np.argsort(-np.asarray(sizes), kind="stable")
    return np.argsort(big_first), tuple(sizes[i] for i in big_first)


def _sorted(forms, place):
    rows = jnp.argsort(jnp.asarray(place)[forms.owner[0]])
    return forms.h[0][rows[:, None], rows[None, :]], forms.y[0][rows]


@functools.cache
def _powerset_walk(sizes: Sequence[int]):
    """The walk of the subset lattice, the same function for the same group sizes."""
    place, ordered = _largest_first(sizes)

    @in_double
    def walk(forms):
        table = powerset_quadratic_forms(*_sorted(forms, place), ordered)
        number = additive_table(jnp.asarray(2.0) ** place).astype(jnp.int32)
        return _root_mean(forms, table[number], additive_table(forms.sizes))

    return walk


def _one_owner_a_block(owner, count):
    owner = np.asarray(owner)
    last = np.where(owner < count, owner, -1).max(axis=1)
    return bool((owner.min(axis=1) == last).all())


class _Additive(NamedTuple):
    """Every owner's own form: a coalition's is the sum (identity D)."""

    parts: Float[Array, " owners"]
    sizes: Float[Array, " owners"]
    empty: Float[Array, ""]


def complexity_of_forms(
    forms: Float[Array, " owners"] | Float[np.ndarray, " owners"],
    sizes: Num[Array, " owners"] | Num[np.ndarray, " owners"],
    *,
    empty: float = 0.0,
) -> Game:
    r"""Complexity where every owner's form is known and they add up (identity D).

    With contributor-aligned blocks $\hat y_S^\top H^{-1} \hat y_S$ is the sum of the
    members' own forms, so the kernel between owners need never be computed.

    Args:
      forms: $\hat y_i^\top (\Theta_{ii} + \zeta I)^{-1} \hat y_i$ of each owner, as
        from `jaxval.kernels.approximations.blocks.owner_quadratic_forms`.
      sizes: rows of each owner.
      empty: $v(\emptyset)$.

    Example:
      >>> game = complexity_of_forms(np.array([4.0, 1.0]), np.array([1.0, 1.0]))
      >>> game.powerset_scores().round(3).tolist()
      [0.0, 2.0, 1.0, 1.581]
    """
    same_length(forms=forms, sizes=sizes)
    finite("forms", forms)
    known = _Additive(float64(forms), float64(sizes), float64(empty))
    return Game(
        len(known.sizes),
        Partial(_additive_score, known),
        fast_powerset=Partial(_additive_powerset, known),
    )


@in_double
def _own_forms(forms):
    parts = jax.lax.map(lambda part: quadratic_form(*part), (forms.h, forms.y))
    return jnp.zeros(len(forms.sizes)).at[jnp.min(forms.owner, axis=1)].add(parts)


@in_double
def _additive_score(known, mask):
    inside = mask.astype(jnp.float64)
    return _root_mean(known, inside @ known.parts, inside @ known.sizes)


@in_double
def _additive_powerset(known):
    return _root_mean(known, additive_table(known.parts), additive_table(known.sizes))


class _Features(NamedTuple):
    statistics: Statistics
    zeta: Float[Array, ""]
    empty: Float[Array, ""]


def complexity_of_features(
    features: Float[Array, "n p"] | Float[np.ndarray, "n p"],
    residual: Residual,
    owner: Owner,
    *,
    zeta: float,
    relative: bool = False,
    empty: float = 0.0,
) -> Game:
    r"""Complexity under the kernel $\Theta = F F^\top$ of few features (identity C).

    A coalition costs one $p \times p$ factorisation whatever its size, as
    $F_S^\top F_S$, $F_S^\top \hat y_S$ and $\hat y_S^\top \hat y_S$ are sums over its
    members: right for more rows than features, as after a random projection of the
    gradients.

    Args:
      features: $F$, such as projected gradients.
      residual: $\hat y$.
      owner: who contributed each row.
      zeta: what is added to the diagonal; positive.
      relative: take `zeta` as a multiple of the mean diagonal entry of $F F^\top$.
      empty: $v(\emptyset)$.

    Example:
      >>> game = complexity_of_features(
      ...     np.eye(2), np.ones(2), np.array([0, 1]), zeta=1.0
      ... )
      >>> game.powerset_scores().round(3).tolist()
      [0.0, 0.707, 0.707, 0.707]
    """
    finite("features", features)
    finite("residual", residual)
    statistics = additive_statistics(features, residual, owner)
    if relative:
        zeta = zeta * float(np.mean(np.sum(np.asarray(features) ** 2, axis=1)))
    positive("zeta", zeta)
    known = _Features(statistics, float64(zeta), float64(empty))
    return Game(
        len(statistics.sizes),
        Partial(_feature_score, known),
        fast_powerset=Partial(_feature_powerset, known),
    )


@in_double
def _feature_score(known, mask):
    inside = mask.astype(jnp.float64)
    squares, cross, energy, size = (
        jnp.tensordot(inside, part, 1) for part in known.statistics
    )
    return _root_mean(known, statistic_form(squares, cross, energy, known.zeta), size)


@in_double
def _feature_powerset(known):
    forms = powerset_statistic_forms(known.statistics, known.zeta)
    return _root_mean(known, forms, additive_table(known.statistics.sizes))
