"""What training rows say about encoding a table, and the encoding of other rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxval.datasets._arrays import require
from jaxval.datasets.tabular.cells import Cells
from jaxval.datasets.tabular.columns import (
    Column,
    check_scale,
    encode,
    fit_column,
    labels,
    numbers,
    ordered,
)
from jaxval.datasets.tabular.files import read_any

__all__ = ["CLASSIFICATION", "REGRESSION", "Coder", "fit"]

CLASSIFICATION = "classification"
REGRESSION = "regression"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coder:
    """What was learnt from the training rows, and turns cells into numbers.

    Attributes:
      target: Name of the target's column.
      task: `CLASSIFICATION` or `REGRESSION`.
      columns: Encoding of each column that is used.
      classes: Names of the classes; none for a regression.
      target_range: Smallest and largest target of a regression; (0, 1) otherwise.
      constant: Names of the columns that were left out, being constant.
    """

    target: str
    task: str
    columns: tuple[Column, ...]
    classes: tuple[str, ...]
    target_range: tuple[float, float]
    constant: tuple[str, ...]

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(name for column in self.columns for name in column.features)

    def x(self, cells: Cells) -> tuple[np.ndarray, dict[str, int]]:
        """Inputs, and how many cells hold levels never seen, by column."""
        return encode(self.columns, cells)

    def y(self, cells: Cells, whose: str = "of the validation") -> np.ndarray:
        """Class numbers, or targets scaled by the range of the training rows."""
        cells.column(self.target, "the target")
        if self.task == REGRESSION:
            low, high = self.target_range
            values = numbers(cells, self.target, "the target")
            scaled = (values - low) / (high - low)
            check_scale(cells, self.target, scaled)
            return scaled.astype(np.float32)
        words = labels(cells, self.target, "the target")
        number = {name: i for i, name in enumerate(self.classes)}
        unseen = sorted(set(words.tolist()) - set(number))
        require(
            not unseen,
            f"{cells.source}: no training row has the class(es) "
            f"{', '.join(unseen[:5])} of column {self.target!r}. Leave those rows out "
            f"{whose}, or train on some.",
        )
        return np.array([number[word] for word in words.tolist()], np.int32)

    def read(self, data: Any) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of another table: a file, or one in memory."""
        cells = read_any(data, "the other table")
        return self.x(cells)[0], self.y(cells, "of that table")

    def warnings(self, unseen: dict[str, int], y_valid: np.ndarray) -> tuple[str, ...]:
        """What is odd about these data, given the validation rows."""
        warnings = [
            f"column {name!r} is constant in the training rows and was left out."
            for name in self.constant
        ]
        warnings += [
            f"{count} validation cell(s) of column {name!r} hold values that no "
            "training row has; they count as none of the levels."
            for name, count in unseen.items()
        ]
        missing = sorted(
            set(range(len(self.classes))) - set(np.unique(y_valid).tolist())
        )
        if missing:
            names = ", ".join(self.classes[i] for i in missing)
            warnings.append(f"no validation row is of class {names}.")
        return tuple(warnings)


def fit(
    cells: Cells,
    target: str,
    task: str,
    without: Sequence[str],
    numeric: Sequence[str],
    categorical: Sequence[str],
) -> Coder:
    """Learn from training rows how to encode rows.

    Args:
      cells: Training rows.
      target: Name of the target's column.
      task: `CLASSIFICATION` or `REGRESSION`.
      without: Columns that are no features.
      numeric: Columns that must hold numbers.
      categorical: Columns whose numbers are names of levels.
    """
    for name in (*without, *numeric, *categorical):
        cells.column(name, "named in the options")
    both = sorted(set(numeric) & set(categorical))
    require(not both, f"columns {both} are declared both numeric and categorical.")
    declared = dict.fromkeys(numeric, "numeric")
    declared |= dict.fromkeys(categorical, "categorical")
    names = [name for name in cells.columns if name not in without]
    fitted = {name: fit_column(cells, name, declared.get(name)) for name in names}
    columns = tuple(column for column in fitted.values() if column is not None)
    require(
        bool(columns) or cells.images is not None,
        f"{cells.source} has no column left to predict {target!r} from"
        + (" (all are constant)." if names else "."),
    )
    classes, bounds = _fit_target(cells, target, task)
    constant = tuple(name for name, column in fitted.items() if column is None)
    return Coder(
        target=target,
        task=task,
        columns=columns,
        classes=classes,
        target_range=bounds,
        constant=constant,
    )


def _fit_target(cells, target, task):
    if task == CLASSIFICATION:
        classes = tuple(ordered(labels(cells, target, "the target")))
        constant, bounds = len(classes) < 2, (0.0, 1.0)
    else:
        values = numbers(cells, target, "the target")
        classes, bounds = (), (float(values.min()), float(values.max()))
        constant = bounds[0] == bounds[1]
    require(
        not constant,
        f"{cells.source}: the target {target!r} is constant in the training rows: "
        "there is nothing to predict.",
    )
    return classes, bounds
