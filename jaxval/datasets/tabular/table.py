"""A user-supplied table: read, checked, encoded, split, ready to be valued.

Everything that is learnt from data (levels, means, the range of the target) is learnt
from the training rows alone.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxval.datasets._arrays import DataError, generator, require
from jaxval.datasets.tabular.cells import Cells
from jaxval.datasets.tabular.columns import is_numeric, labels, numbers, ordered
from jaxval.datasets.tabular.encoding import CLASSIFICATION, REGRESSION, Coder, fit
from jaxval.datasets.tabular.files import is_path, read_any, read_archive
from jaxval.types import Dataset, Points, PRNGKey

__all__ = ["CLASSIFICATION", "REGRESSION", "Table", "read_table"]

Tabular = Any
"""A table: a path, a data frame, a mapping of names to arrays, `Dataset`, `Points`."""

_MIN_ROWS = 4
_MAX_CLASSES = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """A table whose training rows have owners.

    Attributes:
      source: Name of the file, or what messages call the table.
      dataset: Training rows and their owners.
      valid: Points to validate with; targets are on the scale of the training targets.
      owner_names: Name of each player.
      class_names: Name of each class; none for a regression.
      feature_names: Name of each input, in order.
      task: `CLASSIFICATION` or `REGRESSION`.
      target_range: Smallest and largest target of the training rows of a regression,
        which are 0 and 1 in `dataset.y`; (0, 1) for a classification.
      warnings: Sentences on what a reader of the results should know.
      encode: Reads another table with the same columns into inputs and targets.
    """

    source: str
    dataset: Dataset
    valid: Points
    owner_names: tuple[str, ...]
    class_names: tuple[str, ...]
    feature_names: tuple[str, ...]
    task: str
    target_range: tuple[float, float]
    warnings: tuple[str, ...]
    encode: Callable[[Tabular], tuple[np.ndarray, np.ndarray]]


def read_table(
    key: PRNGKey,
    data: Tabular,
    target: str | None = None,
    *,
    owner: str | None = None,
    valid: Tabular | float | None = None,
    task: str | None = None,
    numeric: Sequence[str] = (),
    categorical: Sequence[str] = (),
    drop: Sequence[str] = (),
) -> Table:
    r"""Read a table as training rows with owners and validation rows.

    Numeric columns are standardised; others become one feature per level, with a level
    for missing cells, and levels never seen in training are all zeros. The target of a
    regression is scaled to [0, 1]. Validation rows drawn from the table are spread over
    classes and owners evenly.

    Args:
      key: PRNG key for the choice of validation rows.
      data: Path of a CSV, Parquet or npz file; a data frame (pandas, polars, pyarrow);
        a mapping of names to arrays; or a `Dataset`. Archives and `Dataset` hold `x`,
        `y`, `owner` (archives also `x_train`, ...).
      target: Column to predict; `y` of archives and of `Dataset` when `None`.
      owner: Column that says who contributed a row. When `None`, the `owner` of an
        archive or a `Dataset`, or else every training row is a player.
      valid: Table like `data`, `Points`, or a fraction of its rows; when `None`, what
        an archive holds to validate with, or else 0.2.
      task: `CLASSIFICATION` or `REGRESSION`; when `None`, words, whole numbers of few
        different values, and integers of a `Dataset`, are classes.
      numeric: Columns that must be numbers.
      categorical: Columns whose numbers are names of levels.
      drop: Columns to leave out.

    Returns:
      The table, with warnings about what is odd but can be used.

    Raises:
      DataError: If it can't be used: files or columns that are missing, cells that
        aren't numbers or not finite, a single owner, owners or classes without training
        rows, no validation rows, a constant target, too few rows. One line that says
        where.

    Example:
      >>> import jax, pathlib, tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "mice.csv"
      >>> rows = [f"{i % 7},{'ab'[i % 2]},{'xyz'[i % 3]}" for i in range(30)]
      >>> _ = path.write_text("\n".join(["weight,kind,lab", *rows]))
      >>> table = read_table(jax.random.key(0), path, "kind", owner="lab")
      >>> table.owner_names, table.class_names, table.dataset.x.shape
      (('x', 'y', 'z'), ('a', 'b'), (24, 1))
    """
    require(
        task in (None, CLASSIFICATION, REGRESSION),
        f"task must be {CLASSIFICATION!r} or {REGRESSION!r}; got {task!r}.",
    )
    cells, held_out, target, owner = _read(data, target, owner)
    fraction = _fraction(valid)
    if fraction is not None:
        held_out = None
    elif valid is not None:
        held_out = read_any(valid, "the validation table")
    require(
        len(cells.lines) >= _MIN_ROWS,
        f"{cells.source} has {len(cells.lines)} rows; at least {_MIN_ROWS} are needed.",
    )
    if task is None and isinstance(data, Dataset) and _is_integer(data.y):
        task = CLASSIFICATION
    task = task or _task(cells, target)
    _check_owners(cells, owner)
    if held_out is None:
        classes = target if task == CLASSIFICATION else None
        chosen = _validation_rows(key, cells, fraction or 0.2, classes, owner)
        _check_emptied(cells, owner, chosen)
        cells, held_out = cells.rows(~chosen), cells.rows(chosen)
    without = [target, *([] if owner is None else [owner]), *drop]
    coder = fit(cells, target, task, without, numeric, categorical)
    return _table(coder, cells, held_out, owner)


def _read(
    data: Tabular, target: str | None, owner: str | None
) -> tuple[Cells, Cells | None, str, str | None]:
    """Training rows, validation rows if the table has them, names of two columns."""
    held_out = None
    if is_path(data) and os.fspath(data).lower().endswith(".npz"):
        cells, held_out = read_archive(data)
    else:
        cells = read_any(data, "the table")
    # Arrays named x, y and owner say by these names what they are.
    if _is_named_xy(data):
        target = target or "y"
        owner = owner or ("owner" if "owner" in cells.columns else None)
    if target is None:
        raise DataError(
            f"which column of {cells.source} is the target? Its columns are "
            f"{', '.join(cells.columns)}."
        )
    cells.column(target, "the target")
    if owner is not None:
        cells.column(owner, "the owner")
        require(owner != target, f"column {owner!r} can't be both target and owner.")
    return cells, held_out, target, owner


def _is_integer(y: Any) -> bool:
    return bool(np.issubdtype(np.asarray(y).dtype, np.integer))


def _is_named_xy(data: Tabular) -> bool:
    if is_path(data):
        return os.fspath(data).lower().endswith(".npz")
    return isinstance(data, Dataset) or (
        isinstance(data, Mapping) and np.ndim(data.get("x", 0)) > 1
    )


def _fraction(valid: Any) -> float | None:
    try:
        fraction = float(valid)
    except (TypeError, ValueError):
        return None
    require(
        0 < fraction < 1,
        f"the fraction of rows to validate with must be between 0 and 1; got {valid}.",
    )
    return fraction


def _task(cells: Cells, target: str) -> str:
    if not is_numeric(cells, target, f"the task {CLASSIFICATION!r}"):
        return CLASSIFICATION
    values = numbers(cells, target, "the target")
    different = len(np.unique(values))
    whole = bool((values == np.round(values)).all())
    few = different <= max(2, min(_MAX_CLASSES, len(values) // 5))
    return CLASSIFICATION if whole and few else REGRESSION


def _check_owners(cells: Cells, owner: str | None) -> None:
    if owner is not None:
        names = set(labels(cells, owner, "the owner").tolist())
        require(
            len(names) > 1,
            f"column {owner!r} of {cells.source} names one owner only, {min(names)!r}; "
            "at least 2 are needed to compare.",
        )


def _validation_rows(
    key: PRNGKey, cells: Cells, fraction: float, classes: str | None, owner: str | None
) -> np.ndarray:
    """A mask of rows: a systematic sample of the rows sorted by class and owner."""
    rng, num_rows = generator(key), len(cells.lines)
    order = rng.permutation(num_rows)
    for name in (owner, classes):
        if name is not None:
            code = _codes(cells, name)
            order = order[np.argsort(code[order], kind="stable")]
    ticks = np.floor(np.arange(num_rows + 1) * fraction + rng.random())
    chosen = np.zeros(num_rows, bool)
    chosen[order[np.diff(ticks) > 0]] = True
    if classes is not None:
        # A class keeps a row to be learnt from.
        code = _codes(cells, classes)
        _, first, count = np.unique(code, return_index=True, return_counts=True)
        chosen[first[np.bincount(code, weights=chosen) == count]] = False
    left = int((~chosen).sum())
    advice = "Give another fraction, or a file to validate with."
    require(
        left < num_rows,
        f"a fraction of {fraction} of {num_rows} rows leaves no validation rows. "
        + advice,
    )
    require(
        left >= 2,
        f"a fraction of {fraction} of {num_rows} rows leaves {left} training rows. "
        + advice,
    )
    return chosen


def _codes(cells: Cells, name: str) -> np.ndarray:
    words = labels(cells, name, "the target or the owner")
    return np.unique(words.astype(str), return_inverse=True)[1]


def _check_emptied(cells: Cells, owner: str | None, chosen: np.ndarray) -> None:
    if owner is not None:
        names = labels(cells, owner, "the owner")
        emptied = sorted(set(names.tolist()) - set(names[~chosen].tolist()))
        require(
            not emptied,
            f"owner {', '.join(map(repr, emptied[:5]))} has no training rows left: all "
            "were drawn for validation. Give a smaller fraction, another seed, or a "
            "file to validate with.",
        )


def _table(coder: Coder, cells: Cells, held_out: Cells, owner: str | None) -> Table:
    x, _ = coder.x(cells)
    x_valid, unseen = coder.x(held_out)
    require(
        x.shape[1:] == x_valid.shape[1:],
        f"{held_out.source}: inputs have shape {x_valid.shape[1:]}, those to train on "
        f"{x.shape[1:]}.",
    )
    y, y_valid = coder.y(cells), coder.y(held_out)
    owners, names = _players(cells, owner)
    return Table(
        source=cells.source,
        dataset=Dataset(x, y, owners),
        valid=Points(x_valid, y_valid),
        owner_names=names,
        class_names=coder.classes,
        feature_names=coder.features,
        task=coder.task,
        target_range=coder.target_range,
        warnings=coder.warnings(unseen, y_valid),
        encode=coder.read,
    )


def _players(
    cells: Cells, owner: str | None
) -> tuple[Int[np.ndarray, " n"], tuple[str, ...]]:
    if owner is None:
        names = tuple(f"{cells.unit} {line}" for line in cells.lines)
        return np.arange(len(names), dtype=np.int32), names
    words = labels(cells, owner, "the owner")
    names = tuple(ordered(words))
    number = {name: i for i, name in enumerate(names)}
    return np.array([number[word] for word in words.tolist()], np.int32), names
