"""How well methods predict a ground truth, beside how well it predicts itself."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from jaxval.evaluation import (
    Reliability,
    mean_and_error,
    pearson,
    spearman,
    split_half_reliability,
)
from jaxval.reporting import Column, Table
from jaxval.reporting.plots import COLOURS, NEUTRAL, bars

__all__ = [
    "ONE_SEED",
    "RELIABILITY",
    "advice",
    "agreement",
    "agreement_table",
    "by_column",
    "chance_sentence",
    "draw_agreement",
    "one_against_others",
    "reliabilities",
    "reliability_sentence",
    "single_agreement_table",
]

ONE_SEED = "one retraining seed"
"""The row of one training seed against the mean of the others."""

RELIABILITY = "ground truth, split-half"
"""The row that says how far the ground truth can be trusted."""


def agreement(
    truth: Float[np.ndarray, "seeds players"], values: Float[np.ndarray, "runs players"]
) -> Float[np.ndarray, "runs 2"]:
    """Pearson's and Spearman's correlation of each run with the mean of the truth.

    Args:
      truth: Ground truth, one seed per row.
      values: Values by a method, one run (initialisation) per row.

    Example:
      >>> truth, values = np.array([[1.0, 2.0, 4.0]]), np.array([[3.0, 2.0, 0.0]])
      >>> agreement(truth, values).round(6).tolist()
      [[-1.0, -1.0]]
    """
    mean = truth.mean(0)
    return np.array([[pearson(mean, v).value, spearman(mean, v).value] for v in values])


def one_against_others(
    truth: Float[np.ndarray, "seeds players"],
) -> Float[np.ndarray, "seeds 2"]:
    """Both correlations of each seed with the mean of the other seeds.

    Args:
      truth: Ground truth, one seed per row; two or more.
    """
    others = [np.delete(truth, i, axis=0).mean(0) for i in range(len(truth))]
    pairs = list(zip(truth, others, strict=True))
    return np.array([[pearson(a, b).value, spearman(a, b).value] for a, b in pairs])


def reliabilities(truth: Float[np.ndarray, "seeds players"]) -> list[Reliability]:
    """Split-half reliability of values and of ranks; NaN with one seed.

    Args:
      truth: Ground truth, one seed per row.
    """
    if len(truth) < 2:
        return [Reliability(math.nan, math.nan, math.nan, 0)] * 2
    value_key, rank_key = jax.random.split(jax.random.key(0))
    return [
        split_half_reliability(value_key, truth),
        split_half_reliability(rank_key, truth, ranks=True),
    ]


def agreement_table(
    title: str,
    truth: Float[np.ndarray, "seeds players"],
    values: Mapping[str, Float[np.ndarray, "runs players"]],
    seconds: Mapping[str, float],
) -> Table:
    """Correlation of each method with the ground truth, with errors over its runs.

    Args:
      title: Title of the table.
      truth: Leave-one-out by retraining, one seed per row; two or more.
      values: Values by method, one run (initialisation) per row.
      seconds: Seconds of one run, by method, where known.
    """
    rows = {name: agreement(truth, each) for name, each in values.items()}
    rows[ONE_SEED] = one_against_others(truth)
    trust = reliabilities(truth)
    rows[RELIABILITY] = np.array([[each.half for each in trust]])
    (values_r, values_e), (ranks_r, ranks_e) = (
        zip(*(mean_and_error(each[:, i]) for each in rows.values()), strict=True)
        for i in (0, 1)
    )
    runs = max(len(each) for each in values.values())
    return Table(
        title,
        (
            Column("method", list(rows)),
            Column("pearson", values_r, values_e),
            Column("truth_pearson", [trust[0].half] * len(rows), heading="truth"),
            Column("spearman", ranks_r, ranks_e),
            Column("truth_spearman", [trust[1].half] * len(rows), heading="truth"),
            Column("seconds", [seconds.get(n, np.nan) for n in rows], digits=3),
        ),
        f"± one standard error over {runs} initialisations (or retraining seeds, each "
        "against the mean of the others). truth: split-half reliability of the ground "
        "truth. Complexity and DAVINZ share a Gram matrix, counted for both. seconds: "
        "for one initialisation or seed, compilation included.",
    )


def single_agreement_table(
    truth: Float[np.ndarray, "seeds players"],
    values: Mapping[str, Float[np.ndarray, " players"]],
    seconds: Mapping[str, float],
) -> Table:
    """Correlation of single values with the ground truth.

    Args:
      truth: Leave-one-out by retraining, one seed per row.
      values: Leave-one-out values, by method.
      seconds: Seconds by method, where known.
    """
    rows = {name: agreement(truth, each[None])[0] for name, each in values.items()}
    rows[RELIABILITY] = np.array([each.half for each in reliabilities(truth)])
    chance = 1 / math.sqrt(truth.shape[1] - 1)
    return Table(
        "Check: leave-one-out by retraining, and how well each method predicts it",
        (
            Column("method", list(rows)),
            Column("pearson", [float(row[0]) for row in rows.values()]),
            Column("spearman", [float(row[1]) for row in rows.values()]),
            Column("seconds", [seconds.get(n, math.nan) for n in rows], digits=3),
        ),
        "Correlation with the accuracy lost by retraining without each contributor, "
        f"mean of {len(truth)} seeds; chance alone reaches 0 ± {chance:.2f}. The last "
        "row is the correlation of one half of these seeds with the other.",
    )


def by_column(table: Table) -> dict[str, list[Any]]:
    """The columns of a table by name, errors included, for `metrics.json`."""
    columns = {column.name: list(column.values) for column in table.columns}
    errors = {
        f"{column.name}_stderr": list(column.stderr)
        for column in table.columns
        if column.stderr is not None
    }
    return columns | errors


def chance_sentence(players: int) -> str:
    """What chance alone reaches between few players.

    Args:
      players: Number of players.
    """
    return (
        f"Between {players} contributors chance alone correlates at 0 ± "
        f"{1 / np.sqrt(players - 1):.2f}."
    )


def reliability_sentence(trust: Reliability, seeds: int, remedy: str) -> str:
    """Whether any method can be judged by a ground truth.

    Args:
      trust: Reliability of the ground truth.
      seeds: Training seeds behind it.
      remedy: Options that make it less noisy.
    """
    if not trust.half > 0:
        is_nan = math.isnan(trust.half)
        how = "are not comparable" if is_nan else f"correlate at {trust.half:.2f}"
        return (
            f"The halves of the {seeds} retraining seeds {how}: this ground truth is "
            f"noise, and no method can be judged by it. {remedy}"
        )
    return (
        f"The halves of the {seeds} retraining seeds correlate at {trust.half:.2f}; by "
        f"Spearman and Brown's formula the mean of all of them has reliability "
        f"{trust.full:.2f}, so that no method can be expected to pass "
        f"{trust.ceiling:.2f}."
    )


def advice(table: Table, baselines: tuple[str, ...]) -> str:
    """What the agreement of DAVINZ, kernel regression and baselines says.

    Args:
      table: As of `single_agreement_table`, with both methods among its rows.
      baselines: Names of the rows to compare them with.
    """
    columns = {column.name: column.values for column in table.columns}
    rank = dict(zip(columns["method"], columns["spearman"], strict=True))
    best = max(baselines, key=lambda name: np.nan_to_num(rank[name]))
    davinz, regression, truth = (
        rank[name] for name in ("DAVINZ", "kernel regression", RELIABILITY)
    )
    if not truth > 0.5:
        so = "but that ground truth is too noisy to judge any of them by"
    elif max(davinz, regression) <= rank[best]:
        so = "here the untrained network adds nothing to what is known without it"
    elif regression > davinz:
        so = "to know what training would lose, ask the kernel with its labels"
    else:
        so = "here the untrained network adds to what is known without it"
    return (
        f"DAVINZ predicts what retraining loses without each contributor (split-half "
        f"reliability {truth:.2f}) with a rank correlation of {davinz:.2f}, kernel "
        f"regression on the same tangent kernel with {regression:.2f}, and the best "
        f"baseline, {best}, with {rank[best]:.2f}: {so}."
    )


def draw_agreement(axes: Any, table: Table) -> None:
    """Rank correlations as bars: two methods, baselines in grey, the ground truth.

    Args:
      axes: Matplotlib `Axes`.
      table: As of `single_agreement_table`.
    """
    methods, _, rank = (column.values for column in table.columns[:3])
    heights = np.nan_to_num(rank)
    bars(
        axes,
        [method.replace(", ", ",\n") for method in methods],
        heights,
        colour=[*COLOURS[:2], *[NEUTRAL] * (len(methods) - 3), COLOURS[2]],
        title="Do they predict retraining?",
        unit="Spearman correlation with leave-one-out\nby retraining",
    )
    axes.set_xlim(min(0, *heights) - 0.05, 1)
