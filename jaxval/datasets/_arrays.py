"""What the data modules share: their error, their kinds of array, keys on the host."""

import jax
import numpy as np
from jaxtyping import Array, Num

from jaxval.types import PRNGKey

Rows = Num[Array, "..."] | Num[np.ndarray, "..."]
"""One sample a row, on the host or on a device."""


class DataError(ValueError):
    """Data that can't be used as they are; the message says why and what to do."""


def generator(key: PRNGKey) -> np.random.Generator:
    """NumPy's generator seeded by a key: data are made on the host."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())


def require(condition: bool | np.bool_, message: str) -> None:
    """Raise `DataError(message)` unless `condition` holds."""
    if not condition:
        raise DataError(message)
