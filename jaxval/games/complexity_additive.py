r"""The complexity of a coalition from what adds up over its members.

Either every owner's own quadratic form (identity D), or the squares and products of few
features (identity C). From a Gram matrix: `jaxval.games.complexity`.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from jaxval._checks import check, finite, positive, same_length
from jaxval._targets import numbers, owners
from jaxval.coalitions.game import Game
from jaxval.execution.precision import float64, in_double
from jaxval.linalg import (
    Statistics,
    additive_statistics,
    additive_table,
    powerset_statistic_forms,
    statistic_form,
)

__all__ = ["complexity_of_features", "complexity_of_forms"]

_LEAST_ZETA = 1e-10
"""Of the features' largest eigenvalue: six digits of a form are left then."""


@in_double
def root_mean(arrays, total, size):
    """The root of a form per row; `arrays.empty_score` without rows."""
    some = size > 0
    mean = jnp.where(some, total, 1.0) / jnp.where(some, size, 1.0)
    return jnp.where(some, jnp.sqrt(jnp.maximum(mean, 0.0)), arrays.empty_score)


def read_residual(residual: Any) -> Float[np.ndarray, "n outputs"]:
    """The residual with one column per output."""
    y = numbers("residual", residual)
    check(
        y.ndim in (1, 2) and y.size > 0,
        "residual must have one row per sample, and a column per output where there "
        f"are several; got shape {y.shape}.",
    )
    return y.reshape(len(y), -1)


class _Additive(NamedTuple):
    """Every owner's own form: a coalition's is the sum (identity D)."""

    parts: Float[Array, " owners"]
    sizes: Float[Array, " owners"]
    empty_score: Float[Array, ""]


def complexity_of_forms(forms: Any, sizes: Any, *, empty_score: float = 0.0) -> Game:
    r"""Complexity where every owner's form is arrays and they add up (identity D).

    With contributor-aligned blocks $\hat y_S^\top H^{-1} \hat y_S$ is the sum of the
    members' own forms, so the kernel between owners need never be computed.

    Args:
      forms: $\hat y_i^\top (\Theta_{ii} + \zeta I)^{-1} \hat y_i$ of each owner, as
        from `jaxval.kernels.approximations.blocks.owner_quadratic_forms`.
      sizes: Number of rows of each owner.
      empty_score: Score $v(\emptyset)$.

    Raises:
      ValueError: If lengths differ, a number is not finite, a form is negative, or an
        owner has no rows.

    Example:
      >>> game = complexity_of_forms(np.array([4.0, 1.0]), np.array([1.0, 1.0]))
      >>> game.powerset_scores().round(3).tolist()
      [0.0, 2.0, 1.0, 1.581]
    """
    forms, sizes = numbers("forms", forms, ndim=1), numbers("sizes", sizes, ndim=1)
    same_length(forms=forms, sizes=sizes)
    finite("empty_score", empty_score)
    check(len(forms) > 0, "forms is empty: there is no owner to value.")
    check(bool((forms >= 0).all()), f"forms must not be negative; got {forms.min()}.")
    check(
        bool((sizes > 0).all()),
        f"sizes must be positive: an owner has one row at least; got {sizes.min()}.",
    )
    arrays = _Additive(float64(forms), float64(sizes), float64(empty_score))
    return Game(
        len(forms),
        Partial(_additive_score, arrays),
        fast_powerset=Partial(_additive_powerset, arrays),
    )


@in_double
def _additive_score(arrays, mask):
    inside = mask.astype(jnp.float64)
    return root_mean(arrays, inside @ arrays.parts, inside @ arrays.sizes)


@in_double
def _additive_powerset(arrays):
    return root_mean(arrays, additive_table(arrays.parts), additive_table(arrays.sizes))


class _Features(NamedTuple):
    statistics: Statistics
    zeta: Float[Array, ""]
    empty_score: Float[Array, ""]


def complexity_of_features(
    features: Any,
    residual: Any,
    owner: Any,
    *,
    zeta: float,
    relative: bool = False,
    empty_score: float = 0.0,
) -> Game:
    r"""Complexity under the kernel $\Theta = F F^\top$ of few features (identity C).

    A coalition costs one $p \times p$ factorisation whatever its size, as
    $F_S^\top F_S$, $F_S^\top \hat y_S$ and $\hat y_S^\top \hat y_S$ are sums over its
    members: right for more rows than features, as after a random projection of the
    gradients. With more features than rows take `complexity(F @ F.T, ...)`.

    Args:
      features: Features $F$, `(n, p)`, such as projected gradients.
      residual: Residual $\hat y$, one row per row of `features`.
      owner: Owner number of each row.
      zeta: Regulariser, added to the diagonal of $F F^\top$; positive.
      relative: Whether `zeta` is a multiple of the mean diagonal entry of $F F^\top$.
      empty_score: Score $v(\emptyset)$.

    Raises:
      ValueError: If lengths differ, an array holds text, NaN or infinity, or `zeta` is
        so small that double precision can't tell a form from rounding: below
        $10^{-10}$ of a bound on the largest eigenvalue of $F^\top F$.

    Example:
      >>> game = complexity_of_features(
      ...     np.eye(2), np.ones(2), np.array([0, 1]), zeta=1.0
      ... )
      >>> game.powerset_scores().round(3).tolist()
      [0.0, 0.707, 0.707, 0.707]
    """
    features = numbers("features", features, ndim=2)
    check(features.size > 0, f"features is empty; got shape {features.shape}.")
    y = read_residual(residual)
    same_length(features=features, residual=y)
    owner = owners("owner", owner, num_rows=len(features))
    finite("empty_score", empty_score)
    statistics = additive_statistics(features, y, owner)
    if relative:
        zeta = zeta * float(np.mean(np.sum(features**2, axis=1)))
    positive("zeta", zeta)
    _check_resolved(statistics, zeta)
    arrays = _Features(statistics, float64(zeta), float64(empty_score))
    return Game(
        len(statistics.sizes),
        Partial(_feature_score, arrays),
        fast_powerset=Partial(_feature_powerset, arrays),
    )


def _check_resolved(statistics, zeta):
    # (y'y - b'(A + zeta I)^-1 b) / zeta loses the digits by which zeta is below A's
    # largest eigenvalue; the largest sum of a row's entries bounds that.
    squares = np.sum(np.asarray(statistics.squares), axis=0)
    largest = float(np.abs(squares).sum(axis=1).max())
    check(
        zeta >= _LEAST_ZETA * largest,
        f"zeta must be at least {_LEAST_ZETA * largest:.1e} for these features (1e-10 "
        f"of the largest eigenvalue of F'F, about); got {zeta:.1e}. Raise it, or take "
        "complexity(features @ features.T, ...), which subtracts nothing.",
    )


@in_double
def _feature_score(arrays, mask):
    inside = mask.astype(jnp.float64)
    squares, cross, energy, size = (
        jnp.tensordot(inside, part, 1) for part in arrays.statistics
    )
    return root_mean(arrays, statistic_form(squares, cross, energy, arrays.zeta), size)


@in_double
def _feature_powerset(arrays):
    forms = powerset_statistic_forms(arrays.statistics, arrays.zeta)
    return root_mean(arrays, forms, additive_table(arrays.statistics.sizes))
