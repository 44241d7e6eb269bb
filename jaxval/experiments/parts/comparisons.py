"""Paired comparisons over the draws of the `ecoval` experiment."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from scipy import stats

from jaxval import evaluation
from jaxval.evaluation import mean_and_error

__all__ = ["MIN_DRAWS", "leads", "told_apart", "verdict"]

MIN_DRAWS = 5
"""With fewer draws nobody is called better: with 3, a t of 4.3 comes by chance once in
20 comparisons, and their own spread is hardly known."""


def leads(drawn, kind: str, one: str, other: str) -> Float[np.ndarray, " draws"]:
    """Percent of area by which `one` beats `other`, in each draw.

    Args:
      drawn: the draws.
      kind: "removal", "addition" or "unseen".
      one: a method.
      other: its rival.
    """
    sign = +1 if kind == "addition" else -1
    area = lambda d, name: evaluation.area(getattr(d, kind)[name])
    return np.array([100 * sign * (area(d, one) - area(d, other)) for d in drawn])


def told_apart(
    gaps: Mapping[str, Float[np.ndarray, " draws"]], level: float = 0.05
) -> dict[str, bool]:
    """Which mean differences are not 0: paired t tests, by Holm for all at once.

    Args:
      gaps: the differences in each draw, by rival.
      level: chance of a single false "yes" among all of them.

    Example:
      >>> told_apart({
      ...     "far": np.array([5.0, 6.0, 5.5, 6.5]),
      ...     "near": np.array([1.0, -2.0, 0.5, 1.5]),
      ... })
      {'far': True, 'near': False}

    References:
      Holm, *A simple sequentially rejective multiple test procedure*, 1979.
    """
    chance = {name: _chance(gap) for name, gap in gaps.items()}
    apart = dict.fromkeys(gaps, False)
    for place, name in enumerate(sorted(chance, key=chance.__getitem__)):
        if chance[name] > level / (len(chance) - place):
            break
        apart[name] = True
    return apart


def verdict(drawn: Sequence, kind: str, doing: str) -> str:
    """Which rivals EcoVal beats, and which beat it, as far as that can be told."""
    if len(drawn) < MIN_DRAWS:
        few = "1 draw is" if len(drawn) == 1 else f"{len(drawn)} draws are"
        return f"{few} too few to say who is better in {doing}: take --draws 10."
    others = [name for name in getattr(drawn[0], kind) if name != "ecoval"]
    gaps = {name: leads(drawn, kind, "ecoval", name) for name in others}
    apart = told_apart(gaps)
    better = [name for name in others if apart[name] and gaps[name].mean() < 0]
    beaten = [name for name in others if apart[name] and gaps[name].mean() > 0]
    tied = [name for name in others if not apart[name]]
    parts = ((better, "worse than"), (tied, "not told from"), (beaten, "better than"))
    words = [f"{how} {', '.join(names)}" for names, how in parts if names]
    return (
        f"In {doing} EcoVal is {'; '.join(words)} (paired t tests over {len(drawn)} "
        f"draws, 5% for all {len(others)} rivals together)."
    )


def _chance(gap) -> float:
    """Two-sided, of a mean this far from 0 if there were no difference."""
    mean, error = mean_and_error(gap)
    if not error > 0:
        return 1.0 if mean == 0 or len(gap) < 2 else 0.0
    return float(2 * stats.t.sf(abs(mean) / error, len(gap) - 1))
