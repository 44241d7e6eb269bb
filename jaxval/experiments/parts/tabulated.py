"""Scores of all coalitions of few contributors, and the values that follow exactly."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxval.coalitions import masks
from jaxval.evaluation import beats_next, mean_and_stderr, ranks, spearman
from jaxval.experiments.parts.deals import Contributors
from jaxval.games import at_initialisation as untrained
from jaxval.games.davinz import Davinz
from jaxval.reporting import Column, Table
from jaxval.runner.machine import timed
from jaxval.semivalues import exact, weights
from jaxval.types import PRNGKey

__all__ = [
    "Scores",
    "baselines",
    "baselines_table",
    "kernel_regression",
    "ranking_sentence",
    "scores_table",
    "semivalues",
    "tabulate",
    "values_table",
]

Values = Float[np.ndarray, " players"]


class Scores(NamedTuple):
    """Scores of all coalitions, in the order of `masks.powerset`, one seed per row.

    Attributes:
      davinz: DAVINZ's score, minus the other two.
      complexity: Complexity of the network on the coalition's rows.
      discrepancy: Distance of the coalition's rows to the validation rows.
      kappa: Weight of the complexity under each seed.
    """

    davinz: Float[np.ndarray, "seeds coalitions"]
    complexity: Float[np.ndarray, "seeds coalitions"]
    discrepancy: Float[np.ndarray, "seeds coalitions"]
    kappa: Float[np.ndarray, " seeds"]


def tabulate(
    keys: Sequence[PRNGKey],
    module: Any,
    deal: Contributors,
    *,
    zeta: float,
    seconds: dict[str, float],
    progress: Callable[..., None],
) -> Scores:
    """DAVINZ's score of every coalition under each initialisation.

    Args:
      keys: PRNG keys, one per initialisation.
      module: Network of `jaxval.models`.
      deal: Rows of the contributors and of the validation set.
      zeta: Regulariser, relative to the mean diagonal of the kernel.
      seconds: Seconds by method, added to.
      progress: Called after each initialisation.
    """
    with timed(seconds, "discrepancy only"):
        sums = untrained.similarity(deal.data, np.asarray(deal.valid.x))
    scores = []
    for done, key in enumerate(keys, 1):
        with timed(seconds, "DAVINZ"):
            network = untrained.draw(key, module, deal.data)
            game = untrained.davinz_game(network, sums, deal.data, zeta=zeta)
            scores.append(_tables(game))
        progress(done, len(keys))
    return Scores(*map(np.stack, zip(*scores, strict=True)))


def _tables(game: Davinz) -> tuple[Any, ...]:
    complexity, discrepancy = map(exact.table, (game.complexity, game.discrepancy))
    # The game is that combination of its parts; its own table would cost as much again.
    score = -game.kappa * complexity - discrepancy
    return score, complexity, discrepancy, np.float64(game.kappa)


def kernel_regression(
    keys: Sequence[PRNGKey],
    module: Any,
    deal: Contributors,
    *,
    penalty: float,
    seconds: dict[str, float],
    progress: Callable[..., None],
) -> Values:
    """Leave-one-out accuracy of kernel regression, mean over initialisations.

    Args:
      keys: PRNG keys, one per initialisation.
      module: Network of `jaxval.models`, whose tangent kernel it is.
      deal: Rows of the contributors and of the validation set.
      penalty: Multiplier of the squared norm, relative to the mean diagonal.
      seconds: Seconds by method, added to.
      progress: Called after each initialisation.
    """
    rows = []
    for done, key in enumerate(keys, 1):
        with timed(seconds, "kernel regression"):
            game = untrained.kernel_regression_game(
                key, module, deal.data, deal.valid, penalty=penalty
            )
            rows.append(np.asarray(exact.leave_one_out(game).values))
        progress(done, len(keys))
    return np.mean(rows, axis=0)


def semivalues(
    scores: Float[np.ndarray, "seeds coalitions"], weigh: weights.Weights
) -> Float[np.ndarray, "seeds players"]:
    """Values under each seed.

    Args:
      scores: Scores of all coalitions, one seed per row.
      weigh: Weights of the semi-value.
    """
    return np.stack([exact.from_table(row, weigh) for row in scores])


def baselines(
    scores: Scores, sizes: Int[np.ndarray, " players"], weigh: weights.Weights
) -> dict[str, Values]:
    """Values by what needs no network, or by half of DAVINZ.

    Args:
      scores: Scores of all coalitions.
      sizes: Rows of each contributor.
      weigh: Weights of the semi-value.
    """
    complexity = -scores.kappa[:, None] * scores.complexity
    return {
        "size only": sizes / sizes.sum(),
        "discrepancy only": semivalues(-scores.discrepancy[:1], weigh).mean(0),
        "complexity only": semivalues(complexity, weigh).mean(0),
    }


def values_table(
    title: str,
    names: Sequence[str],
    sizes: Int[np.ndarray, " players"],
    draws: Mapping[str, Float[np.ndarray, "seeds players"]],
    others: Mapping[str, Values],
) -> Table:
    """Values by each semi-value, ranks, and hidden columns of the baselines.

    Args:
      title: Title of the table.
      names: Names of the contributors.
      sizes: Rows of each contributor.
      draws: Values by semi-value, one seed per row; "shapley" gives the ranks.
      others: Values by baseline.
    """
    shapley = draws["shapley"]
    heading = {"shapley": "Shapley", "banzhaf": "Banzhaf"}
    return Table(
        title,
        (
            Column("contributor", names),
            Column("size", sizes),
            *(
                Column(name, *mean_and_stderr(rows), heading=heading.get(name, ""))
                for name, rows in draws.items()
            ),
            Column("rank", ranks(shapley.mean(0))),
            Column("beats_next", beats_next(shapley), heading="resolved"),
            *(Column(_plain(n), v, shown=False) for n, v in others.items()),
        ),
        f"In units of the DAVINZ score, ± one standard error over {len(shapley)} "
        "initialisations. Rank by Shapley value; resolved: above the next in rank "
        "(paired t test, 95%).",
    )


def baselines_table(
    names: Sequence[str], davinz: Values, others: Mapping[str, Values]
) -> Table:
    """Shapley values of DAVINZ beside those of the baselines.

    Args:
      names: Names of the contributors.
      davinz: Shapley values under DAVINZ.
      others: Shapley values by baseline.
    """
    return Table(
        "Shapley values of simpler scores",
        (
            Column("contributor", names),
            Column("davinz", davinz, heading="DAVINZ"),
            *(Column(_plain(name), each) for name, each in others.items()),
        ),
    )


def scores_table(scores: Scores) -> Table:
    """The score of every coalition, with errors over seeds.

    Args:
      scores: Scores of all coalitions.
    """
    members = np.asarray(masks.powerset(scores.davinz.shape[1].bit_length() - 1))
    labels = ["+".join(map(str, np.flatnonzero(mask))) for mask in members]
    return Table(
        "Scores of all coalitions",
        (
            Column("coalition", labels),
            Column("davinz", *mean_and_stderr(scores.davinz)),
            Column("complexity", *mean_and_stderr(scores.complexity)),
            Column("discrepancy", scores.discrepancy[0]),
        ),
    )


def ranking_sentence(
    names: Sequence[str],
    sizes: Int[np.ndarray, " players"],
    shapley: Float[np.ndarray, "seeds players"],
    others: Mapping[str, Values],
) -> str:
    """Who is worth most and least, how much of the order is resolved, and what is near.

    Args:
      names: Names of the contributors.
      sizes: Rows of each contributor.
      shapley: Shapley values, one seed per row.
      others: Values by baseline.
    """
    means = shapley.mean(0)
    best, worst = int(np.argmax(means)), int(np.argmin(means))
    rank = {name: spearman(means, each).value for name, each in others.items()}
    nearest = max(rank, key=lambda name: np.nan_to_num(rank[name]))
    return (
        f"To the untrained network {names[best]} ({sizes[best]} images) is worth most "
        f"and {names[worst]} ({sizes[worst]} images) least; {len(shapley)} "
        f"initialisations resolve {beats_next(shapley).sum()} of {len(names) - 1} "
        f"neighbouring places, and of the baselines {nearest} ranks most like it "
        f"(Spearman {rank[nearest]:.2f})."
    )


def _plain(name: str) -> str:
    return name.replace(" ", "_")
