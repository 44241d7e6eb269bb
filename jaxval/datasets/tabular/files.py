"""Tables in files: CSV, Parquet and npz as columns of cells."""

from __future__ import annotations

import csv
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxval.datasets._arrays import DataError, require
from jaxval.datasets._formats import read_npz
from jaxval.datasets.tabular.cells import CellColumn, Cells, to_number
from jaxval.datasets.tabular.memory import cells_of, from_arrays, from_columns

__all__ = ["is_path", "read_any", "read_archive", "read_cells"]


def is_path(data: Any) -> bool:
    """Whether `data` says where a file is."""
    return isinstance(data, (str, os.PathLike))


def read_any(data: Any, source: str) -> Cells:
    """The cells of a file or of a table in memory.

    Args:
      data: Path, data frame, mapping of names to arrays, `Dataset` or `Points`.
      source: What messages call a table in memory.
    """
    return read_cells(data) if is_path(data) else cells_of(data, source)


def read_cells(path: str | os.PathLike[str]) -> Cells:
    """Read a CSV (or tab-separated), Parquet or npz file.

    Args:
      path: File to read.

    Returns:
      Columns of cells, each parsed once.

    Raises:
      DataError: If there is no such file, or it is not a table.
    """
    path = _existing(path)
    if path.suffix.lower() in (".parquet", ".pq"):
        return _read_parquet(path)
    if path.suffix.lower() == ".npz":
        return read_archive(path)[0]
    return _read_csv(path)


def read_archive(path: str | os.PathLike[str]) -> tuple[Cells, Cells | None]:
    """Read an npz archive of arrays.

    Args:
      path: Archive that holds `x`, `y` and perhaps `owner`; or `x_train`, ..., and
        perhaps `x_valid` or `x_test` with their targets.

    Returns:
      The rows to train on, and those to validate with if the archive has them. The
      columns are `y`, `owner`, and `x0`, `x1`, ... where `x` is a matrix.

    Raises:
      DataError: If there is no such file, or it holds other arrays.
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
    train = from_arrays(f"{path}", x, y, owner)
    for end in ("_valid", "_test"):
        if f"x{end}" in arrays and f"y{end}" in arrays:
            source = f"{path}, x{end}"
            return train, from_arrays(
                source, arrays[f"x{end}"], arrays[f"y{end}"], None
            )
    return train, None


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
    parsed = (CellColumn.of_text(cells) for cells in columns)
    return Cells(
        source=str(path),
        columns=dict(zip(header, parsed, strict=True)),
        lines=np.array([line for line, _ in body]),
        unit="line",
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
        any(np.isnan(to_number(name)) for name in header),
        f"{path} has numbers for a header. Its first line must name the columns.",
    )


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
    names = [str(name) for name in frame.columns]
    _check_header(path, names)
    return from_columns(str(path), {str(name): frame[name] for name in frame.columns})
