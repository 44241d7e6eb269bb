"""Removal and addition curves of methods over samples: areas, tables and pictures."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Num

from jaxval import evaluation
from jaxval.coalitions.game import Game
from jaxval.evaluation import Curve
from jaxval.reporting import Column
from jaxval.reporting.plots import COLOURS
from jaxval.types import PRNGKey

__all__ = ["Curves", "arrays", "column", "draw_bands", "leads", "of_methods", "plain"]

Curves = Mapping[str, Curve]
"""Curves of one sample, by method."""


def of_methods(
    key: PRNGKey,
    kind: Callable[..., Curve],
    game: Game,
    values: Mapping[str, Num[np.ndarray, " n"]],
    tie_break: Mapping[str, Num[np.ndarray, " n"]],
    num_steps: int,
    progress: Callable[[int, int, str], None],
) -> dict[str, Curve]:
    """A curve for each method; chance decides among points tied in all else.

    Args:
      key: PRNG key of what decides among ties.
      kind: Kind of curve: `evaluation.removal_curve` or `evaluation.addition_curve`.
      game: Game whose scores are of held-out data.
      values: Values of the points, by method.
      tie_break: Second criterion among equal values, for methods that have one.
      num_steps: Number of steps of each curve.
      progress: Called after each method.
    """
    curves = {}
    for place, (name, each) in enumerate(values.items()):
        chance = jax.random.uniform(jax.random.fold_in(key, place), each.shape)
        second = tie_break.get(name, np.zeros(len(each)))
        # (n,): rank by the second criterion and then by chance, so that nothing ties.
        rank = np.empty(len(each))
        rank[np.lexsort((np.asarray(chance), second))] = np.arange(len(each))
        steps = evaluation.even_steps(len(each), num_steps)
        curves[name] = kind(game, each, tie_break=rank, steps=steps)
        progress(place + 1, len(values), f"retraining along {len(each)} points")
    return curves


def leads(
    curves: Sequence[Curves], one: str, other: str, *, removal: bool
) -> Float[np.ndarray, " samples"]:
    """Percent of area by which a method beats another, in each sample.

    Args:
      curves: Curves of each sample.
      one: Name of the method.
      other: Name of the method it is compared with.
      removal: Whether players are removed, where the lower curve is the better one.
    """
    sign = -1 if removal else +1
    pairs = [(evaluation.area(c[one]), evaluation.area(c[other])) for c in curves]
    return np.array([100 * sign * (area - lower) for area, lower in pairs])


def column(
    name: str, numbers: Mapping[str, Float[np.ndarray, " samples"]], heading: str
) -> Column:
    """A column of means over samples with their standard errors.

    Args:
      name: Name of the column.
      numbers: Number of each sample, by row.
      heading: Heading in the terminal.
    """
    means, errors = zip(*map(evaluation.mean_and_error, numbers.values()), strict=True)
    return Column(name, list(means), list(errors), heading=heading, digits=3)


def arrays(kind: str, curves: Sequence[Curves]) -> dict[str, np.ndarray]:
    """Steps, and scores of each method, one sample per row.

    Args:
      kind: Prefix of the names.
      curves: Curves of each sample.
    """
    moved = next(iter(curves[0].values())).moved
    scores = {
        f"{kind}_{plain(name)}": np.array([each[name].scores for each in curves])
        for name in curves[0]
    }
    return {f"{kind}_moved": moved, **scores}


def plain(name: str) -> str:
    """The name of a method as that of a column or an array.

    Example:
      >>> plain("ecoval, no alpha"), plain("leave-one-out")
      ('ecoval_no_alpha', 'leave_one_out')
    """
    return name.replace(", ", "_").replace(" ", "_").replace("-", "_")


_DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))


def draw_bands(
    axes: Any, curves: Sequence[Curves], names: Sequence[str], title: str
) -> None:
    """Mean curves with one standard error to either side.

    Args:
      axes: Matplotlib `Axes`.
      curves: Curves of each sample.
      names: Methods to show, where they have a curve.
      title: Line above the axes.
    """
    for name, colour, dashes in zip(names, COLOURS, _DASHES, strict=False):
        if name not in curves[0]:
            continue
        band = evaluation.band([each[name] for each in curves])
        axes.plot(
            band.moved, band.mean, color=colour, label=name, lw=1.5, linestyle=dashes
        )
        width = np.nan_to_num(band.stderr)
        axes.fill_between(
            band.moved, band.mean - width, band.mean + width, color=colour, alpha=0.2
        )
    axes.set_title(title)
    axes.set_xlabel("points moved")
    axes.set_ylabel("held-out accuracy")
    axes.legend(fontsize=7)
