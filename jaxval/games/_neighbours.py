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
from jaxval._targets import labels, numbers, real_targets
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


def num_targets(y: Any) -> int:
    """Rows of the training targets."""
    check(np.ndim(y) > 0, f"y must hold one target per training row; got {y!r}.")
    return len(y)


def _targets(y, y_valid, regression):
    """What votes are counted or averaged by, one number per row."""
    # Before anything else: there is nothing to read in them.
    check(np.shape(y)[:1] != (0,), "y is empty: there are no training rows to value.")
    check(
        np.shape(y_valid)[:1] != (0,),
        "y_valid is empty: there is no validation row to score by.",
    )
    if not regression:
        return labels(y=y, y_valid=y_valid)
    y, y_valid = real_targets(y=y, y_valid=y_valid)
    check(
        y.shape[1] == 1,
        f"y must hold one real number per row; got {y.shape[1]}. Value one output "
        "after the other.",
    )
    return y[:, 0], y_valid[:, 0]


def sort_rows(distances, y, y_valid, owner, regression, radius=np.inf) -> Neighbours:
    """Check the distances and targets, and sort the rows by their distance."""
    y, y_valid = _targets(y, y_valid, regression)
    distances = numbers("distances", distances)
    _checks.same_length(y=y, owner=owner)
    check(
        distances.shape == (len(y_valid), len(y)),
        f"distances must be (rows of y_valid, rows of y) = "
        f"{(len(y_valid), len(y))}; got {distances.shape}.",
    )
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
