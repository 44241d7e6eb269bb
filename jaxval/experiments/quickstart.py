"""Value ten contributors of handwritten digits with DAVINZ, without any training.

Each contributor brings the images of one digit of scikit-learn's data, and they bring
different numbers of them. The worth of each coalition (there are 1,023) is scored by a
network that was never trained, and Shapley, Banzhaf and leave-one-out values follow
exactly; standard errors are over initialisations of the network.
"""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jaxval import masks, models
from jaxval.experiments import digits, untrained
from jaxval.experiments.contract import SILENT, Context, Result
from jaxval.experiments.ranking import agreement, beats_next, mean_and_stderr, ranks
from jaxval.games.davinz import Davinz
from jaxval.reporting import Column, Table, bar_chart
from jaxval.reporting.plots import COLOURS, bars
from jaxval.semivalues import exact, weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Which digits, which network."""

    sizes: tuple[int, ...] = (70, 90, 50, 100, 60, 80, 120, 30, 110, 40)
    """Images that the contributors of digit 0, 1, 2, ... bring."""
    valid: int = 50
    """Validation images of each digit."""
    network: Literal["cnn", "mlp"] = "cnn"
    """The paper's small convolutional network, or three dense layers."""
    width: float = 1.0
    """Factor on the network's hidden units."""
    seeds: int = 5
    """Initialisations to average over."""
    zeta: float = 1e-3
    """Regulariser, relative to the mean diagonal of the kernel."""
    seed: int = 0
    """Deals the images and draws the networks."""


class _Scores(NamedTuple):
    """Scores of all coalitions, in the order of `masks.powerset`, a row a seed."""

    davinz: Float[np.ndarray, "seeds coalitions"]
    complexity: Float[np.ndarray, "seeds coalitions"]
    discrepancy: Float[np.ndarray, "seeds coalitions"]
    kappa: Float[np.ndarray, " seeds"]


def run(config: Config, context: Context = SILENT) -> Result:
    """Score all coalitions under each initialisation and report their values."""
    split = digits.deal(config.sizes, config.valid, config.seed)
    module = network(config, len(config.sizes))
    sums = untrained.similarity(split.data, split.x_valid)
    scores = []
    with context.progress("initialisations") as update:
        for done, key in enumerate(keys_of(config), 1):
            drawn = untrained.draw(key, module, split.data)
            game = untrained.davinz_game(drawn, sums, split.data, zeta=config.zeta)
            scores.append(_tabulate(game))
            update(done, config.seeds)
    table = _Scores(*map(np.stack, zip(*scores, strict=True)))
    return _report(config, split.data.sizes, table)


def keys_of(config: Config) -> jax.Array:
    """A random key for each initialisation."""
    return jax.random.split(jax.random.key(config.seed), config.seeds)


def network(config: Config, num_classes: int) -> Any:
    """The network that looks at the digits."""
    if config.network == "cnn":
        return models.cnn(num_classes, width=config.width)
    return models.mlp([max(1, round(128 * config.width))] * 2, num_classes)


def _tabulate(game: Davinz) -> _Scores:
    complexity, discrepancy = (
        exact.table(game.complexity),
        exact.table(game.discrepancy),
    )
    # The game is that combination of its parts; its own table would cost as much again.
    score = -game.kappa * complexity - discrepancy
    return _Scores(score, complexity, discrepancy, np.float64(game.kappa))


def _semivalues(scores: Float[np.ndarray, "seeds coalitions"], weigh) -> np.ndarray:
    return np.stack([exact.from_table(row, weigh) for row in scores])


def _report(config: Config, sizes: np.ndarray, scores: _Scores) -> Result:
    draws = {
        "shapley": _semivalues(scores.davinz, weights.shapley),
        "banzhaf": _semivalues(scores.davinz, weights.banzhaf),
        "leave_one_out": _semivalues(scores.davinz, weights.leave_one_out),
    }
    values = {name: mean_and_stderr(rows) for name, rows in draws.items()}
    rivals = _rivals(config, sizes, scores)
    names = [f"digit {digit}" for digit in range(len(sizes))]
    means, errors = values["shapley"]
    agree = {name: agreement(means, rival)[1] for name, rival in rivals.items()}
    chart = bar_chart(names, means, errors, title="Shapley value")
    return Result(
        tables={
            "values": _values_table(config, names, sizes, draws, values),
            "rivals": _rivals_table(names, sizes, means, rivals, agree),
            "scores": _scores_table(scores),
        },
        unprinted=("scores",),
        chart=chart,
        metrics={"spearman_with": agree, "kappa": scores.kappa},
        sentences=_sentences(names, sizes, draws["shapley"], agree),
        arrays=scores._asdict(),
        draw=lambda figure: _draw(figure, names, values, rivals, agree),
    )


