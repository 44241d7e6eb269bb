"""What quickstart found, as tables, sentences and a picture."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxval.coalitions import masks
from jaxval.evaluation import spearman
from jaxval.evaluation.ranking import beats_next, ranks
from jaxval.evaluation.replicates import mean_and_stderr
from jaxval.experiments.parts import truth as ground_truth
from jaxval.reporting import Column, Table, bar_chart
from jaxval.reporting.plots import COLOURS, NEUTRAL, bars, grouped_bars
from jaxval.runner.contract import Result
from jaxval.semivalues import exact, weights

__all__ = ["Findings", "Scores", "report"]


class Scores(NamedTuple):
    """Scores of all coalitions, in the order of `masks.powerset`, a row a seed."""

    davinz: Float[np.ndarray, "seeds coalitions"]
    complexity: Float[np.ndarray, "seeds coalitions"]
    discrepancy: Float[np.ndarray, "seeds coalitions"]
    kappa: Float[np.ndarray, " seeds"]


class Findings(NamedTuple):
    """All that was computed.

    Attributes:
      sizes: images of each contributor.
      scores: of all coalitions.
      regression: leave-one-out accuracies of kernel regression on the tangent kernel,
        mean over the initialisations; `None` if not asked for.
      retrained: leave-one-out by retraining, a row a seed; `None` if not asked for.
      seconds: by the name of the method.
    """

    sizes: Int[np.ndarray, " players"]
    scores: Scores
    regression: Float[np.ndarray, " players"] | None
    retrained: Float[np.ndarray, "seeds players"] | None
    seconds: dict[str, float]


def report(config: Any, found: Findings) -> Result:
    """Tables, sentences and a picture.

    Args:
      config: of the quickstart.
      found: what it computed.
    """
    draws = {
        name: _semivalues(found.scores.davinz, weigh)
        for name, weigh in _SEMIVALUES.items()
    }
    values = {name: mean_and_stderr(rows) for name, rows in draws.items()}
    names = [f"digit {digit}" for digit in range(len(found.sizes))]
    rivals = _rivals(config.seed, found, weights.shapley)
    tables = {
        "values": _values_table(config, names, found.sizes, draws, values, rivals),
        "rivals": _rivals_table(names, values["shapley"][0], rivals),
        "scores": _scores_table(found.scores),
    }
    sentences = [_who(names, found.sizes, draws["shapley"], rivals)]
    arrays = found.scores._asdict()
    metrics: dict[str, Any] = {"kappa": found.scores.kappa, "seconds": found.seconds}
    if found.retrained is not None and found.regression is not None:
        methods = {
            "DAVINZ": values["leave_one_out"][0],
            "kernel regression": found.regression,
            **_rivals(config.seed, found, weights.leave_one_out),
        }
        methods.pop("random")  # one draw proves nothing; the caption says what it does
        check = ground_truth.agreement_table(found.retrained, methods, found.seconds)
        tables["check"] = check
        sentences.append(_how_good(check))
        arrays["retrained_leave_one_out"] = found.retrained
        metrics["check"] = {c.name: list(c.values) for c in check.columns}
    return Result(
        tables=tables,
        unprinted=("scores",),
        chart=bar_chart(names, *values["shapley"], title="Shapley value"),
        metrics=metrics,
        sentences=tuple(sentences),
        arrays=arrays,
        draw=lambda figure: _draw(figure, names, values, tables.get("check")),
    )


_SEMIVALUES = {
    "shapley": weights.shapley,
    "banzhaf": weights.banzhaf,
    "leave_one_out": weights.leave_one_out,
}


def _semivalues(scores, weigh) -> Float[np.ndarray, "seeds players"]:
    return np.stack([exact.from_table(row, weigh) for row in scores])


def _rivals(seed, found, weigh) -> dict[str, Float[np.ndarray, " players"]]:
    """What costs no network, or is half of DAVINZ, or comes out of a hat."""
    scores, sizes = found.scores, found.sizes
    mean = lambda rows: _semivalues(rows, weigh).mean(0)
    return {
        "size only": sizes / sizes.sum(),
        "discrepancy only": mean(-scores.discrepancy[:1]),
        "complexity only": mean(-scores.kappa[:, None] * scores.complexity),
        "random": np.random.default_rng(seed).normal(size=len(sizes)),
    }


def _values_table(config, names, sizes, draws, values, rivals) -> Table:
    return Table(
        "What each contributor's images are worth to an untrained network (DAVINZ)",
        (
            Column("contributor", names),
            Column("size", sizes),
            Column("shapley", *values["shapley"], heading="Shapley"),
            Column("banzhaf", *values["banzhaf"], heading="Banzhaf"),
            Column("leave_one_out", *values["leave_one_out"]),
            Column("rank", ranks(values["shapley"][0])),
            Column("beats_next", beats_next(draws["shapley"]), heading="sure"),
            *(
                Column(name.replace(" ", "_"), rival, shown=False)
                for name, rival in rivals.items()
            ),
        ),
        f"In units of the DAVINZ score, ± one standard error over {config.seeds} "
        "initialisations. Rank by Shapley value; sure: above the next in rank (paired "
        "t test, 95%).",
    )


def _rivals_table(names, means, rivals) -> Table:
    return Table(
        "Shapley values of simpler scores",
        (
            Column("contributor", names),
            Column("davinz", means, heading="DAVINZ"),
            *(Column(name.replace(" ", "_"), rival) for name, rival in rivals.items()),
        ),
    )


def _scores_table(scores: Scores) -> Table:
    members = np.asarray(masks.powerset(scores.davinz.shape[1].bit_length() - 1))
    return Table(
        "Scores of all coalitions",
        (
            Column(
                "coalition", ["+".join(map(str, np.flatnonzero(m))) for m in members]
            ),
            Column("davinz", *mean_and_stderr(scores.davinz)),
            Column("complexity", *mean_and_stderr(scores.complexity)),
            Column("discrepancy", scores.discrepancy[0]),
        ),
    )


def _who(names, sizes, shapley, rivals) -> str:
    means = shapley.mean(0)
    best, worst = int(np.argmax(means)), int(np.argmin(means))
    known = {name: spearman(means, rival).value for name, rival in rivals.items()}
    known.pop("random")
    nearest = max(known, key=lambda name: np.nan_to_num(known[name]))
    return (
        f"To the untrained network {names[best]} ({sizes[best]} images) is worth most "
        f"and {names[worst]} ({sizes[worst]} images) least; {len(shapley)} "
        f"initialisations settle {beats_next(shapley).sum()} of {len(names) - 1} "
        f"neighbouring places, and of the simpler scores {nearest} ranks most like it "
        f"(Spearman {known[nearest]:.2f})."
    )


def _how_good(check: Table) -> str:
    found = dict(zip(check.columns[0].values, check.columns[2].values, strict=True))
    truth = found.pop(ground_truth.HALVES)
    davinz, regression = found.pop("DAVINZ"), found.pop("kernel regression")
    rival = max(found, key=lambda name: np.nan_to_num(found[name]))
    return (
        f"What retraining loses without each contributor (its halves agree at "
        f"{truth:.2f}) DAVINZ foretells with a rank correlation of {davinz:.2f}, "
        f"kernel regression on the same tangent kernel with {regression:.2f}, and the "
        f"best simpler score, {rival}, with {found[rival]:.2f}: "
        f"{_advice(davinz, regression, found[rival], truth)}."
    )


def _advice(davinz: float, regression: float, rival: float, truth: float) -> str:
    if not truth > 0.5:
        return "but that ground truth is too noisy to judge any of them by"
    if max(davinz, regression) <= rival:
        return "here the untrained network adds nothing to what is known without it"
    if regression > davinz:
        return "to know what training would lose, ask the kernel with its labels"
    return "here the untrained network adds to what is known without it"


def _draw(figure, names, values, check) -> None:
    figure.set_size_inches(9.5, 5)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    grouped_bars(left, names, values, title="Values under DAVINZ, ± 1 standard error")
    left.set_xlabel("DAVINZ score")
    if check is None:
        right.remove()
        return
    methods, _, found = (column.values for column in check.columns[:3])
    colours = [*COLOURS[:2], *[NEUTRAL] * (len(methods) - 3), COLOURS[2]]
    bars(
        right,
        [method.replace(", ", ",\n") for method in methods],
        np.nan_to_num(found),
        colour=colours,
        title="Do they foretell retraining?",
        unit="Spearman correlation with leave-one-out\nby retraining",
    )
    right.set_xlim(min(0, *np.nan_to_num(found)) - 0.05, 1)
