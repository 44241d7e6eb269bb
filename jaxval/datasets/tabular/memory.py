"""Tables in memory: data frames, dicts of arrays and `Dataset` as columns of cells."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxval.datasets._arrays import DataError, require
from jaxval.datasets.tabular.cells import CellColumn, Cells
from jaxval.types import Dataset, Points

__all__ = ["cells_of", "from_arrays", "from_columns", "is_frame"]


def cells_of(data: Any, source: str) -> Cells:
    """The cells of an object that is a table.

    Args:
      data: Data frame (of pandas, polars, pyarrow, or another with named columns that
        NumPy can read), mapping of names to arrays, `Dataset`, or `Points`.
      source: What messages call it.

    Returns:
      Columns of cells. Those of a `Dataset`, of `Points` and of a mapping whose `x` has
      more than one axis are named `y`, `owner`, and `x0`, `x1`, ... where `x` is a
      matrix.

    Raises:
      DataError: If it is no table, or its columns differ in length.

    Example:
      >>> cells = cells_of({"size": [1, 2], "kind": ["a", "b"]}, "data")
      >>> cells.columns["size"].numbers.tolist(), cells.columns["kind"].words.tolist()
      ([1.0, 2.0], ['a', 'b'])
    """
    if isinstance(data, (Dataset, Points)):
        return _from_named(source, data._asdict())
    if isinstance(data, Mapping):
        if np.ndim(data.get("x", 0)) > 1:
            return _from_named(source, data)
        return from_columns(source, {str(name): data[name] for name in data})
    if not is_frame(data):
        raise DataError(
            f"{source} must be a path, a data frame, a dict of arrays, a Dataset or "
            f"Points; got {type(data).__name__}."
        )
    names = getattr(data, "column_names", None) or data.columns
    twice = sorted({str(n) for n in names if [*map(str, names)].count(str(n)) > 1})
    require(not twice, f"{source} has two columns named {', '.join(twice)}.")
    return from_columns(source, {str(name): data[name] for name in names})


def is_frame(data: Any) -> bool:
    """Whether an object has named columns, as data frames have."""
    return hasattr(data, "columns") and hasattr(data, "__getitem__")


def from_columns(source: str, columns: Mapping[str, Any]) -> Cells:
    """Cells of named columns in memory.

    Args:
      source: What messages call the table.
      columns: Anything that NumPy reads as one number, word or gap per row.
    """
    require(bool(columns), f"{source} has no columns.")
    parsed = {name: _column(source, name, each) for name, each in columns.items()}
    lengths = {name: len(each.numbers) for name, each in parsed.items()}
    require(
        len(set(lengths.values())) == 1,
        f"{source}: all columns must have one entry per row; got lengths {lengths}.",
    )
    count = next(iter(lengths.values()))
    require(count > 0, f"{source} has no rows.")
    return Cells(
        source=source, columns=parsed, lines=np.arange(1, count + 1), unit="row"
    )


def from_arrays(source: str, x: Any, y: Any, owner: Any = None) -> Cells:
    """Cells of inputs, targets and owners.

    Args:
      source: What messages call the table.
      x: Inputs, one per row: numbers, vectors (columns `x0`, `x1`, ...) or images.
      y: Targets, one per row.
      owner: Owners, one per row.
    """
    arrays = {"x": np.asarray(x), "y": np.asarray(y)}
    if owner is not None:
        arrays["owner"] = np.asarray(owner)
    require(
        len({len(np.atleast_1d(a)) for a in arrays.values()}) == 1,
        f"{source}: arrays must have one entry per row each; got shapes "
        f"{ {name: a.shape for name, a in arrays.items()} }.",
    )
    x = np.atleast_1d(arrays.pop("x"))
    require(len(x) > 0, f"{source} has no rows.")
    require(x.dtype.kind in "fiub", f"{source}: x must be numbers; got {x.dtype}.")
    columns = {name: _column(source, name, each) for name, each in arrays.items()}
    if x.ndim <= 2:
        matrix = x.reshape(len(x), -1).astype(np.float64)
        columns |= {f"x{j}": CellColumn(matrix[:, j]) for j in range(matrix.shape[1])}
    images = None if x.ndim <= 2 else x[..., None] if x.ndim == 3 else x
    lines = np.arange(1, len(x) + 1)
    return Cells(source=source, columns=columns, lines=lines, unit="row", images=images)


def _from_named(source: str, arrays: Mapping[str, Any]) -> Cells:
    require(
        "x" in arrays and "y" in arrays,
        f"{source} must hold x and y (and perhaps owner) where x is not a column; it "
        f"holds {', '.join(arrays)}.",
    )
    other = sorted(set(arrays) - {"x", "y", "owner"})
    require(
        not other,
        f"{source} holds x, y and {', '.join(other)}: give the columns of x one by one "
        "beside them.",
    )
    return from_arrays(source, arrays["x"], arrays["y"], arrays.get("owner"))


def _column(source: str, name: str, values: Any) -> CellColumn:
    array = np.asarray(values)
    require(
        array.size == len(np.atleast_1d(array)),
        f"{source}: {name} must be one number or word per row; got shape "
        f"{array.shape}.",
    )
    array = array.ravel()
    if array.dtype.kind in "fiub":
        return CellColumn(array.astype(np.float64))
    cells = array.tolist()
    there = [cell for cell in cells if not _is_gap(cell)]
    if there and all(_is_number(cell) for cell in there):
        numbers_ = [np.nan if _is_gap(cell) else float(cell) for cell in cells]
        return CellColumn(np.array(numbers_, np.float64))
    return CellColumn.of_text(_texts(cells))


def _texts(cells: Sequence[Any]) -> list[str]:
    return ["" if _is_gap(cell) else str(cell) for cell in cells]


def _is_number(cell: Any) -> bool:
    return isinstance(cell, numbers.Real) and not isinstance(cell, str)


def _is_gap(cell: Any) -> bool:
    """Whether a cell is None, NaN, or the NA or NaT of pandas."""
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(cell, float) and math.isnan(cell)
