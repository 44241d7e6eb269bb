r"""The weights of semi-values, in logarithms.

A semi-value is $\phi_i = \sum_{S \not\ni i} w(|S|)\,(v(S \cup i) - v(S))$ with
$\sum_k \binom{n-1}{k} w(k) = 1$: the expected contribution of a player to a coalition
whose *size* is drawn from $p_k = \binom{n-1}{k} w(k)$ and whose members are drawn
uniformly. Each function here maps $n$ to $\log w(0), \dots, \log w(n-1)$; at
$n = 10{,}000$ the weights themselves fall below $10^{-3000}$, and the logarithms stay
small.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.special import betaln, gammaln, logsumexp

from jaxval._checks import check, positive

__all__ = [
    "Weights",
    "banzhaf",
    "beta",
    "digest",
    "leave_group_out",
    "leave_one_out",
    "log_binomial",
    "resolve",
    "shapley",
    "size_distribution",
    "weighted_banzhaf",
]

LogWeights = Float[np.ndarray, " n"]
Weights = Callable[[int], LogWeights] | LogWeights
"""A function of the number of players, or the logarithms themselves."""


def shapley(num_players: int) -> Float[np.ndarray, " n"]:
    r"""$w(k) = 1 / (n \binom{n-1}{k})$: every size equally likely.

    Example:
      >>> np.exp(shapley(3)).round(4).tolist()
      [0.3333, 0.1667, 0.3333]

    References:
      Shapley, *A value for n-person games*, 1953.
    """
    return -np.log(num_players) - log_binomial(num_players - 1)


def banzhaf(num_players: int) -> Float[np.ndarray, " n"]:
    r"""$w(k) = 2^{-(n-1)}$: every coalition equally likely.

    Example:
      >>> np.exp(banzhaf(3)).tolist()
      [0.25, 0.25, 0.25]

    References:
      Wang and Jia, *Data Banzhaf*, AISTATS 2023.
    """
    return np.full(num_players, -(num_players - 1) * np.log(2.0))


def weighted_banzhaf(probability: float) -> Callable[[int], LogWeights]:
    r"""$w(k) = p^k (1-p)^{n-1-k}$: every other player joins with probability $p$.

    Args:
      probability: $p$, strictly between 0 and 1.

    Example:
      >>> np.exp(weighted_banzhaf(0.25)(3)).round(4).tolist()
      [0.5625, 0.1875, 0.0625]

    References:
      Li and Yu, *Robust data valuation with weighted Banzhaf values*, NeurIPS 2023.
    """
    check(
        0 < probability < 1,
        f"probability must lie strictly between 0 and 1; got {probability}. "
        "`leave_one_out` is the limit of 1.",
    )
    return _WeightedBanzhaf(probability)


def beta(a: float | int, b: float | int) -> Callable[[int], LogWeights]:
    r"""$w(k) = B(k + b,\, n-1-k + a) / B(a, b)$: the Beta$(a, b)$ Shapley value.

    A large $a$ favours small coalitions; Beta(1, 1) is the Shapley value.

    Args:
      a: First parameter, positive.
      b: Second parameter, positive.

    Example:
      >>> np.exp(beta(4, 1)(3)).round(4).tolist()
      [0.6667, 0.1333, 0.0667]

    References:
      Kwon and Zou, *Beta Shapley*, AISTATS 2022, equation 5.
    """
    positive("a", a)
    positive("b", b)
    return _Beta(a, b)


def leave_one_out(num_players: int) -> Float[np.ndarray, " n"]:
    r"""$w(n-1) = 1$: what is lost when a player alone leaves.

    Example:
      >>> np.exp(leave_one_out(3)).tolist()
      [0.0, 0.0, 1.0]
    """
    return leave_group_out(1)(num_players)


def leave_group_out(size: int) -> Callable[[int], LogWeights]:
    r"""$w(n-g) = 1 / \binom{n-1}{g-1}$: the last to leave of a random group of $g$.

    Leave-one-out is $g = 1$. With duplicates in the data, leaving one out finds
    nothing missing; leaving out groups does. For groups that are given, see
    `exact.leave_groups_out`.

    Args:
      size: $g$, the players in the group, the player itself included.

    Example:
      >>> np.exp(leave_group_out(2)(3)).tolist()
      [0.0, 0.5, 0.0]

    References:
      Dubey, Neyman and Weber, *Value theory without efficiency*, 1981.
    """
    check(size >= 1, f"size must be at least 1; got {size}.")
    return _LeaveGroupOut(size)


def log_binomial(n: int) -> Float[np.ndarray, " sizes"]:
    r"""$\log \binom{n}{k}$ for $k = 0, \dots, n$.

    Example:
      >>> np.exp(log_binomial(3)).round(6).tolist()
      [1.0, 3.0, 3.0, 1.0]
    """
    k = np.arange(n + 1)
    return gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)


def size_distribution(log_weights: LogWeights) -> Float[np.ndarray, " n"]:
    r"""$p_k = \binom{n-1}{k} w(k)$, the law of the size of the coalition joined.

    Example:
      >>> size_distribution(banzhaf(3)).tolist()
      [0.25, 0.5, 0.25]

    References:
      Dubey, Neyman and Weber, *Value theory without efficiency*, 1981.
    """
    return np.exp(log_binomial(len(log_weights) - 1) + log_weights)


def digest(share: LogWeights) -> str:
    """A short name for the weights, for the identity of a checkpoint."""
    return hashlib.sha256(np.round(share, 12).tobytes()).hexdigest()[:12]


def resolve(weights: Weights, num_players: int) -> Float[np.ndarray, " n"]:
    r"""Log weights for `num_players`, checked: one per size, normalised.

    Args:
      weights: Function such as `shapley`, or an array of $\log w(k)$.
      num_players: $n$.

    Returns:
      $\log w(0), \dots, \log w(n-1)$ in float64.

    Raises:
      ValueError: If there is not one weight per size, one is NaN or infinite, or
        $\sum_k \binom{n-1}{k} w(k)$ is not 1.

    Example:
      >>> resolve(np.log([0.5, 0.5]), 2).round(3).tolist()
      [-0.693, -0.693]
    """
    check(num_players >= 1, f"num_players must be at least 1; got {num_players}.")
    given = weights(num_players) if callable(weights) else weights
    log_weights = np.asarray(given, np.float64)
    check(
        log_weights.shape == (num_players,),
        f"weights must be {num_players} numbers log w(k), one for each size k of the "
        f"coalition joined, 0 to {num_players - 1}; got shape {log_weights.shape}.",
    )
    check(
        not (np.isnan(log_weights) | (log_weights == np.inf)).any(),
        "weights must be logarithms: finite, or -inf where a size has no weight.",
    )
    total = float(np.exp(logsumexp(log_binomial(num_players - 1) + log_weights)))
    check(
        abs(total - 1) < 1e-6,
        f"weights must satisfy sum_k C(n-1, k) w(k) = 1; got {total:.6g}. Subtract "
        "the logarithm of that number, or check that these are log w(k) and not w(k).",
    )
    return log_weights


@dataclasses.dataclass(frozen=True)
class _WeightedBanzhaf:
    probability: float

    def __call__(self, num_players: int) -> LogWeights:
        k = np.arange(num_players)
        others = num_players - 1 - k
        return k * np.log(self.probability) + others * np.log1p(-self.probability)


@dataclasses.dataclass(frozen=True)
class _Beta:
    a: float | int
    b: float | int

    def __call__(self, num_players: int) -> LogWeights:
        k = np.arange(num_players)
        upper = num_players - 1 - k + self.a
        return betaln(k + self.b, upper) - betaln(self.a, self.b)


@dataclasses.dataclass(frozen=True)
class _LeaveGroupOut:
    size: int

    def __call__(self, num_players: int) -> LogWeights:
        check(
            self.size <= num_players,
            f"size must be at most the number of players, {num_players}; got "
            f"{self.size}.",
        )
        last = num_players - self.size
        out = np.full(num_players, -np.inf)
        out[last] = -log_binomial(num_players - 1)[last]
        return out
