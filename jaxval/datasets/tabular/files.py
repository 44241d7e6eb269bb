"""A person's files as columns of cells: CSV, Parquet, npz."""

from __future__ import annotations

import csv
import difflib
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxval.datasets._arrays import DataError, require
from jaxval.datasets._formats import read_npz

__all__ = ["Cells", "is_missing", "read_archive", "read_cells"]

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?", "<na>", "nat"})


class Cells(NamedTuple):
    """A table as it stands in a file.

    Attributes:
      source: the file's name, for messages.
      columns: by name: stripped strings, or float64 where the file has types.
      lines: where each row stands, for messages; text files count from the header's 1.
      unit: what is counted: `"line"` or `"row"`.
      images: inputs that are no columns, one a row.
    """

    source: str
    columns: dict[str, np.ndarray]
    lines: np.ndarray
    unit: str
    images: np.ndarray | None = None

    def at(self, row: int, column: str) -> str:
        """Where a cell is, in words."""
        return f"{self.source}, {self.unit} {self.lines[row]}, column {column!r}"

    def rows(self, which: np.ndarray) -> Cells:
        """Some of the rows."""
        columns = {name: cells[which] for name, cells in self.columns.items()}
        images = None if self.images is None else self.images[which]
        return self._replace(columns=columns, lines=self.lines[which], images=images)

    def column(self, name: str, role: str) -> np.ndarray:
        """A column, or a message that says which there are."""
        if name not in self.columns:
            near = difflib.get_close_matches(name, self.columns, 1)
            meant = f" (did you mean {near[0]!r}?)" if near else ""
            raise DataError(
                f"{self.source} has no column {name!r} ({role}){meant}; its columns "
                f"are {_listed(list(self.columns))}."
            )
        return self.columns[name]


def read_cells(path: str | os.PathLike[str]) -> Cells:
    """The columns of a CSV (or tab-separated), Parquet or npz file."""
    path = _existing(path)
    if path.suffix.lower() in (".parquet", ".pq"):
        return _read_parquet(path)
    if path.suffix.lower() == ".npz":
        return read_archive(path)[0]
    return _read_csv(path)


def read_archive(path: str | os.PathLike[str]) -> tuple[Cells, Cells | None]:
    """`x`, `y`, perhaps `owner`; or `x_train`, ..., perhaps `x_valid` or `x_test`.

    Returns:
      The rows to train on, and those to validate with if the archive has them. The
      columns are `y`, `owner`, and `x0`, `x1`, ... where `x` is a matrix.
    """
    path = _existing(path)
    arrays = read_npz(path)
    part = "_train" if "x_train" in arrays else ""
    needed = [f"x{part}", f"y{part}"]
    require(
        all(name in arrays for name in needed),
        f"{path} must hold x and y, or x_train and y_train (and perhaps owner, and "
        f"x_valid and y_valid); it holds {', '.join(arrays) or 'nothing'}.",
    )
    owner = arrays.get(f"owner{part}", arrays.get("owner"))
    x, y = (arrays[name] for name in needed)
    train = _from_arrays(f"{path}", x, y, owner)
    for end in ("_valid", "_test"):
        if f"x{end}" in arrays and f"y{end}" in arrays:
            source = f"{path}, x{end}"
            return train, _from_arrays(
                source, arrays[f"x{end}"], arrays[f"y{end}"], None
            )
    return train, None


def _from_arrays(source, x, y, owner) -> Cells:
    given = {"x": x, "y": y} | ({} if owner is None else {"owner": owner})
    require(
        len({len(np.atleast_1d(a)) for a in given.values()}) == 1,
        f"{source}: arrays must have one row a sample each; got shapes "
        f"{ {name: a.shape for name, a in given.items()} }.",
    )
    require(len(x) > 0, f"{source} has no rows.")
    require(x.dtype.kind in "fiub", f"{source}: x must be numbers; got {x.dtype}.")
    columns = {
        name: _column(source, name, a) for name, a in given.items() if a is not x
    }
    if x.ndim <= 2:
        matrix = x.reshape(len(x), -1).astype(np.float64)
        columns |= {f"x{j}": matrix[:, j] for j in range(matrix.shape[1])}
    images = None if x.ndim <= 2 else x[..., None] if x.ndim == 3 else x
    return Cells(source, columns, np.arange(1, len(x) + 1), "row", images)


