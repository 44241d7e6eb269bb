"""Hashes of data and settings: what tells two games of other data apart."""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np

__all__ = ["digest"]


def digest(settings: Any, arrays: Iterable[Any]) -> str:
    """Hash of settings, by what they show, and of arrays, by their bytes.

    Args:
      settings: Anything whose `repr` names it.
      arrays: Arrays, data frames (with their columns), sparse matrices, or `None`.

    Example:
      >>> rows = np.arange(3)
      >>> digest("model", [rows]) == digest("model", [rows.copy()])
      True
      >>> digest("model", [rows]) == digest("model", [rows + 1])
      False
    """
    found = hashlib.sha256(repr(settings).encode())
    for array in arrays:
        _update(found, array)
    return found.hexdigest()[:32]


def _update(found, array) -> None:
    if array is None:
        found.update(b"none")
    elif hasattr(array, "tocsr"):
        array = array.tocsr()
        for part in (array.data, array.indices, array.indptr, array.shape):
            _update(found, np.asarray(part))
    elif hasattr(array, "columns"):
        for column in array.columns:
            found.update(f"{column}{array[column].dtype}".encode())
            _update(found, np.asarray(array[column]))
    else:
        array = np.asarray(array)
        found.update(f"{array.dtype}{array.shape}".encode())
        is_object = array.dtype.kind == "O"
        found.update(repr(array.tolist()).encode() if is_object else array.tobytes())