def _rivals(config, sizes, scores) -> dict[str, Float[np.ndarray, " players"]]:
    """What costs no network, or half of DAVINZ, or nothing at all."""
    shapley = lambda rows: _semivalues(rows, weights.shapley).mean(0)
    generator = np.random.default_rng(config.seed)
    return {
        "size_only": sizes / sizes.sum(),
        "discrepancy_only": shapley(-scores.discrepancy[:1]),
        "complexity_only": shapley(-scores.kappa[:, None] * scores.complexity),
        "random": generator.normal(size=len(sizes)),
    }


def _values_table(config, names, sizes, draws, values) -> Table:
    means = values["shapley"][0]
    return Table(
        "What each contributor's images are worth (DAVINZ score)",
        (
            Column("contributor", names),
            Column("size", sizes),
            Column("shapley", *values["shapley"], heading="Shapley"),
            Column("banzhaf", *values["banzhaf"], heading="Banzhaf"),
            Column("leave_one_out", *values["leave_one_out"]),
            Column("rank", ranks(means)),
            Column("beats_next", beats_next(draws["shapley"]), heading="sure"),
        ),
        f"± is one standard error over {config.seeds} initialisations. rank: by "
        "Shapley value. sure: above the next in rank (paired t test, 95%).",
    )


def _rivals_table(names, sizes, means, rivals, agree) -> Table:
    column = lambda name: Column(name, np.append(rivals[name], agree[name]))
    return Table(
        "The same from simpler scores (Shapley values)",
        (
            Column("contributor", [*names, "Spearman with DAVINZ"]),
            Column("davinz", np.append(means, 1.0), heading="DAVINZ"),
            *map(column, rivals),
        ),
    )


def _scores_table(scores: _Scores) -> Table:
    members = np.asarray(masks.powerset(scores.davinz.shape[1].bit_length() - 1))
    label = lambda row: "+".join(map(str, np.flatnonzero(row)))
    means, errors = mean_and_stderr(scores.davinz)
    return Table(
        "Scores of all coalitions",
        (
            Column("coalition", [label(row) for row in members]),
            Column("score", means, errors),
            Column("complexity", *mean_and_stderr(scores.complexity)),
            Column("discrepancy", scores.discrepancy[0]),
        ),
    )


def _sentences(names, sizes, shapley, agree) -> tuple[str, ...]:
    means = shapley.mean(0)
    best, worst = int(np.argmax(means)), int(np.argmin(means))
    sure = int(beats_next(shapley).sum())
    known = {name: agree[name] for name in list(agree)[:3]}
    nearest = max(known, key=lambda name: abs(np.nan_to_num(known[name])))
    verdict = (
        "most of what it says here can be had from that alone"
        if abs(known[nearest]) >= 0.9
        else "it says something that none of its parts says alone"
    )
    return (
        f"To the untrained network {names[best]} ({sizes[best]} images) is worth most "
        f"and {names[worst]} ({sizes[worst]} images) least, and {sure} of "
        f"{len(names) - 1} neighbouring places are settled by {len(shapley)} "
        "initialisations.",
        f"Of the simpler scores {nearest.replace('_', ' ')} is nearest to it (Spearman "
        f"{known[nearest]:.2f}): {verdict}.",
    )


def _draw(figure, names, values, rivals, agree) -> None:
    figure.set_size_inches(9, 4.5)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    places = np.arange(len(names))
    for shift, (name, (means, errors)) in enumerate(values.items()):
        left.barh(
            places + (shift - 1) * 0.27,
            means,
            xerr=np.nan_to_num(errors),
            height=0.25,
            color=COLOURS[shift],
            label=name.replace("_", "-"),
            error_kw={"lw": 0.8, "capsize": 1.5},
        )
    left.set_yticks(places, names)
    left.invert_yaxis()
    left.axvline(0, color="#222222", lw=0.8)
    left.legend()
    left.set_title("Values under DAVINZ, ± 1 standard error over initialisations")
    left.set_xlabel("DAVINZ score")
    labels = [name.replace("_", " ") for name in rivals]
    numbers = np.array([agree[name] for name in rivals])
    bars(right, labels, numbers, colour=COLOURS[5], title="Simpler scores")
    right.set_xlim(-1, 1)
    right.set_xlabel("Spearman correlation with DAVINZ's Shapley values")
