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
    hasher = hashlib.sha256(repr(settings).encode())
    for array in arrays:
        _update(hasher, array)
    return hasher.hexdigest()[:32]


def _update(hasher, array) -> None:
    if array is None:
        hasher.update(b"none")
    elif hasattr(array, "tocsr"):
        array = array.tocsr()
        for part in (array.data, array.indices, array.indptr, array.shape):
            _update(hasher, np.asarray(part))
    elif hasattr(array, "columns"):
        for column in array.columns:
            hasher.update(f"{column}{array[column].dtype}".encode())
            _update(hasher, np.asarray(array[column]))
    else:
        array = np.asarray(array)
        hasher.update(f"{array.dtype}{array.shape}".encode())
        is_object = array.dtype.kind == "O"
        hasher.update(repr(array.tolist()).encode() if is_object else array.tobytes())
