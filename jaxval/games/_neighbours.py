"""Training rows sorted by distance, and the games that are means over them."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Int

from jaxval import _checks
from jaxval._checks import check
from jaxval.coalitions.game import Game, Rows
from jaxval.execution.memory import rows_that_fit
from jaxval.execution.precision import double, float64


class Neighbours(NamedTuple):
    """Training rows sorted by their distance to each validation row.

    Attributes:
      gains: Matches with the validation row's class, or targets.
      y_valid: Targets of the validation rows; 0 for classes.
      owner: Owner of each training row.
      near: Whether each training row lies within the radius.
    """

    gains: Float[Array, "v n"]
    y_valid: Float[Array, " v"]
    owner: Int[Array, "v n"]
    near: Bool[Array, "v n"]


def _targets(name, values, regression):
    values = np.asarray(values)
    check(
        values.ndim == 1,
        f"{name} must hold one target per row; got shape {values.shape}. Give class "
        "numbers or real numbers as a vector.",
    )
    check(
        not regression or np.issubdtype(values.dtype, np.number),
        f"{name} must be real numbers for regression; got {values.dtype}.",
    )
    _checks.finite(name, values)
    return values


def sort_rows(distances, y, y_valid, owner, regression, radius=np.inf) -> Neighbours:
    """Check the distances and targets, and sort the rows by their distance."""
    distances = np.asarray(distances, np.float64)
    y, y_valid = (
        _targets(name, values, regression)
        for name, values in (("y", y), ("y_valid", y_valid))
    )
    _checks.same_length(y=y, owner=owner)
    check(len(y) > 0, "y is empty: there are no training rows to value.")
    check(len(y_valid) > 0, "y_valid is empty: there is no validation row to score by.")
    check(
        (y.dtype.kind in "US") == (y_valid.dtype.kind in "US"),
        f"y and y_valid must hold the same kind of classes; got {y.dtype} and "
        f"{y_valid.dtype}, which never match.",
    )
    check(
        distances.shape == (len(y_valid), len(y)),
        f"distances must be (validation rows, training rows) = "
        f"{(len(y_valid), len(y))}; got {distances.shape}.",
    )
    _checks.finite("distances", distances)
    order = np.argsort(distances, axis=1, kind="stable")  # (v, n), nearest first
    targets = y[order]
    gains = targets if regression else targets == y_valid[:, None]
    return Neighbours(
        float64(gains),
        float64(y_valid if regression else np.zeros(len(y_valid))),
        jnp.asarray(owner[order], jnp.int32),
        jnp.asarray(np.take_along_axis(distances, order, 1) <= radius),
    )


def mean_game(owner, row_scores, carried):
    """The game that is the mean of `row_scores(carried, mask)` over validation rows."""
    neighbours = carried if isinstance(carried, Neighbours) else carried[0]
    each = Partial(_EachCoalition(row_scores), carried)
    return Game(
        _checks.groups("owner", owner),
        Partial(_MeanOfRows(row_scores), carried),
        batch_size=rows_that_fit(8 * neighbours.gains.size),
        rows=Rows(len(neighbours.gains), each),
    )


@dataclasses.dataclass(frozen=True)
class _MeanOfRows:
    row_scores: Callable[..., Any]

    def __call__(self, carried, mask):
        with double():
            return jnp.mean(self.row_scores(carried, mask))


@dataclasses.dataclass(frozen=True)
class _EachCoalition:
    row_scores: Callable[..., Any]

    def __call__(self, carried, masks):
        with double():
            return jax.vmap(lambda mask: self.row_scores(carried, mask))(
                jnp.asarray(masks)
            )


def mean_by_point(each, owner, n):
    """Values `(v, n)` in sorted order to the mean over rows of each point's own."""
    values = np.zeros(n)
    np.add.at(values, np.asarray(owner), np.asarray(each))
    return values / len(each)
