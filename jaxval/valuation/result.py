"""A valuation: values of owners, their errors and ranks, and what they mean."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxval.evaluation.ranking import ranks
from jaxval.reporting import Table
from jaxval.types import ValueEstimate

__all__ = ["Extras", "Valuation", "rank_ranges", "without_errors"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extras:
    """What a method has to say beyond values of owners.

    Attributes:
      tables: Further tables, by name.
      unprinted: Names of those too long to print.
      sentences: What they mean.
      metrics: Numbers and short texts.
      arrays: Arrays, by name.
    """

    tables: Mapping[str, Table] = dataclasses.field(default_factory=dict)
    unprinted: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()
    metrics: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Valuation:
    """Values of the owners of rows.

    Attributes:
      owner_names: Name of each owner; arrays of owners are in this order.
      num_rows: Training rows of each owner.
      estimate: Values with standard errors and the number of units behind each.
      prob_greater: Probability that the row's value is greater than the column's; NaN
        where the errors are unknown.
      sampling_stderr: Standard errors from the choice of coalitions alone (of EcoVal,
        from its own randomness); 0 if exact, NaN if unknown.
      name: Name of the value in titles, such as "Shapley".
      column: Name of its column in tables.
      method: How the values were found, in words.
      unit: Unit of the scores, and so of the values.
      error_source: What the error bars are over, in words; empty where nothing is
        random.
      drawn_once: What is random but was not repeated, so that nothing is known of the
        errors; empty otherwise.
      baselines: Values of simpler scores, by name.
      endpoints: Scores of the empty and of the grand coalition; `None` if unknown.
      num_evaluations: Utility evaluations, over all seeds.
      draws: Values under each seed.
      metrics: Numbers and short texts on the data.
      settings: Settings that the valuation was asked for with.
      extras: Further tables, sentences and numbers.
    """

    owner_names: tuple[str, ...]
    num_rows: Int[np.ndarray, " n"]
    estimate: ValueEstimate
    prob_greater: Float[np.ndarray, "n n"]
    sampling_stderr: Float[np.ndarray, " n"]
    name: str
    column: str
    method: str
    unit: str
    error_source: str
    drawn_once: str = ""
    baselines: Mapping[str, Float[np.ndarray, " n"]]
    endpoints: tuple[float, float] | None
    num_evaluations: int
    draws: Float[np.ndarray, "seeds n"]
    metrics: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    extras: Extras = Extras()

    @property
    def values(self) -> Float[np.ndarray, " n"]:
        """Value of each owner, in units of the score."""
        return np.asarray(self.estimate.values)

    @property
    def stderr(self) -> Float[np.ndarray, " n"]:
        """Standard error of each value; 0 if exact, NaN if unknown."""
        return np.asarray(self.estimate.stderr)

    @property
    def ranks(self) -> Int[np.ndarray, " n"]:
        """Rank of each owner; 1 is the most valuable."""
        return ranks(self.values)

    @property
    def order(self) -> Int[np.ndarray, " n"]:
        """Owners from the most to the least valuable."""
        return np.argsort(-self.values, kind="stable")

    def __len__(self) -> int:
        """Number of owners."""
        return len(self.owner_names)

    def __repr__(self) -> str:
        """The values in the order of the ranks, and what they mean."""
        from jaxval.valuation import report

        return report.as_text(self)

    def to_frame(self) -> Any:
        """A pandas data frame: one row per owner, in the order of `owner_names`.

        Its columns are those of `values.csv`: the value and its standard error, the
        rank and the range that it lies in, the rows, and the baselines.

        Raises:
          ImportError: Without pandas.
        """
        try:
            import pandas as pd
        except ImportError:
            raise ImportError(
                "to_frame needs pandas: pip install pandas, or take .values, .stderr, "
                ".ranks and .owner_names as they are."
            ) from None
        from jaxval.valuation import report

        columns: dict[str, Any] = {}
        for column in report.values_table(self).columns:
            columns[column.name] = list(column.values)
            if column.stderr is not None:
                columns[f"{column.name}_stderr"] = list(column.stderr)
        return pd.DataFrame(columns).set_index("owner")

    def plot(self) -> Any:
        """A matplotlib figure of the values with their errors, in the order of ranks.

        Raises:
          ImportError: Without matplotlib.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise ImportError(
                "plot needs matplotlib: pip install 'jaxval[plot]'."
            ) from None
        from jaxval.valuation import report

        figure = Figure(figsize=(8.0, 4.5), layout="constrained")
        report.draw(figure, self)
        return figure

    def save(self, folder: str | pathlib.Path) -> tuple[str, ...]:
        """Write tables, arrays, numbers, settings and a picture to a folder.

        Args:
          folder: Folder to write, replaced if it is there.

        Returns:
          Names of the files.
        """
        from jaxval.runner import results
        from jaxval.valuation import report

        result = report.report(self)
        about = {"experiment": "value", "metrics": result.metrics}
        return results.save(pathlib.Path(folder), self.settings, result, about)


def without_errors(
    estimate: ValueEstimate,
) -> tuple[ValueEstimate, Float[np.ndarray, "n n"]]:
    """The same values with nothing known about their errors or their ranks."""
    unknown = np.full_like(np.asarray(estimate.values, float), np.nan)
    return estimate._replace(stderr=unknown), np.full((len(unknown),) * 2, np.nan)


def rank_ranges(
    prob_greater: Float[np.ndarray, "n n"], confidence: float = 0.95
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """The best and the worst rank that each player may have.

    A player is behind all those whose value is greater with that confidence (each
    comparison by itself), and ahead of those whose value is smaller.

    Args:
      prob_greater: Probability that the row's value is greater than the column's.
      confidence: Probability from which one value counts as the greater.

    Example:
      >>> best, worst = rank_ranges(np.array([[0.5, 0.99], [0.01, 0.5]]))
      >>> best.tolist(), worst.tolist()
      ([1, 2], [1, 2])
    """
    best = 1 + (prob_greater > confidence).sum(0)
    worst = len(prob_greater) - (prob_greater > confidence).sum(1)
    return best, worst
