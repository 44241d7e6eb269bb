"""Scikit-learn's handwritten digits, dealt out to one-class contributors."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxval.types import Dataset

__all__ = ["Split", "deal"]


class Split(NamedTuple):
    """Rows to be valued, and rows to value them by.

    Attributes:
      data: owned by the contributors.
      x_valid: inputs of the validation set.
      y_valid: its classes.
    """

    data: Dataset
    x_valid: Float[np.ndarray, "m 8 8 1"]
    y_valid: Int[np.ndarray, " m"]


def deal(sizes: Sequence[int], valid: int, seed: int) -> Split:
    """Contributor `i` gets `sizes[i]` images of digit `i`.

    Args:
      sizes: 2 to 10 of them.
      valid: validation images of each of these digits.
      seed: of the shuffling.

    Raises:
      ValueError: if there are not so many images of a digit.
    """
    from sklearn.datasets import load_digits

    if not 2 <= len(sizes) <= 10:
        raise ValueError(
            f"sizes must be 2 to 10 numbers, one for each digit; got {len(sizes)}."
        )
    x, y = load_digits(return_X_y=True)
    x = (x / 16.0).astype(np.float32).reshape(-1, 8, 8, 1)
    order = np.random.default_rng(seed).permutation(len(y))
    x, y = x[order], y[order]
    train, held_out = [], []
    for digit, size in enumerate(sizes):
        rows = np.flatnonzero(y == digit)
        if size < 1 or valid < 1 or size + valid > len(rows):
            raise ValueError(
                f"sizes and valid must be at least 1 and together at most {len(rows)}, "
                f"the images there are of digit {digit}; got {size} and {valid}."
            )
        train.append(rows[:size])
        held_out.append(rows[-valid:])
    mine, rest = np.concatenate(train), np.concatenate(held_out)
    return Split(Dataset(x[mine], y[mine], y[mine]), x[rest], y[rest])