def _column(source: str, name: str, array: np.ndarray) -> np.ndarray:
    require(
        array.size == len(array),
        f"{source}: {name} must be one number or word a row; got shape {array.shape}.",
    )
    array = array.ravel()
    if array.dtype.kind in "fiub":
        return array.astype(np.float64)
    return np.array([str(cell).strip() for cell in array.tolist()], object)


def is_missing(cells: np.ndarray) -> np.ndarray:
    """Which strings stand for nothing."""
    return np.array([cell.lower() in MISSING for cell in cells.tolist()], bool)


def _listed(names: Sequence[str], most: int = 12) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _existing(path: str | os.PathLike[str]) -> pathlib.Path:
    path = pathlib.Path(path)
    require(path.is_file(), f"there is no file {path.absolute()}.")
    return path


def _read_csv(path: pathlib.Path) -> Cells:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = _records(path, file)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not text in UTF-8 ({error.reason} at byte {error.start}). Save "
            "it as CSV in UTF-8."
        ) from None
    except csv.Error as error:
        raise DataError(f"{path} is not a CSV file: {error}.") from None
    require(bool(rows), f"{path} is empty; a header and rows are needed.")
    (_, header), *body = rows
    _check_header(path, header)
    require(bool(body), f"{path} has a header but no rows.")
    for line, row in body:
        require(
            len(row) == len(header),
            f"{path}, line {line} has {len(row)} cells; the header has {len(header)}.",
        )
    columns = zip(*(row for _, row in body), strict=True)
    return Cells(
        str(path),
        {
            name: np.array([cell.strip() for cell in cells], object)
            for name, cells in zip(header, columns, strict=True)
        },
        np.array([line for line, _ in body]),
        "line",
    )


def _records(path: pathlib.Path, file: Any) -> list[tuple[int, list[str]]]:
    """Rows that aren't blank, with their line numbers."""
    first = file.readline()
    file.seek(0)
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    rows = []
    for row in reader:
        if any(cell.strip() for cell in row):
            rows.append((reader.line_num, row))
        elif len(row) > 1:
            raise DataError(f"{path}, line {reader.line_num} has only empty cells.")
    if rows:
        rows[0] = (rows[0][0], [name.strip() for name in rows[0][1]])
    return rows


def _check_header(path: pathlib.Path, header: Sequence[str]) -> None:
    require(
        all(header),
        f"{path}: column {[*header].index('') + 1 if '' in header else 0} of the "
        "header has no name.",
    )
    twice = sorted({name for name in header if header.count(name) > 1})
    require(not twice, f"{path}: the header names {', '.join(map(repr, twice))} twice.")
    require(
        not all(_is_number(name) for name in header),
        f"{path} has numbers for a header. Its first line must name the columns.",
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_parquet(path: pathlib.Path) -> Cells:
    try:
        import pandas as pd

        frame = pd.read_parquet(path)
    except ImportError as error:
        raise DataError(
            f"reading {path} needs pandas and pyarrow ({error}): pip install pandas "
            "pyarrow, or save it as CSV."
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a Parquet file: {error}") from None
    require(len(frame) > 0, f"{path} has no rows.")
    columns = {str(name): _typed(frame[name]) for name in frame.columns}
    _check_header(path, list(columns))
    return Cells(str(path), columns, np.arange(1, len(frame) + 1), "row")


def _typed(series: Any) -> np.ndarray:
    import pandas as pd

    if pd.api.types.is_numeric_dtype(series.dtype):
        return series.to_numpy(np.float64, na_value=np.nan)
    cells = ["" if pd.isna(cell) else str(cell).strip() for cell in series]
    return np.array(cells, object)
