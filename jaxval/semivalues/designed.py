r"""Estimators on the sampling design: enumerated borders, strata, cross-fitted games.

Each is a method of estimation (`methods`, `cross_fitting`) and the sizes that it wants
drawn; `run` drives them in rounds, and the samples of one run serve every semi-value
(`DesignState.revalued`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from jaxval._checks import check, whole_number
from jaxval.semivalues import weights as _weights
from jaxval.semivalues.bases import BySize, Constant, Linear, Quadratic
from jaxval.semivalues.cross_fitting import CrossFitted
from jaxval.semivalues.methods import (
    Estimated,
    HorvitzThompson,
    KernelBanzhaf,
    KernelShap,
    SampleReuse,
    StratifiedByPlayer,
)
from jaxval.semivalues.sampling_design import Samples, size_law
from jaxval.types import Ends

__all__ = [
    "DesignEstimator",
    "DesignState",
    "cross_fitted",
    "designed_kernel_banzhaf",
    "designed_kernel_shap",
    "designed_msr",
    "horvitz_thompson",
    "stratified_svarm",
]

_MOST_PAIRS = 20
"""Players up to which the cross-fitted game has a term for each pair."""

Method = Callable[
    [Samples, Float[np.ndarray, " m"], Ends, Float[np.ndarray, " n"]], Estimated
]
"""Samples, their scores, the endpoints and the size distribution to values."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DesignEstimator:
    """An estimator that samples coalitions in rounds of a stratified design.

    Attributes:
      settings: Settings in words; part of a checkpoint's identity.
      num_players: $n$.
      log_weights: Logarithms of the semi-value's weights, as `weights.resolve` gives.
      method: Values from samples and scores.
      is_paired: Whether coalitions come with their complements.
      first: Evaluations of the first round, where no budget is known beforehand.
    """

    settings: str
    num_players: int
    log_weights: tuple[float, ...]
    method: Method
    is_paired: bool
    first: int

    @property
    def unit(self) -> str:
        """Name of one independent unit."""
        return "complementary pair" if self.is_paired else "coalition"

    @property
    def shares(self) -> Float[np.ndarray, " n"]:
        """$p_k$, the size distribution of the semi-value."""
        return _weights.size_distribution(np.asarray(self.log_weights))

    @property
    def law(self) -> Float[np.ndarray, " inner"]:
        """How often each size is drawn."""
        return size_law(self.shares, is_mirrored=self.is_paired)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DesignState:
    """What a run on the design leaves: all samples and their scores.

    Attributes:
      samples: Coalitions of all finished rounds.
      scores: Score of each.
      ends: Scores of the empty and of the grand coalition.
      budgets: Evaluations planned for each round.
      method: Method of the run.
    """

    samples: Samples
    scores: Float[np.ndarray, " m"]
    ends: Ends
    budgets: Int[np.ndarray, " rounds"]
    method: Method

    def revalued(
        self, weights: _weights.Weights, method: Method | None = None
    ) -> Estimated:
        r"""Another semi-value from the same samples, with its own errors.

        Args:
          weights: Function from `weights`, or an array of $\log w(k)$; its sizes must
            be among those that the run drew.
          method: Method of estimation; that of the run when left out.

        Raises:
          ValueError: If a size with weight was never drawn.
        """
        n = self.samples.num_players
        shares = _weights.size_distribution(_weights.resolve(weights, n))
        sizes = np.arange(1, n)
        needed = sizes[(shares[:-1] > 1e-12) | (shares[1:] > 1e-12)]
        missing = np.setdiff1d(needed, self.samples.sizes)
        check(
            missing.size == 0,
            f"weights need coalitions of sizes {missing[:5].tolist()}, which this run "
            "did not draw: run an estimator of that semi-value.",
        )
        return (method or self.method)(self.samples, self.scores, self.ends, shares)


