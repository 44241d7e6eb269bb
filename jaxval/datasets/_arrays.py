"""What the data modules share: their error, their kinds of array, keys on the host."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Num

from jaxval.types import PRNGKey

Rows = Num[Array, "..."] | Num[np.ndarray, "..."]
"""One sample a row, on the host or on a device."""


class DataError(ValueError):
    """Data that can't be used as they are; the message says why and what to do."""


class Split(NamedTuple):
    """Samples to train on and samples to validate with.

    Attributes:
      x_train: inputs, one a row.
      y_train: targets.
      x_valid: inputs.
      y_valid: targets.
    """

    x_train: Num[np.ndarray, "n ..."]
    y_train: Num[np.ndarray, " n"]
    x_valid: Num[np.ndarray, "m ..."]
    y_valid: Num[np.ndarray, " m"]


def generator(key: PRNGKey) -> np.random.Generator:
    """NumPy's generator seeded by a key: data are made on the host."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())


def require(condition: bool | np.bool_, message: str) -> None:
    """Raise `DataError(message)` unless `condition` holds."""
    if not condition:
        raise DataError(message)
