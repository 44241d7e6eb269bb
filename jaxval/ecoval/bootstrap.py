"""Standard errors of EcoVal by doing all of it again, and sums for contributors."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from jaxval._checks import check, same_length
from jaxval._targets import numbers, owners
from jaxval.ecoval.fitted import Fitted
from jaxval.ecoval.pipeline import values
from jaxval.ecoval.records import FULL, Terms
from jaxval.ecoval.unseen import unseen_values
from jaxval.evaluation import bootstrap_stderr
from jaxval.types import Points, PRNGKey, ValueEstimate

__all__ = ["bootstrap", "owner_sums"]


def bootstrap(
    key: PRNGKey,
    refit: Callable[[PRNGKey, Points, Points | None], Fitted],
    points: Points,
    pool: Points | None = None,
    *,
    num_resamples: int = 20,
    resample: bool = True,
    terms: Terms = FULL,
) -> ValueEstimate:
    r"""EcoVal's values, with standard errors from repetitions of the whole procedure.

    Each repetition draws $B$ and the pool anew with replacement, clusters them, leaves
    clusters out, values representatives and fits $R$; then it values the points of the
    original $B$ as unseen ones. What varies is everything: which data there are, the
    mixture's start, the representatives, their permutations. The validation data stay.

    Args:
      key: PRNG key of the resamples and of the fits.
      refit: Function `lambda key, points, pool: fit(key, utility, points, pool, ...)`.
      points: Points $B$ to be valued.
      pool: Rest of the distribution.
      num_resamples: Number $R$ of repetitions; the standard error itself is good to
        about $1/\sqrt{2 R}$ of its size.
      resample: Whether the data are drawn anew; `False` keeps them, and the error is
        that of the algorithm's own randomness alone.
      terms: Adjustment factors to apply.

    Returns:
      Values of the first fit to the data as they are, the standard deviation over the
      repetitions, and their number.

    Raises:
      ValueError: with fewer than 2 repetitions.

    Example:
      >>> from jaxval import Game
      >>> from jaxval.ecoval import clusters, fit
      >>> score = lambda mask: 0.1 * mask.sum()
      >>> size = lambda x, y: Game(len(x), score, on_host=True)
      >>> x = np.arange(6.0)[:, None]
      >>> one = clusters.given(lambda x: np.zeros(len(x), int), x, 1)
      >>> refit = lambda key, points, pool: fit(key, size, points, clustering=one)
      >>> points = Points(x, x[:, 0])
      >>> out = bootstrap(jax.random.key(0), refit, points, num_resamples=2)
      >>> round(float(out.values.sum()), 6), out.stderr.shape
      (0.6, (6,))

    References:
      Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993.
    """
    check(num_resamples >= 2, f"num_resamples must be at least 2; got {num_resamples}.")
    original = refit(jax.random.fold_in(key, 0), points, pool)
    draws = []
    for i in range(1, num_resamples + 1):
        fit_key, *draw_keys = jax.random.split(jax.random.fold_in(key, i), 3)
        data, rest = points, pool
        if resample:
            data = _resampled(draw_keys[0], points)
            rest = None if pool is None else _resampled(draw_keys[1], pool)
        again = refit(fit_key, data, rest)
        draws.append(np.asarray(unseen_values(again, points, terms=terms).values))
    return ValueEstimate(
        np.asarray(values(original, terms).values),
        bootstrap_stderr(np.stack(draws)),
        np.full(len(points.x), num_resamples),
    )


def owner_sums(point_values: Any, owner: Any) -> Float[np.ndarray, " owners"]:
    """Values of contributors: the sums of the values of their points.

    Args:
      point_values: Values, one per point.
      owner: Contributor, 0 to K-1, of each point.

    Raises:
      ValueError: if the lengths differ or an owner has no point.

    Example:
      >>> owner_sums(np.array([0.25, 0.5, 1.0]), np.array([0, 1, 0])).tolist()
      [1.25, 0.5]
    """
    point_values = numbers("point_values", point_values, ndim=1)
    owner = owners("owner", owner)
    same_length(point_values=point_values, owner=owner)
    return np.bincount(owner, point_values)


def _resampled(key: PRNGKey, points: Points) -> Points:
    rows = np.asarray(jax.random.randint(key, (len(points.x),), 0, len(points.x)))
    return Points(np.asarray(points.x)[rows], np.asarray(points.y)[rows])
