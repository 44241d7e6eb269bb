"""Eager checks of arguments, with one style of message.

Every message names the argument, what was expected, what came, and what to do. Strings
that select go through `one_of`, counts through `whole_number`, Gram matrices through
`symmetric`: nothing that is misspelt, rounded or lopsided is taken for something else.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from jax import dtypes

__all__ = [
    "check",
    "class_numbers",
    "finite",
    "groups",
    "one_of",
    "positive",
    "same_features",
    "same_length",
    "symmetric",
    "train_and_valid",
    "whole_number",
]


def check(condition: bool | np.bool_, message: str) -> None:
    """Raise `ValueError(message)` unless `condition` holds."""
    if not condition:
        raise ValueError(message)


def positive(name: str, value: float | int, *, zero: bool = False) -> None:
    """Check that a number is finite and positive (or zero where allowed)."""
    good = np.isfinite(value) and (value > 0 or (zero and value == 0))
    kind = "non-negative" if zero else "positive"
    check(bool(good), f"{name} must be a {kind} finite number; got {value}.")


def finite(name: str, array: Any) -> None:
    """Check that an array holds no NaN and no infinity, and say where the first is."""
    array = np.asarray(array)
    # Through JAX: NumPy holds that bfloat16 is no floating-point type.
    if not dtypes.issubdtype(array.dtype, np.floating):
        return
    bad = ~np.isfinite(array)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{name} must be finite; {int(bad.sum())} of {array.size} entries are not "
            f"(the first at index {where}). Drop or fill them first."
        )


def one_of(name: str, value: Any, choices: Iterable[Any]) -> None:
    """Check that a setting is one of the choices that its function knows.

    Example:
      >>> one_of("kind", "soft", ("classification", "soft", "regression"))
    """
    allowed = tuple(choices)
    if not any(isinstance(value, type(one)) and value == one for one in allowed):
        raise ValueError(
            f"{name} must be one of {', '.join(map(repr, allowed))}; got {value!r}."
        )


def whole_number(name: str, value: Any, *, at_least: int = 1) -> int:
    """Check that a count is a whole number, and return it as an `int`.

    Example:
      >>> whole_number("k", np.int32(3))
      3
    """
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    check(
        is_whole and value >= at_least,
        f"{name} must be a whole number of at least {at_least}; got {value!r}.",
    )
    return int(value)


def symmetric(name: str, matrix: Any, *, tolerance: float = 1e-4) -> None:
    """Check that a matrix is square and symmetric but for rounding.

    Works through strips of rows, so no second matrix is held.

    Args:
      name: Name of the argument.
      matrix: Matrix of real numbers; check them with `finite` first.
      tolerance: Largest difference of opposite entries, relative to the largest entry
        of the strip; the default leaves room for long sums in float32.

    Example:
      >>> symmetric("gram", np.eye(2))
    """
    shape = np.shape(matrix)
    check(
        len(shape) == 2 and shape[0] == shape[1],
        f"{name} must be a square matrix; got shape {shape}.",
    )
    strip = max(1, 2**22 // max(shape[0], 1))
    for start in range(0, shape[0], strip):
        # Of each strip the part from the diagonal on, against its mirror image.
        upper = np.asarray(matrix[start : start + strip, start:])
        lower = np.asarray(matrix[start:, start : start + strip]).T
        gap = np.abs(upper - lower)
        largest = np.abs(upper).max(initial=0)
        if (gap > tolerance * largest).any():
            row, column = np.unravel_index(int(np.nanargmax(gap)), gap.shape)
            raise ValueError(
                f"{name} must be symmetric; entry ({row + start}, {column + start}) "
                f"is {upper[row, column]:.6g} and its mirror image "
                f"{lower[row, column]:.6g}. Give a Gram matrix, or (A + A.T) / 2."
            )


def same_length(**arrays: Any) -> None:
    """Check that the named arrays have the same number of rows."""
    for name, array in arrays.items():
        check(
            hasattr(array, "__len__") and np.ndim(array) != 0,
            f"{name} must be an array with one row per sample; got {array!r}.",
        )
    lengths = {name: len(array) for name, array in arrays.items()}
    check(
        len(set(lengths.values())) <= 1,
        f"{', '.join(lengths)} must have one row a sample each; got lengths "
        f"{list(lengths.values())}.",
    )


def same_features(**inputs: Any) -> None:
    """Check that a row of each of the named inputs has the same shape.

    Example:
      >>> same_features(x=np.ones((4, 2)), x_valid=np.ones((3, 2)))
    """
    shapes = {name: np.shape(rows)[1:] for name, rows in inputs.items()}
    check(
        len(set(shapes.values())) <= 1,
        f"{', '.join(inputs)} must have the same features, in the same order; got rows "
        f"of shapes {list(shapes.values())}.",
    )


def train_and_valid(data: Any, valid: Any) -> int:
    """Check training and validation samples, finite and of the same features.

    Args:
      data: Training samples, `Dataset`.
      valid: Validation samples, `Points`; one row at least.

    Returns:
      Number of owners.
    """
    arrays = {
        "data.x": data.x, "data.y": data.y, "valid.x": valid.x, "valid.y": valid.y
    }  # fmt: skip
    same_length(**{"data.x": data.x, "data.y": data.y, "data.owner": data.owner})
    same_length(**{"valid.x": valid.x, "valid.y": valid.y})
    check(len(valid.y) > 0, "valid.y is empty: there is nothing to score on.")
    same_features(**{"data.x": data.x, "valid.x": valid.x})
    for name, array in arrays.items():
        finite(name, array)
    return groups("data.owner", data.owner)


def groups(name: str, owner: Any, *, at_least: int = 1) -> int:
    """Check owner numbers 0 to K-1, none without rows, and return K."""
    owner = np.asarray(owner)
    check(
        owner.ndim == 1 and np.issubdtype(owner.dtype, np.integer),
        f"{name} must be a vector of integers; got shape {owner.shape} of "
        f"{owner.dtype}.",
    )
    check(owner.size > 0, f"{name} is empty: there is no owner to value.")
    check(int(owner.min()) >= 0, f"{name} must not be negative; got {owner.min()}.")
    sizes = np.bincount(owner)
    empty = np.flatnonzero(sizes == 0)
    check(
        empty.size == 0,
        f"{name} must number the owners 0 to K-1 without gaps; owners "
        f"{empty[:5].tolist()} have no rows.",
    )
    check(
        sizes.size >= at_least,
        f"{name} names {sizes.size} owner(s); at least {at_least} are needed to "
        "compare.",
    )
    return int(sizes.size)


def class_numbers(name: str, y: Any) -> np.ndarray:
    """Raise unless `y` holds class numbers, one per row.

    Returns:
      `y` as NumPy.
    """
    y = np.asarray(y)
    check(
        y.ndim == 1 and np.issubdtype(y.dtype, np.integer) and y.min(initial=0) >= 0,
        f"{name} must hold class numbers 0, 1, ... as integers; got shape {y.shape} of "
        f"{y.dtype}, the least {y.min(initial=0)}.",
    )
    return y
