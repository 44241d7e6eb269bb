"""Paired comparisons of methods over samples of the data."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from scipy import stats

from jaxval.evaluation import mean_and_error

__all__ = ["MIN_SAMPLES", "significant", "verdict"]

MIN_SAMPLES = 5
"""With fewer samples no method is called better: with 3, a t of 4.3 comes by chance
once in 20 comparisons, and their own spread is hardly known."""

Differences = Mapping[str, Float[np.ndarray, " samples"]]


def significant(differences: Differences, level: float = 0.05) -> dict[str, bool]:
    """Which mean differences are not 0: paired t tests, by Holm for all at once.

    Args:
      differences: Difference in each sample, by baseline.
      level: Chance of a single false "yes" among all of them.

    Example:
      >>> significant({
      ...     "far": np.array([5.0, 6.0, 5.5, 6.5]),
      ...     "near": np.array([1.0, -2.0, 0.5, 1.5]),
      ... })
      {'far': True, 'near': False}

    References:
      Holm, *A simple sequentially rejective multiple test procedure*, 1979.
    """
    chance = {name: _p_value(each) for name, each in differences.items()}
    is_significant = dict.fromkeys(differences, False)
    for place, name in enumerate(sorted(chance, key=chance.__getitem__)):
        if chance[name] > level / (len(chance) - place):
            break
        is_significant[name] = True
    return is_significant


def verdict(subject: str, doing: str, differences: Differences) -> str:
    """Which baselines a method beats, and which beat it, as far as samples tell.

    Args:
      subject: The method.
      doing: What is compared, as in "removing points".
      differences: Lead of the method over each baseline, one per sample.
    """
    count = len(next(iter(differences.values())))
    if count < MIN_SAMPLES:
        few = "1 draw is" if count == 1 else f"{count} draws are"
        return f"{few} too few to say who is better in {doing}: take --draws 10."
    resolved = significant(differences)
    means = {name: each.mean() for name, each in differences.items()}
    better = [name for name in means if resolved[name] and means[name] < 0]
    beaten = [name for name in means if resolved[name] and means[name] > 0]
    tied = [name for name in means if not resolved[name]]
    parts = (
        (better, "worse than"),
        (tied, "not significantly different from"),
        (beaten, "better than"),
    )
    words = [f"{how} {', '.join(names)}" for names, how in parts if names]
    return (
        f"In {doing} {subject} is {'; '.join(words)} (paired t tests over {count} "
        f"draws, 5% for all {len(means)} baselines together)."
    )


def _p_value(differences) -> float:
    """Two-sided, of a mean this far from 0 if there were no difference."""
    mean, error = mean_and_error(differences)
    if not error > 0:
        return 1.0 if mean == 0 or len(differences) < 2 else 0.0
    return float(2 * stats.t.sf(abs(mean) / error, len(differences) - 1))
