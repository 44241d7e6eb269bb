r"""Semi-values from samples of coalitions: ratios, strata by player, weighted fits.

Each function takes the same samples and gives values with standard errors: whatever the
sampler drew serves every semi-value whose sizes it drew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxval.semivalues.inclusion import (
    Total,
    blocks,
    combined_weights,
    payments,
    total,
)
from jaxval.semivalues.sampling_design import Samples
from jaxval.types import Ends, ValueEstimate

__all__ = [
    "Estimated",
    "HorvitzThompson",
    "KernelBanzhaf",
    "KernelShap",
    "SampleReuse",
    "StratifiedByPlayer",
]


Scores = Float[np.ndarray, " m"]
Shares = Float[np.ndarray, " n"]


class Estimated(NamedTuple):
    """Values and what is known of their errors.

    Attributes:
      estimate: Values, standard errors; counts are units, degrees those of the design.
      covariance: Of the values; `None` above 256 players.
      choice: Name of what the method chose, if it chose.
    """

    estimate: ValueEstimate
    covariance: Float[np.ndarray, "n n"] | None
    choice: str = ""


@dataclasses.dataclass(frozen=True)
class HorvitzThompson:
    r"""The unbiased sum of scores less $c = (v(\emptyset) + v(N)) / 2$."""

    def __call__(
        self, samples: Samples, scores: Scores, ends: Ends, shares: Shares
    ) -> Estimated:
        """Values from samples and their scores."""
        middle = (ends.empty + ends.full) / 2
        weights = combined_weights(samples)
        part = remainder(samples, weights, scores - middle, shares)
        known = shares[-1] * (ends.full - middle) - shares[0] * (ends.empty - middle)
        return estimated(part, part.values + known)


@dataclasses.dataclass(frozen=True)
class SampleReuse:
    r"""Difference of two weighted means: of coalitions with a player, and without it.

    $$\hat\phi_i = \frac{p_{n-1} v(N) + \sum_j \omega_j a_j \mathbb 1[i \in S_j] v_j}
    {p_{n-1} + \sum_j \omega_j a_j \mathbb 1[i \in S_j]} - \frac{p_0 v(\emptyset) +
    \sum_j \omega_j b_j \mathbb 1[i \notin S_j] v_j}
    {p_0 + \sum_j \omega_j b_j \mathbb 1[i \notin S_j]}$$

    A ratio, biased at order one over the units; its error is linearised.

    References:
      Wang and Jia, *Data Banzhaf*, AISTATS 2023, section 5.
    """

    def __call__(
        self, samples: Samples, scores: Scores, ends: Ends, shares: Shares
    ) -> Estimated:
        """Values from samples and their scores."""
        weights = combined_weights(samples)
        a, b = (weights * each for each in payments(samples, shares))
        n, every = samples.num_players, np.arange(len(samples))
        sums = np.zeros((4, n))
        for rows, masks in blocks(samples, every):
            inside, outside = masks.T @ np.c_[a, a * scores][rows], (~masks).T
            outside = outside @ np.c_[b, b * scores][rows]
            sums += np.concatenate([inside.T, outside.T])
        mass_in, mass_out = sums[0] + shares[-1], sums[2] + shares[0]
        mean_in = _over(sums[1] + shares[-1] * ends.full, mass_in)
        mean_out = _over(sums[3] + shares[0] * ends.empty, mass_out)

        def vectors(rows: Any, masks: Any) -> Any:
            score = scores[rows][:, None]
            inside = masks * (a[rows][:, None] * (score - mean_in) / mass_in)
            outside = ~masks * (b[rows][:, None] * (score - mean_out) / mass_out)
            return inside - outside

        return estimated(total(samples, vectors), mean_in - mean_out)


@dataclasses.dataclass(frozen=True)
class StratifiedByPlayer:
    r"""Means by player and size: every coalition serves every player, in its size.

    $$\hat\phi_i = \sum_k p_{k-1} \bar v^{+}_{ik} - p_k \bar v^{-}_{ik}$$

    with $\bar v^{\pm}_{ik}$ the mean score of the sampled coalitions of size $k$ with,
    or without, player $i$; where there is none, the mean of all of that size.

    References:
      Kolpaczki, Bengs, Muschalik and Hüllermeier, *Approximating the Shapley value
      without marginal contributions*, AAAI 2024 (Stratified SVARM).
    """

    def __call__(
        self, samples: Samples, scores: Scores, ends: Ends, shares: Shares
    ) -> Estimated:
        """Values from samples and their scores."""
        weights, n = combined_weights(samples), samples.num_players
        order = np.argsort(samples.sizes, kind="stable")
        bounds = np.flatnonzero(np.diff(samples.sizes[order])) + 1
        means = {}
        values = np.full(n, shares[-1] * ends.full - shares[0] * ends.empty)
        for rows in np.split(order, bounds):
            k = int(samples.sizes[rows[0]])
            sums = np.zeros((4, n))
            for some, masks in blocks(samples, rows):
                w = np.c_[weights, weights * scores][some]
                sums += np.concatenate([(masks.T @ w).T, ((~masks).T @ w).T])
            middle = _over(sums[1] + sums[3], sums[0] + sums[2])
            pair = tuple(
                (np.where(mass > 0, _over(score, mass), middle), mass)
                for mass, score in (sums[:2], sums[2:])
            )
            means[k] = pair
            values += shares[k - 1] * pair[0][0] - shares[k] * pair[1][0]

        def vectors(rows: Any, masks: Any) -> Any:
            out = np.zeros(masks.shape)
            for k in np.unique(samples.sizes[rows]):
                at = samples.sizes[rows] == k
                w, v = weights[rows][at][:, None], scores[rows][at][:, None]
                (mean_in, mass_in), (mean_out, mass_out) = means[int(k)]
                up = masks[at] * w * (v - mean_in) * _over(shares[k - 1], mass_in)
                down = ~masks[at] * w * (v - mean_out) * _over(shares[k], mass_out)
                out[at] = up - down
            return out

        return estimated(total(samples, vectors), values)


@dataclasses.dataclass(frozen=True)
class KernelShap:
    r"""The weighted least squares whose solution is the Shapley value, from samples.

    Minimises $\sum_j \frac{\omega_j}{k_j (n - k_j)} (v_j - v(\emptyset) - z_j
    \beta)^2$ among the $\beta$ that sum to $v(N) - v(\emptyset)$: efficient by
    construction. Biased at order one over the units; the error is linearised.

    References:
      Lundberg and Lee, *A unified approach to interpreting model predictions*, 2017;
      Covert and Lee, *Improving KernelSHAP*, AISTATS 2021.
    """

    def __call__(
        self, samples: Samples, scores: Scores, ends: Ends, shares: Shares
    ) -> Estimated:
        """Shapley values from samples and their scores."""
        n, size = samples.num_players, samples.sizes
        weights = combined_weights(samples) / (size * (n - size))
        share, worth = size / n, ends.full - ends.empty
        target = scores - ends.empty - share * worth
        row = lambda rows, masks: masks - share[rows][:, None]
        gram, moment = _normal_equations(samples, weights, row, target)
        # The rows are orthogonal to the vector of ones; fill in that direction.
        inverse = np.linalg.inv(gram + np.ones((n, n)) * (np.trace(gram) / n**2))
        beta = inverse @ moment

        def vectors(rows: Any, masks: Any) -> Any:
            z = row(rows, masks)
            left = weights[rows] * (target[rows] - z @ beta)
            return (z * left[:, None]) @ inverse

        return estimated(total(samples, vectors), worth / n + beta)


@dataclasses.dataclass(frozen=True)
class KernelBanzhaf:
    r"""The weighted Banzhaf value as the best linear fit under random coalitions.

    With every player in with probability $p$, independently, the slope of $v$ in $z_i$
    is the value. The empty and the grand coalition are in the fit with the chances that
    they have, at no extra cost.

    References:
      Liu, Witter, Korn and others, *Kernel Banzhaf*, 2024.
    """

    probability: float = 0.5

    def __call__(
        self, samples: Samples, scores: Scores, ends: Ends, shares: Shares
    ) -> Estimated:
        """(Weighted) Banzhaf values from samples and their scores."""
        n, p = samples.num_players, self.probability
        size = np.arange(n + 1)
        # Chance of each size: a player joins a coalition of k others with chance p.
        chance = np.r_[shares * (1 - p), 0.0] + np.r_[0.0, shares * p]
        weights = combined_weights(samples) * chance[samples.sizes]
        middle = (ends.empty + ends.full) / 2
        target = scores - middle
        row = lambda rows, masks: np.c_[masks - p, np.ones(len(masks))]
        gram, moment = _normal_equations(samples, weights, row, target, n + 1)
        for end, k in ((ends.empty, 0), (ends.full, n)):
            z = np.r_[np.full(n, (k == n) - p), 1.0]
            gram += chance[size[k]] * np.outer(z, z)
            moment += chance[size[k]] * z * (end - middle)
        inverse = np.linalg.inv(gram)
        beta = inverse @ moment

        def vectors(rows: Any, masks: Any) -> Any:
            z = row(rows, masks)
            left = weights[rows] * (target[rows] - z @ beta)
            return (z * left[:, None]) @ inverse[:, :n]

        return estimated(total(samples, vectors), beta[:n])


def remainder(samples: Samples, weights: Scores, left: Scores, shares: Shares) -> Total:
    r"""$\sum_j \omega_j x_j (a_j \mathbb 1[i \in S_j] - b_j \mathbb 1[i \notin S_j])$.

    Args:
      samples: Coalitions.
      weights: Inclusion weights.
      left: $x_j$, what is left of each score.
      shares: Size distribution of the semi-value.
    """
    a, b = (weights * left * each for each in payments(samples, shares))
    both = a + b
    return total(
        samples, lambda rows, masks: masks * both[rows][:, None] - b[rows][:, None]
    )


def estimated(part: Total, values: Shares, choice: str = "") -> Estimated:
    """Values with the errors of a total."""
    counts = np.full(len(values), part.num_units)
    estimate = ValueEstimate(values, np.sqrt(part.variance), counts, part.freedom)
    return Estimated(estimate, part.covariance, choice)


def _normal_equations(
    samples: Samples,
    weights: Scores,
    row: Callable[[Any, Any], Any],
    target: Scores,
    columns: int | None = None,
) -> tuple[Any, Any]:
    columns = samples.num_players if columns is None else columns
    gram, moment = np.zeros((columns, columns)), np.zeros(columns)
    for rows, masks in blocks(samples, np.arange(len(samples))):
        z = row(rows, masks)
        weighted = z * weights[rows][:, None]
        gram += weighted.T @ z
        moment += weighted.T @ target[rows]
    return gram, moment


def _over(a: Any, b: Any) -> Any:
    return np.where(b > 0, a / np.where(b > 0, b, 1.0), 0.0)
