"""Tables: exact as CSV, readable in a terminal."""

import csv
import dataclasses
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import rich.box
import rich.console
import rich.markup
import rich.table
import rich.text

__all__ = ["Column", "Table", "cells", "is_text", "to_csv", "to_rich", "to_text"]


@dataclasses.dataclass(frozen=True)
class Column:
    """One column: numbers, texts or truth values, one per row.

    Attributes:
      name: Heading in the CSV file.
      values: Entries, one per row; `None` and NaN are shown as nothing.
      stderr: Standard errors, a column `NAME_stderr` of their own in the CSV file and
        behind a plus-minus sign in the terminal and on a page.
      heading: Heading in the terminal; `name` in words when left out.
      digits: Significant digits of the largest number shown.
      shown: Whether the terminal shows it too; the CSV file has every column.
    """

    name: str
    values: Sequence[Any] | np.ndarray
    stderr: Sequence[float] | np.ndarray | None = None
    heading: str = ""
    digits: int = 2
    shown: bool = True

    @property
    def title(self) -> str:
        """The heading in the terminal."""
        return self.heading or self.name.replace("_", " ")


@dataclasses.dataclass(frozen=True)
class Table:
    """Columns of one length under a title.

    Attributes:
      title: One line.
      columns: Columns from left to right.
      caption: Units, and what the error bars were sampled over.
    """

    title: str
    columns: tuple[Column, ...]
    caption: str = ""

    def __post_init__(self):
        """Columns must be equally long."""
        lengths = {column.name: len(column.values) for column in self.columns}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns must be equally long; got {lengths}.")

    def __len__(self) -> int:
        """Rows."""
        return len(self.columns[0].values) if self.columns else 0


def to_csv(table: Table) -> str:
    """The table as CSV text, every number with all its digits.

    A text that a spreadsheet would run as a formula (it begins with `=`, `+`, `-`, `@`,
    a tab or a carriage return, and is no number) gets an apostrophe in front, which
    spreadsheets read as "this is text".

    Args:
      table: Columns to write, hidden ones included.

    Example:
      >>> print(to_csv(Table("", (Column("who", ["a"]), Column("v", [0.5], [0.1])))))
      who,v,v_stderr
      a,0.5,0.1
      <BLANKLINE>
    """
    heads, columns = [], []
    for column in table.columns:
        heads.append(_no_formula(column.name))
        columns.append([_no_formula(_exact(value)) for value in column.values])
        if column.stderr is not None:
            heads.append(_no_formula(f"{column.name}_stderr"))
            columns.append([_exact(value) for value in column.stderr])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows(zip(*columns, strict=True))
    return text.getvalue()


_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""First characters that make a spreadsheet compute instead of show."""


def _no_formula(text: str) -> str:
    if not text.startswith(_FORMULAS):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def is_text(column: Column) -> bool:
    """Whether a column holds texts, which stand to the left."""
    return bool(len(column.values)) and isinstance(column.values[0], str)


def to_rich(table: Table) -> rich.console.Group:
    """The table for a `rich.console.Console`, with its title and its caption."""
    parts: list[rich.console.RenderableType] = [
        rich.text.Text(title, "bold") for title in [table.title] if title
    ]
    parts.append(_grid(table))
    if table.caption:
        parts.append(rich.text.Text(table.caption, "dim"))
    return rich.console.Group(*parts)


def _grid(table: Table) -> rich.table.Table:
    shown = rich.table.Table(
        box=rich.box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    columns = [column for column in table.columns if column.shown]
    for column in columns:
        text = is_text(column)
        shown.add_column(
            rich.markup.escape(column.title),
            justify="left" if text else "right",
            no_wrap=True,
            max_width=28 if text else None,
        )
    for row in zip(*map(cells, columns), strict=True):
        shown.add_row(*(rich.markup.escape(cell) for cell in row))
    return shown


def to_text(table: Table, width: int = 80) -> str:
    """The table as plain lines of at most `width` characters.

    Example:
      >>> print(to_text(Table("Worth", (Column("who", ["a"]), Column("v", [0.5])))))
      Worth
       who     v
       ─────────
       a    0.50
    """
    console = rich.console.Console(
        width=width, file=io.StringIO(), color_system=None, legacy_windows=False
    )
    with console.capture() as capture:
        console.print(to_rich(table))
    lines = [line.rstrip() for line in capture.get().splitlines()]
    return "\n".join(line for line in lines if line)


def _exact(value: Any) -> str:
    """All digits of a number that mean something, and nothing for one that is none."""
    if value is None:
        return ""
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (float, np.floating)):
        return "" if math.isnan(value) else repr(float(value))
    return str(value)


def cells(column: Column) -> list[str]:
    """One column's entries as text, all numbers with equally many decimals.

    Example:
      >>> cells(Column("v", [0.5, 0.25], [0.1, 0.0]))
      ['0.50 ±0.10', '0.25 ±0.00']
      >>> cells(Column("v", [0.1944, 0.1934], [0.0, 0.0]))
      ['0.1944', '0.1934']
    """
    values = list(column.values)
    numbers = [float(v) for v in values if isinstance(v, (float, np.floating))]
    if not numbers:
        return [_exact(value) for value in values]
    places = decimals(numbers, column.digits)
    errors = [] if column.stderr is None else [float(e) for e in column.stderr if e > 0]
    if errors:
        # An error bar of 0.00 tells nothing: the middle one gets a digit.
        places = max(places, decimals([float(np.median(errors))], 1))
    elif column.stderr is not None and (spread := np.ptp(numbers)) > 0:
        # Exact values that differ are shown to differ.
        places = max(places, decimals([float(spread)], 2))
    texts = [_rounded(value, places) for value in values]
    if column.stderr is None or not errors:
        return texts
    bars = [_rounded(error, places) for error in column.stderr]
    width = max(map(len, bars))
    pairs = zip(texts, bars, strict=True)
    return [
        f"{cell} ±{error:>{width}}" if error else cell + " " * (width + 2)
        for cell, error in pairs
    ]


def decimals(numbers: Sequence[float] | np.ndarray, digits: int) -> int:
    """Decimals that give the largest of `numbers` that many significant digits.

    Example:
      >>> decimals([0.0123, -0.5], 3), decimals([1234.5], 3)
      (3, 0)
    """
    sizes = [abs(number) for number in numbers if math.isfinite(number)]
    largest = max(sizes, default=0.0)
    if largest == 0:
        return 1
    return min(max(0, digits - 1 - math.floor(math.log10(largest))), 12)


def _rounded(value: Any, places: int) -> str:
    if not isinstance(value, (float, np.floating)):
        return _exact(value)
    if math.isnan(value):
        return ""
    text = f"{value:.{places}f}"
    # "-0.00" says nothing that "0.00" doesn't.
    return text.lstrip("-") if float(text) == 0 else text
