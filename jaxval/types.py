r"""The contracts everything else is written against.

A *game* $v$ gives every coalition of players one number; a *value* is a linear
functional of a game. Whoever writes a game knows nothing of Shapley, whoever writes a
semi-value knows nothing of data, and this module is all they share.
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
"""An array of JAX or of NumPy, as in `Float[AnyArray, "n d"]`."""

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
    """The worth $v(S)$ of one coalition.

    Guarantees asked of every implementation: the same mask gives the same number;
    every mask is legal, the empty one included; it can be jitted and vmapped.
    """

    def __call__(self, mask: Mask) -> Scalar:
        """The worth of the players whose entry of `mask` is true."""
        ...


class Dataset(NamedTuple):
    """Samples and who contributed each; a point-level data set has one owner a point.

    Attributes:
      x: inputs, one a row.
      y: targets: class numbers, real numbers or vectors.
      owner: the player, 0 to K-1, that contributed each row: the rows of a coalition
        are `mask[owner]`.
    """

    x: Num[Array, "n ..."] | Num[np.ndarray, "n ..."]
    y: Num[Array, "n ..."] | Num[np.ndarray, "n ..."]
    owner: Int[Array, " n"] | Int[np.ndarray, " n"]

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

    x: Num[Array, "n ..."] | Num[np.ndarray, "n ..."]
    y: Num[Array, "n ..."] | Num[np.ndarray, "n ..."]


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
    """A value for each player, and how sure we are of it.

    Attributes:
      values: in the units of the game's score.
      stderr: standard error of each value, in the same units; 0 where it is exact, NaN
        where too few units were drawn to tell.
      counts: independent units behind each value (permutations, antithetic pairs,
        coalitions, seeds: the estimator says which).
    """

    values: Float[Array, " players"] | Float[np.ndarray, " players"]
    stderr: Float[Array, " players"] | Float[np.ndarray, " players"]
    counts: Int[Array, " players"] | Int[np.ndarray, " players"]


class Ends(NamedTuple):
    r"""What every estimator may lean on: two scores, asked for once a run.

    Attributes:
      empty: $v(\emptyset)$.
      full: $v(N)$.
    """

    empty: Scalar | float
    full: Scalar | float
