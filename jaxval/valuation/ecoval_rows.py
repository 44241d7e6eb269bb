"""What EcoVal says of single rows: values with errors, tables and sentences."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxval import ecoval
from jaxval.datasets.tabular.table import Table as Data
from jaxval.evaluation import bootstrap_stderr, mean_and_stderr
from jaxval.reporting import Column, Table
from jaxval.types import Points
from jaxval.valuation.result import Extras

__all__ = ["RowValues", "extras", "scale_sentence", "stacked"]

_MOST_SHOWN = 12
"""Unseen rows that fit the terminal; of more, the best and the worst are shown."""


class RowValues(NamedTuple):
    """Values of rows.

    Attributes:
      fits: Values under each fit to the rows as they are.
      resamples: Values under each fit to a bootstrap resample of the rows.
    """

    fits: Float[np.ndarray, "fits n"]
    resamples: Float[np.ndarray, "resamples n"]

    @property
    def mean(self) -> Float[np.ndarray, " n"]:
        """Over the fits to the rows as they are."""
        return self.fits.mean(0)

    @property
    def stderr(self) -> Float[np.ndarray, " n"]:
        """By the bootstrap: of other rows and another run of the method alike."""
        return bootstrap_stderr(self.resamples)

    @property
    def noise(self) -> Float[np.ndarray, " n"]:
        """What of that is the method's own: of the mean of fits to the same rows."""
        return mean_and_stderr(self.fits)[1]

    def of_owners(self, owner: np.ndarray) -> RowValues:
        """The sums over each owner's rows.

        Args:
          owner: Owner of each row.
        """
        return RowValues(*(_owner_sums(draws, owner) for draws in self))


def _owner_sums(
    draws: Float[np.ndarray, "draws n"], owner: np.ndarray
) -> Float[np.ndarray, "draws owners"]:
    return np.stack([ecoval.owner_sums(each, owner) for each in draws])


def stacked(allocations: Iterable[ecoval.Allocation]) -> Float[np.ndarray, "draws n"]:
    """The values of several fits, one row per fit.

    Args:
      allocations: Values under each fit.
    """
    return np.stack([np.asarray(each.values, float) for each in allocations])


def extras(
    data: Data,
    fits: Sequence[ecoval.Fitted],
    resampled: Sequence[ecoval.Fitted],
    rows: RowValues,
    unseen: Points | None,
) -> Extras:
    """Tables, hazards and sentences on single rows, the unseen ones included.

    Args:
      data: Rows that were valued.
      fits: Fits to the rows as they are.
      resampled: Fits to bootstrap resamples.
      rows: Values of the rows.
      unseen: Embedded unseen points; none when `None`.
    """
    reports = [ecoval.report(fitted, ecoval.values(fitted)) for fitted in fits]
    about = Extras(
        tables={"points": _points_table(data, rows)},
        unprinted=("points",),
        sentences=_labelled(reports[0].sentences(), len(fits)),
        metrics={
            "fits": len(fits),
            "resamples": len(resampled),
            "mixture": fits[0].settings.mixture,
            "dimensions": fits[0].clustering.centroids.shape[1],
            "hazards": [dataclasses.asdict(each) for each in reports],
        },
    )
    if unseen is None:
        return about
    allocations = [ecoval.unseen_values(fitted, unseen) for fitted in fits]
    values = RowValues(
        stacked(allocations),
        stacked(ecoval.unseen_values(fitted, unseen) for fitted in resampled),
    )
    again = [ecoval.report(*pair) for pair in zip(fits, allocations, strict=True)]
    said = reports[0].sentences()
    new = [each for each in again[0].sentences() if each not in said]
    new = [f"Of the unseen rows: {each}" for each in new]
    many = values.fits.shape[1] > _MOST_SHOWN
    return dataclasses.replace(
        about,
        tables={**about.tables, **_unseen_tables(values)},
        unprinted=(*about.unprinted, *(["unseen"] if many else [])),
        metrics={
            **about.metrics,
            "hazards_of_unseen": [dataclasses.asdict(each) for each in again],
        },
        sentences=(
            _against(rows, values), *about.sentences, *_labelled(new, len(fits))
        ),
    )  # fmt: skip


def _unseen_tables(values: RowValues) -> dict[str, Table]:
    count = values.fits.shape[1]
    tables = {"unseen": _unseen_table(values, np.arange(count))}
    if count > _MOST_SHOWN:
        tables["unseen_best_and_worst"] = _unseen_table(values, _ends(values.mean))
    return tables


def _points_table(data: Data, rows: RowValues) -> Table:
    owners = [data.owner_names[i] for i in np.asarray(data.dataset.owner)]
    return Table(
        "Values of the training rows",
        (Column("owner", owners), *_columns(rows, slice(None))),
    )


def _unseen_table(rows: RowValues, shown) -> Table:
    return Table(
        "Values of the unseen rows",
        (Column("row", shown + 1), *_columns(rows, shown)),
        "Rows in the order of their file. ± one standard error over "
        f"{len(rows.resamples)} bootstrap resamples of the training rows.",
    )


def _columns(rows: RowValues, shown) -> tuple[Column, ...]:
    return (
        Column("ecoval", rows.mean[shown], rows.stderr[shown], "EcoVal"),
        Column("refit_stderr", rows.noise[shown], shown=False),
    )


def _ends(values) -> np.ndarray:
    order, half = np.argsort(-values, kind="stable"), _MOST_SHOWN // 2
    return np.concatenate([order[:half], order[-half:]])


def _labelled(sentences, fits: int) -> tuple[str, ...]:
    """Each fit meets its own hazards; those of all of them are in metrics.json."""
    first = f"In the first of {fits} fits: " if fits > 1 else ""
    return tuple(first + each for each in sentences)


def _against(rows: RowValues, unseen: RowValues) -> str:
    seen, new = rows.mean, unseen.mean
    return (
        f"The median value of an unseen row is {np.median(new):.2g}, that of a "
        f"training row {np.median(seen):.2g}; the greatest are {new.max():.2g} and "
        f"{seen.max():.2g}."
    )


def scale_sentence(owners: RowValues, endpoints: tuple[float, float]) -> str:
    """What the values add up to, and how much of their errors is the method's own.

    Args:
      owners: Values of the owners.
      endpoints: Scores of the empty and of the grand coalition.
    """
    noise = float(np.max(owners.noise))
    count = len(owners.fits)
    if count < 2:
        again = ""
    elif noise < 0.01 * np.max(owners.stderr):
        again = f"; {count} fits to the same rows agree, so the errors are of the rows"
    else:
        again = (
            f"; the method's own part of the errors, the spread of {count} fits to the "
            f"same rows, is at most {noise:.2g}"
        )
    return (
        f"The empty coalition scores {endpoints[0]:.3g} and the grand coalition "
        f"{endpoints[1]:.3g}; the values add up to {owners.mean.sum():.2g}, "
        f"what the clusters lose when left out one by one"
        f"{again}."
    )
