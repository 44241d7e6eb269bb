r"""Totals over samples of coalitions, with the variance of the stratified design.

An estimate is a sum over the sampled coalitions of one vector each (or is close to one:
ratios and fits are linearised at their estimate). A *unit*, a coalition or a
complementary pair, contributes the sum of its vectors; the variance is that of a
stratified sample without replacement,

$$\operatorname{Var} = \sum_h (1 - f_h)\, \frac{m_h}{m_h - 1}
  \sum_{u \in h} (c_u - \bar c_h)^2,$$

over the strata of all rounds, with $m_h$ units drawn, a share $f_h$ of those there are;
its degrees of freedom are Satterthwaite's. Enumerated sizes add none.

References:
  Cochran, *Sampling techniques*, 1977, sections 5.4, 5.6 and 6.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import gammaln

from jaxval.semivalues.sampling_design import Samples

__all__ = [
    "MAX_COVARIANCE",
    "Total",
    "blocks",
    "combined_weights",
    "payments",
    "population",
    "total",
]

MAX_COVARIANCE = 256
"""Players up to which the covariance is kept."""

_BLOCK = 2**22
"""Entries of masks unpacked at once."""

Vectors = Callable[
    [Int[np.ndarray, " block"], Bool[np.ndarray, "block n"]],
    Float[np.ndarray, "block n"],
]
"""Rows of the samples and their masks to one vector each."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Total:
    """A sum over samples.

    Attributes:
      values: The sum.
      variance: Variance of each entry; NaN where a stratum holds one unit only.
      freedom: Degrees of freedom of each variance; infinite where all was enumerated.
      covariance: Covariance of the entries; `None` above `MAX_COVARIANCE`.
      num_units: Units behind it.
    """

    values: Float[np.ndarray, " n"]
    variance: Float[np.ndarray, " n"]
    freedom: Float[np.ndarray, " n"]
    covariance: Float[np.ndarray, "n n"] | None
    num_units: int


def combined_weights(samples: Samples) -> Float[np.ndarray, " m"]:
    r"""Inclusion weights over all rounds together.

    Rounds count by their sampled units; a size that some round enumerated counts there
    alone, exactly.

    Args:
      samples: Coalitions of all rounds.

    Example:
      >>> import jax
      >>> from jaxval.semivalues.sampling_design import plan_round
      >>> from jaxval.semivalues.sampling_draws import draw_round, empty_samples
      >>> plan = plan_round(0, np.full(9, 1 / 9), 60, is_paired=True)
      >>> samples = draw_round(jax.random.key(0), plan, empty_samples(10))
      >>> bool(np.allclose(combined_weights(samples), samples.weights))
      True
    """
    sampled = ~np.isin(samples.sizes, _enumerated(samples))
    num_rounds = int(samples.round.max(initial=-1)) + 1
    counts = np.bincount(samples.round[sampled], minlength=num_rounds)
    share = counts / max(counts.sum(), 1)
    weights = np.where(sampled, samples.weights * share[samples.round], 0.0)
    return np.where(samples.is_enumerated, samples.weights, weights)


def payments(
    samples: Samples, shares: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    r"""What a coalition's score pays its members, and what it takes from the others.

    $\tfrac{n}{k} p_{k-1}$ and $\tfrac{n}{n-k} p_k$ for a coalition of size $k$, before
    its inclusion weight.

    Args:
      samples: Coalitions.
      shares: $p_k$, the size distribution of the semi-value.
    """
    n, size = samples.num_players, samples.sizes
    return shares[size - 1] * n / size, shares[size] * n / (n - size)


def total(samples: Samples, vectors: Vectors) -> Total:
    """The sum of one vector per coalition, and its variance under the design.

    Args:
      samples: Coalitions.
      vectors: Rows and masks to vectors; inclusion weights are theirs to apply.
    """
    n = samples.num_players
    values, variance, squares = np.zeros(n), np.zeros(n), np.zeros(n)
    num_sampled, num_strata = 0, 0
    covariance = np.zeros((n, n)) if n <= MAX_COVARIANCE else None
    num_units = 0
    for rows, left_out in _strata(samples):
        units = _unit_sums(samples, rows, vectors)  # (units, n)
        values += units.sum(0)
        num_units += len(units)
        if left_out == 0.0:
            continue
        m = len(units)
        num_sampled, num_strata = num_sampled + m, num_strata + 1
        away = units - units.mean(0)
        scale = left_out * m / (m - 1) if m > 1 else np.nan
        part = scale * (away**2).sum(0)
        variance += part
        squares += part**2 / max(m - 1, 1)
        if covariance is not None:
            covariance += scale * (away.T @ away)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Units that all agree are no proof: only what is enumerated is exact.
        agreeing = float(num_sampled - num_strata) if num_strata else np.inf
        freedom = np.where(squares > 0, variance**2 / squares, agreeing)
        freedom = np.where(np.isnan(variance), 0.0, freedom)
    return Total(
        values=values,
        variance=variance,
        freedom=freedom,
        covariance=covariance,
        num_units=num_units,
    )


def blocks(samples: Samples, rows: Int[np.ndarray, " m"]) -> Iterator:
    """Blocks of rows with their unpacked masks, bounded in memory."""
    step = max(_BLOCK // samples.num_players, 1)
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        packed = samples.members[some]
        masks = np.unpackbits(packed, axis=1, count=samples.num_players)
        yield some, masks.astype(bool)


def _unit_sums(
    samples: Samples, rows: Int[np.ndarray, " m"], vectors: Vectors
) -> Float[np.ndarray, "units n"]:
    """The vectors of a stratum's units: those of a unit's coalitions added up."""
    _, unit = np.unique(samples.unit[rows], return_inverse=True)
    out = np.zeros((int(unit.max(initial=-1)) + 1, samples.num_players))
    start = 0
    for some, masks in blocks(samples, rows):
        place = unit[start : start + len(some)]
        np.add.at(out, place, vectors(some, masks))
        start += len(some)
    return out


def _strata(samples: Samples) -> Iterator[tuple[Int[np.ndarray, " m"], float]]:
    """Rows of each stratum, and the share of its units that was not drawn."""
    order = np.argsort(samples.stratum, kind="stable")
    bounds = np.flatnonzero(np.diff(samples.stratum[order])) + 1
    enumerated = _enumerated(samples)
    for rows in np.split(order, bounds):
        if not len(rows):
            continue
        if samples.is_enumerated[rows[0]]:
            yield rows, 0.0
            continue
        sizes = np.unique(samples.sizes[rows])
        # Sizes that another round enumerated weigh nothing in this one.
        if not np.isin(sizes, enumerated).all():
            drawn = len(np.unique(samples.unit[rows]))
            yield rows, max(1.0 - drawn / population(samples, rows), 0.0)


def population(samples: Samples, rows: Int[np.ndarray, " m"]) -> float:
    """Units that there are in a stratum of one size; infinite where they are too many.

    Args:
      samples: Coalitions.
      rows: Rows of one stratum.
    """
    n, sizes = samples.num_players, np.unique(samples.sizes[rows])
    small = np.unique(np.minimum(sizes, n - sizes))
    k = int(small[0])
    log_count = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    if len(small) > 1 or log_count > 40:
        return np.inf
    halved = 2 * k == n and len(np.unique(samples.unit[rows])) < len(rows)
    return float(np.round(np.exp(log_count)) / (2 if halved else 1))


def _enumerated(samples: Samples) -> Int[np.ndarray, " sizes"]:
    return np.unique(samples.sizes[samples.is_enumerated])