def cross_fitted(
    num_players: int, weights: _weights.Weights = _weights.shapley
) -> DesignEstimator:
    r"""Cross-fitted regression adjustment on enumerated borders and strata.

    The basis (a constant, the size, each player, each pair up to 20 players) is chosen
    by the variance that it leaves out of fold; unbiased whatever it is.

    Args:
      num_players: $n$, 2 at least.
      weights: Function from `weights`, or an array of $\log w(k)$.

    Example:
      >>> import jax
      >>> from jaxval.coalitions.game import Game
      >>> from jaxval.semivalues import run, stopping
      >>> game = Game(12, lambda mask: 1.0 - 0.5 ** mask.sum())
      >>> out = run(
      ...     jax.random.key(0), cross_fitted(12), game, until=stopping.budget(500)
      ... )
      >>> out.num_evaluations, bool(abs(out.values.sum() - 1 + 0.5**12) < 1e-9)
      (500, True)

    References:
      Witter, Liu and Musco, *Regression-adjusted Monte Carlo estimators for Shapley
      values and probabilistic values*, NeurIPS 2025.
    """
    n = num_players
    bases = (Constant(n), BySize(n), Linear(n))
    if n <= _MOST_PAIRS:
        bases = (*bases, Quadratic(n))
    return _designed("cross_fitted", n, weights, CrossFitted(bases))


def horvitz_thompson(
    num_players: int, weights: _weights.Weights = _weights.banzhaf
) -> DesignEstimator:
    r"""The plain unbiased estimate on the design.

    Args:
      num_players: $n$, 2 at least.
      weights: Function from `weights`, or an array of $\log w(k)$.

    Example:
      >>> horvitz_thompson(6).unit
      'complementary pair'

    References:
      Horvitz and Thompson, *A generalization of sampling without replacement from a
      finite universe*, 1952.
    """
    return _designed("horvitz_thompson", num_players, weights, HorvitzThompson())


def designed_msr(
    num_players: int, weights: _weights.Weights = _weights.banzhaf
) -> DesignEstimator:
    r"""Maximum sample reuse on the design, a difference of two weighted means.

    Args:
      num_players: $n$, 2 at least.
      weights: Function from `weights`, or an array of $\log w(k)$.

    Example:
      >>> designed_msr(6).num_players
      6

    References:
      Wang and Jia, *Data Banzhaf*, AISTATS 2023, section 5.
    """
    return _designed("msr", num_players, weights, SampleReuse())


def stratified_svarm(
    num_players: int, weights: _weights.Weights = _weights.shapley
) -> DesignEstimator:
    r"""Means by player and size, each coalition serving all players.

    Args:
      num_players: $n$, 2 at least.
      weights: Function from `weights`, or an array of $\log w(k)$.

    Example:
      >>> stratified_svarm(6).num_players
      6

    References:
      Kolpaczki, Bengs, Muschalik and Hüllermeier, *Approximating the Shapley value
      without marginal contributions*, AAAI 2024.
    """
    return _designed("stratified_svarm", num_players, weights, StratifiedByPlayer())


def designed_kernel_shap(num_players: int) -> DesignEstimator:
    r"""Kernel SHAP on the design: borders enumerated, strata without replacement.

    Args:
      num_players: $n$, 2 at least.

    Example:
      >>> designed_kernel_shap(6).is_paired
      True

    References:
      Covert and Lee, *Improving KernelSHAP*, AISTATS 2021.
    """
    return _designed("kernel_shap", num_players, _weights.shapley, KernelShap())


def designed_kernel_banzhaf(
    num_players: int, *, probability: float = 0.5
) -> DesignEstimator:
    r"""Kernel Banzhaf on the design, with the endpoints in the fit.

    Args:
      num_players: $n$, 2 at least.
      probability: Chance $p$ of each player to be in a coalition.

    Example:
      >>> designed_kernel_banzhaf(6, probability=0.3).is_paired
      False

    References:
      Liu, Witter, Korn and others, *Kernel Banzhaf*, 2024.
    """
    weigh = _weights.weighted_banzhaf(probability)
    return _designed("kernel_banzhaf", num_players, weigh, KernelBanzhaf(probability))


def _designed(
    name: str, num_players: int, weights: _weights.Weights, method: Method
) -> DesignEstimator:
    whole_number("num_players", num_players, at_least=2)
    log_weights = _weights.resolve(weights, num_players)
    shares = _weights.size_distribution(log_weights)
    check(
        shares[:-1].sum() > 0 and shares[1:].sum() > 0,
        "weights lie on the last or the first size alone, which need no sampling: "
        "use exact.leave_one_out.",
    )
    paired = bool(np.allclose(shares, shares[::-1]))
    return DesignEstimator(
        settings=f"{name}({num_players}, shares={_weights.digest(shares)})",
        num_players=num_players,
        log_weights=tuple(log_weights.tolist()),
        method=method,
        is_paired=paired,
        first=max(64, 4 * num_players),
    )
