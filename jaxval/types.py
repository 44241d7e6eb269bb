r"""The contracts everything else is written against.

A *game* $v$ gives every coalition of players one number; a *value* is a linear
functional of a game. Games know nothing of Shapley, semi-values know nothing of data,
and this module is all they share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, Num

__all__ = [
    "AnyArray",
    "ApplyFn",
    "Dataset",
    "Ends",
    "KernelFn",
    "Mask",
    "Order",
    "Points",
    "PRNGKey",
    "ReadoutFn",
    "Scalar",
    "ScoreFn",
    "Split",
    "ValueEstimate",
]

AnyArray = Array | np.ndarray
"""An array of either world; `Float[AnyArray, "n d"]` says its type and shape."""

PRNGKey = Key[Array, ""]
Scalar = Float[Array, ""]
Mask = Bool[Array, " players"]
Order = Int[Array, " players"]
Params = Any

KernelFn = Callable[[Float[Array, " d"], Float[Array, " d"]], Scalar]
"""A kernel of two points."""

ApplyFn = Callable[[Params, Num[Array, "n ..."]], Float[Array, "n outputs"]]
"""A network: parameters and a batch of inputs to a batch of output vectors."""

ReadoutFn = Callable[[Float[Array, " outputs"], Num[Array, "..."]], Scalar]
"""One number from the outputs for one sample and that sample's target."""


@runtime_checkable
class ScoreFn(Protocol):
    """The score $v(S)$ of one coalition.

    Guarantees asked of every implementation: the same mask gives the same number;
    every mask is legal, the empty one included; it can be jitted and vmapped.
    """

    def __call__(self, mask: Mask) -> Scalar:
        """The score of the players whose entry of `mask` is true."""
        ...


class Dataset(NamedTuple):
    """Samples and who contributed each; in a point-level data set each owns one point.

    Attributes:
      x: Inputs, one per row.
      y: Targets, one per row: class numbers, real numbers or vectors.
      owner: Player, 0 to K-1, that contributed each row: the rows of a coalition are
        `mask[owner]`.
    """

    x: Num[AnyArray, "n ..."]
    y: Num[AnyArray, "n ..."]
    owner: Int[AnyArray, " n"]

    @property
    def num_owners(self) -> int:
        """Players: one more than the largest owner number."""
        return int(np.max(np.asarray(self.owner), initial=-1)) + 1

    @property
    def sizes(self) -> Int[np.ndarray, " owners"]:
        """Rows of each owner."""
        return np.bincount(np.asarray(self.owner), minlength=self.num_owners)


class Points(NamedTuple):
    """Inputs and their targets.

    Attributes:
      x: Inputs, one per row.
      y: Targets, one per row: class numbers, real numbers or vectors.
    """

    x: Num[AnyArray, "n ..."]
    y: Num[AnyArray, "n ..."]


class Split(NamedTuple):
    """Samples to train on and samples to validate with.

    Attributes:
      x_train: Training inputs, one per row.
      y_train: Training targets, one per row.
      x_valid: Validation inputs, one per row.
      y_valid: Validation targets, one per row.
    """

    x_train: Num[np.ndarray, "n ..."]
    y_train: Num[np.ndarray, " n"]
    x_valid: Num[np.ndarray, "m ..."]
    y_valid: Num[np.ndarray, " m"]

    @property
    def train(self) -> Points:
        """The training rows."""
        return Points(self.x_train, self.y_train)

    @property
    def valid(self) -> Points:
        """The validation rows."""
        return Points(self.x_valid, self.y_valid)


class ValueEstimate(NamedTuple):
    """A value for each player, and how certain it is.

    Attributes:
      values: Values, in the units of the game's score.
      stderr: Standard error of each value, in the same units; 0 where it is exact, NaN
        where too few units were drawn to tell.
      counts: Independent units behind each value (permutations, antithetic pairs,
        coalitions or seeds; the estimator says which).
      degrees: Degrees of freedom of each standard error; `counts - 1` when `None`,
        infinite where the values are exact by construction.
      unit_range: Largest less smallest unit over all players: what units that agree
        may still hide. Unknown when `None`.
    """

    values: Float[AnyArray, " players"]
    stderr: Float[AnyArray, " players"]
    counts: Int[AnyArray, " players"]
    degrees: Num[AnyArray, " players"] | None = None
    unit_range: Float[AnyArray, ""] | float | None = None


class Ends(NamedTuple):
    r"""The endpoints of a game: two scores that every estimator gets, asked once a run.

    Attributes:
      empty: Score of the empty coalition, $v(\emptyset)$.
      full: Score of the grand coalition, $v(N)$.
    """

    empty: Scalar | float
    full: Scalar | float
