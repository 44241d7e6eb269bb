"""From cells to features: the kind of a column, and how training rows encode it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxval.datasets._arrays import DataError, require
from jaxval.datasets.sources import to_unit
from jaxval.datasets.tabular.cells import Cells, is_missing, to_number

__all__ = [
    "Categorical",
    "Column",
    "Numeric",
    "check_scale",
    "encode",
    "fit_column",
    "is_numeric",
    "labels",
    "numbers",
    "ordered",
]

MISSING_LEVEL = "missing"
# A column is taken for numbers with a slip in it, and refused, from this share on.
_MOSTLY = 0.9
_MAX_LEVELS = 100
_FEW_LEVELS = 10
_LARGEST = 1e100
"""Sums of squares of larger numbers overflow."""

_FARTHEST = 1e15
"""Standard deviations from the training rows beyond which single precision fails."""


class Numeric(NamedTuple):
    """A column of numbers, standardised by its training rows."""

    name: str
    mean: float
    std: float

    @property
    def features(self) -> tuple[str, ...]:
        """One feature."""
        return (self.name,)

    def __call__(self, cells: Cells) -> tuple[np.ndarray, int]:
        """The feature, and how many cells had no place in it: none."""
        values = numbers(cells, self.name, "a feature of the training rows")
        scaled = (values - self.mean) / self.std
        check_scale(cells, self.name, scaled)
        return scaled[:, None], 0


class Categorical(NamedTuple):
    """A column of words: one feature per level of the training rows."""

    name: str
    levels: tuple[str, ...]

    @property
    def features(self) -> tuple[str, ...]:
        """One feature per level."""
        return tuple(f"{self.name}={level}" for level in self.levels)

    def __call__(self, cells: Cells) -> tuple[np.ndarray, int]:
        """The features (zeros for a level never seen), and how many such cells."""
        words = _words(cells, self.name)
        one_hot = words[:, None] == np.array(self.levels, object)[None, :]
        return one_hot.astype(float), int((~one_hot.any(1)).sum())


Column = Numeric | Categorical


def fit_column(cells: Cells, name: str, declared: str | None) -> Column | None:
    """How to encode a column of training rows; `None` where it is constant.

    Args:
      cells: Training rows.
      name: Name of the column.
      declared: `"numeric"`, `"categorical"`, or `None` to tell by the cells.
    """
    advice = "the column (categorical)"
    if declared is None:
        kind = "numeric" if is_numeric(cells, name, advice) else "categorical"
    else:
        kind = declared
    if kind == "categorical":
        levels = np.unique(_words(cells, name).astype(str)).tolist()
        rows = len(cells.lines)
        many = len(levels) > max(_MAX_LEVELS, rows // 20)
        unlike = len(levels) > max(_FEW_LEVELS, rows // 2)
        require(
            declared is not None or not (many or unlike),
            f"{cells.source}: column {name!r} has {len(levels)} different values in "
            f"{rows} rows, such as {levels[0]!r}: names, dates, numbers with a comma? "
            "Correct it, leave it out (drop), or declare it (categorical).",
        )
        return Categorical(name, tuple(levels)) if len(levels) > 1 else None
    values = numbers(cells, name, "a numeric column")
    mean, std = float(values.mean()), float(values.std())
    constant = values.min() == values.max() or not std > 0
    return None if constant else Numeric(name, mean, std)


def encode(
    columns: Sequence[Column], cells: Cells
) -> tuple[np.ndarray, dict[str, int]]:
    """The features of some rows, and how many cells were never seen, by column."""
    if cells.images is not None:
        return _encoded_images(cells, cells.images), {}
    parts = {column.name: column(cells) for column in columns}
    x = np.concatenate([part for part, _ in parts.values()], axis=1)
    unseen = {name: count for name, (_, count) in parts.items() if count}
    return x.astype(np.float32), unseen


def _encoded_images(cells: Cells, images: np.ndarray) -> np.ndarray:
    x = to_unit(images)
    bad = ~np.isfinite(x.reshape(len(x), -1)).all(1)
    require(
        not bad.any(),
        f"{cells.source}, {cells.unit} {cells.lines[np.argmax(bad)]} has an input that "
        f"is not a finite number.{_more(np.flatnonzero(bad))}",
    )
    return x


def numbers(cells: Cells, name: str, role: str) -> np.ndarray:
    """A column as finite numbers; the message of the error names the cell."""
    column = cells.column(name, role)
    values = column.numbers
    bad = np.flatnonzero(~(np.abs(values) <= _LARGEST))
    if not bad.size:
        return values
    row = int(bad[0])
    raise DataError(f"{cells.at(row, name)} {_complaint(column.raw(row))}{_more(bad)}")


def check_scale(cells: Cells, name: str, scaled: np.ndarray) -> None:
    """Check that no cell is too far from the training rows for single precision.

    Args:
      cells: Rows that are encoded.
      name: Name of the column.
      scaled: Its numbers in units of the spread of the training rows.
    """
    bad = np.flatnonzero(np.abs(scaled) > _FARTHEST)
    if bad.size:
        row = int(bad[0])
        raise DataError(
            f"{cells.at(row, name)} is {cells.columns[name].raw(row)}, too far from "
            "the training rows to be compared with them. Correct it, or leave the row "
            f"out.{_more(bad)}"
        )


def labels(cells: Cells, name: str, role: str) -> np.ndarray:
    """A column as words without gaps, whole numbers without a fraction."""
    words = cells.column(name, role).words
    # Only what can't be a name: a class may well be called "none".
    bad = np.flatnonzero((words == "") | (words == "nan"))
    if bad.size:
        raise DataError(
            f"{cells.at(int(bad[0]), name)} ({role}) is missing. Fill it in, or leave "
            f"the row out.{_more(bad)}"
        )
    return words


def ordered(words: np.ndarray) -> list[str]:
    """The different words, by number if all are numbers."""
    names = sorted(set(words.tolist()))
    values = np.array([to_number(name) for name in names])
    return names if np.isnan(values).any() else [names[i] for i in np.argsort(values)]


def is_numeric(cells: Cells, name: str, otherwise: str) -> bool:
    """Whether a column holds numbers.

    Args:
      cells: Rows to look at.
      name: Name of the column.
      otherwise: What to declare where it does not, for the message.

    Raises:
      DataError: If there are a few words among many numbers.
    """
    column = cells.columns[name]
    if column.is_typed:
        return True
    there = ~column.missing
    good = ~np.isnan(column.numbers)
    if there.any() and good[there].all():
        return True
    share = good[there].mean() if there.any() else 0.0
    if share < _MOSTLY:
        return False
    row = int(np.flatnonzero(there & ~good)[0])
    raise DataError(
        f"{cells.at(row, name)} is {column.raw(row)!r}, but {share:.0%} of the column "
        f"are numbers. Correct it, or declare {otherwise}."
    )


def _words(cells: Cells, name: str) -> np.ndarray:
    column = cells.column(name, "a feature of the training rows")
    return np.where(column.missing, MISSING_LEVEL, column.words)


def _complaint(cell: str | float) -> str:
    if isinstance(cell, str) and is_missing(cell):
        what = "is empty" if cell == "" else f"is missing ({cell!r})"
    elif isinstance(cell, str) and np.isnan(to_number(cell)):
        return f"is {cell!r}, not a number."
    elif np.isfinite(float(cell)):
        return f"is {cell}, too large to compute with. Rescale the column."
    else:
        what = f"is {cell}, not a finite number"
    return f"{what}. Fill it in, leave the row out, or leave the column out (drop)."


def _more(bad: np.ndarray) -> str:
    return f" ({bad.size - 1} more such cells.)" if bad.size > 1 else ""
