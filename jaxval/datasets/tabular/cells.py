"""Cells of a table, each parsed once: columns of words and the numbers they spell."""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from jaxval.datasets._arrays import DataError

__all__ = ["CellColumn", "Cells", "is_missing", "listed", "to_number"]

_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?", "<na>", "nat"})


@dataclasses.dataclass(frozen=True, eq=False)
class CellColumn:
    """One column, as words and as numbers.

    Attributes:
      numbers: Number that each cell spells; NaN where it spells none.
      text: Stripped text of each cell; `None` where the source holds numbers.
    """

    numbers: Float[np.ndarray, " n"]
    text: np.ndarray | None = None

    @classmethod
    def of_text(cls, cells: Sequence[str]) -> CellColumn:
        """Strip and parse the cells of a text file.

        Args:
          cells: Cells, one per row.

        Example:
          >>> column = CellColumn.of_text([" 1.5", "two", ""])
          >>> column.numbers.tolist(), column.missing.tolist()
          ([1.5, nan, nan], [False, False, True])
        """
        text = np.array([cell.strip() for cell in cells], object)
        return cls(_numbers(text), text)

    @property
    def is_typed(self) -> bool:
        """Whether the source says that these are numbers."""
        return self.text is None

    @functools.cached_property
    def words(self) -> np.ndarray:
        """The cells as text; whole numbers are written without a fraction."""
        if self.text is not None:
            return self.text
        values = self.numbers.tolist()
        words = [str(int(v)) if v.is_integer() else str(v) for v in values]
        return np.array(words, object)

    @functools.cached_property
    def missing(self) -> Bool[np.ndarray, " n"]:
        """Which cells stand for nothing."""
        if self.text is None:
            return np.isnan(self.numbers)
        return np.array([is_missing(cell) for cell in self.text.tolist()], bool)

    def raw(self, row: int) -> str | float:
        """A cell as the source has it."""
        return float(self.numbers[row]) if self.text is None else self.text[row]

    def rows(self, which: np.ndarray) -> CellColumn:
        """Some of the rows."""
        text = None if self.text is None else self.text[which]
        return CellColumn(self.numbers[which], text)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """A table as its source has it.

    Attributes:
      source: Name of the file, or of the object, for messages.
      columns: Columns by name.
      lines: Where each row stands, for messages; text files count from the header's 1.
      unit: What is counted: `"line"` or `"row"`.
      images: Inputs that are not columns, one per row.
    """

    source: str
    columns: Mapping[str, CellColumn]
    lines: np.ndarray
    unit: str
    images: np.ndarray | None = None

    def at(self, row: int, column: str) -> str:
        """Where a cell is, in words."""
        return f"{self.source}, {self.unit} {self.lines[row]}, column {column!r}"

    def rows(self, which: np.ndarray) -> Cells:
        """Some of the rows."""
        columns = {name: cells.rows(which) for name, cells in self.columns.items()}
        images = None if self.images is None else self.images[which]
        return dataclasses.replace(
            self, columns=columns, lines=self.lines[which], images=images
        )

    def column(self, name: str, role: str) -> CellColumn:
        """A column by its name.

        Args:
          name: Name of the column.
          role: What it is needed for, in words.

        Raises:
          DataError: If there is no such column; the message lists those there are.
        """
        if name not in self.columns:
            near = difflib.get_close_matches(name, self.columns, 1)
            meant = f" (did you mean {near[0]!r}?)" if near else ""
            raise DataError(
                f"{self.source} has no column {name!r} ({role}){meant}; its columns "
                f"are {listed(list(self.columns))}."
            )
        return self.columns[name]


def is_missing(cell: str) -> bool:
    """Whether a text stands for nothing."""
    return cell.lower() in _MISSING


def to_number(cell: str) -> float:
    """The number that a text spells; NaN where it spells none."""
    try:
        return float(cell)
    except ValueError:
        return np.nan


def listed(names: Sequence[str], most: int = 12) -> str:
    """The first few names, and how many more there are."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _numbers(text: np.ndarray) -> Float[np.ndarray, " n"]:
    try:
        return text.astype(np.float64)
    except ValueError:
        return np.array([to_number(cell) for cell in text.tolist()], np.float64)
