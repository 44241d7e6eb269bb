r"""Cross-fitted regression adjustment: only what a fitted game leaves is sampled.

$\phi(v) = \phi(g) + \phi(v - g)$ for any game $g$ whose semi-values are known. Here $g$
is a linear combination of basis games, fitted to all folds of the sampled coalitions
but the one it corrects, so that the estimate stays unbiased whatever the fit;
enumerated sizes are corrected exactly. The basis is the one whose out-of-fold
remainder leaves the smallest estimated variance.

References:
  Witter, Liu and Musco, *Regression-adjusted Monte Carlo estimators for Shapley values
  and probabilistic values*, NeurIPS 2025; Chernozhukov et al., *Double/debiased machine
  learning*, 2018 (cross-fitting).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxval.semivalues.bases import Basis
from jaxval.semivalues.inclusion import Total, combined_weights, population
from jaxval.semivalues.methods import (
    Estimated,
    Scores,
    Shares,
    estimated,
    remainder,
)
from jaxval.semivalues.sampling_design import Samples
from jaxval.types import Ends

__all__ = ["CrossFitted"]

Folds = Int[np.ndarray, " m"]


@dataclasses.dataclass(frozen=True)
class CrossFitted:
    """Semi-values by cross-fitted regression adjustment.

    Attributes:
      bases: Bases to choose from; those with more terms than half the coalitions are
        left out, but for the first.
      num_folds: Folds of the cross-fitting.
      penalty: Multiplier of the squared norm of the fit: a matter of variance, never of
        bias.
    """

    bases: tuple[Basis, ...]
    num_folds: int = 10
    penalty: float = 0.1

    def __call__(
        self, samples: Samples, scores: Scores, ends: Ends, shares: Shares
    ) -> Estimated:
        """Values from samples and their scores."""
        weights = combined_weights(samples)
        middle = (ends.empty + ends.full) / 2
        folds = _folds(samples, self.num_folds)
        fitted = []
        for basis in self.bases:
            if fitted and 2 * basis.num_terms > len(samples):
                continue
            part, known = self._adjust(
                basis, samples, weights, scores - middle, shares, folds
            )
            name = type(basis).__name__.lower()
            fitted.append((np.nansum(part.variance), name, part, known))
        _, name, part, known = min(fitted, key=lambda each: each[0])
        known += shares[-1] * (ends.full - middle) - shares[0] * (ends.empty - middle)
        values = part.values + known
        return estimated(part, values, name)

    def _adjust(
        self,
        basis: Basis,
        samples: Samples,
        weights: Scores,
        target: Scores,
        shares: Shares,
        folds: Folds,
    ) -> tuple[Total, Shares]:
        """The remainder under one basis, and the values of what was fitted."""
        n, k = samples.num_players, self.num_folds
        features = basis.features(samples.masks())  # (m, terms)
        theta = _fits(features, target, folds, k, self.penalty)  # (folds, terms)
        mean = theta.mean(0)
        left = target[:, None] - features @ theta.T  # (m, folds)
        own = np.take_along_axis(left, np.minimum(folds, k - 1)[:, None], 1)[:, 0]
        own = np.where(samples.is_enumerated, target - features @ mean, own)
        part = remainder(samples, weights, own, shares)
        moved = _seen_by_the_fit(samples, left, own, folds, k)
        values = part.values + _by_fold(basis, samples, theta, folds, weights, shares)
        if moved.any():
            values += remainder(samples, weights, moved, shares).values
        part = dataclasses.replace(part, values=values)
        both = np.stack([np.zeros(n, bool), np.ones(n, bool)])
        empty, full = basis.features(both) @ mean
        known = basis.values(shares) @ mean - shares[-1] * full + shares[0] * empty
        return part, known


def _seen_by_the_fit(
    samples: Samples, left: Any, own: Scores, folds: Folds, num_folds: int
) -> Scores:
    r"""What makes cross-fitting unbiased where coalitions are drawn without return.

    Given the other folds' $a_k$ units, those of fold $k$ are drawn from the $C - a_k$
    that remain of a stratum; the mean remainder of all $C$ is that of the $a_k$, which
    is known, and $C - a_k$ times the fold's mean. Averaged over the folds, coalition
    $j$ of fold $k$ counts $(1 - a_k / C)$ times its own remainder, plus $m_l / C$ times
    that under the fit of each other fold $l$.

    Returns:
      What to add to each own remainder.
    """
    moved = np.zeros(len(own))
    for stratum in np.unique(samples.stratum[~samples.is_enumerated]):
        rows = np.flatnonzero(samples.stratum == stratum)
        there = population(samples, rows)
        if np.isinf(there):
            continue
        _, first = np.unique(samples.unit[rows], return_index=True)
        counts = np.bincount(folds[rows][first], minlength=num_folds)  # units per fold
        other = (left[rows] * counts).sum(1) - counts[folds[rows]] * own[rows]
        outside = len(first) - counts[folds[rows]]
        moved[rows] = (other - outside * own[rows]) / there
    return moved


def _by_fold(
    basis: Basis,
    samples: Samples,
    theta: Any,
    folds: Folds,
    weights: Scores,
    shares: Shares,
) -> Shares:
    r"""Values of $\sum_k \lambda_{hk}\, g_{\theta_k}$ beyond those of the mean fit.

    In stratum $h$ fold $k$ has a share $\lambda_{hk}$ of the units, not one in `folds`.
    """
    n, mean, values = samples.num_players, theta.mean(0), np.zeros(samples.num_players)
    enumerated = np.unique(samples.sizes[samples.is_enumerated])
    for stratum in np.unique(samples.stratum[~samples.is_enumerated]):
        rows = np.flatnonzero(samples.stratum == stratum)
        chance = np.bincount(folds[rows], minlength=len(theta)) / len(rows)
        gap = chance @ theta - mean
        # The round's share, from how its weights were combined with those of others.
        share = float((weights[rows] / samples.weights[rows]).max())
        for size in np.setdiff1d(np.unique(samples.sizes[rows]), enumerated):
            with_player, whole = basis.moments(gap, int(size))
            paid = shares[size - 1] * n / size * with_player
            values += share * (
                paid - shares[size] * n / (n - size) * (whole - with_player)
            )
    return values


def _fits(
    features: Any, target: Scores, folds: Folds, num_folds: int, penalty: float
) -> Any:
    """Coefficients fitted to all folds but each; enumerated coalitions are in all."""
    gram = [features[folds == k].T @ features[folds == k] for k in range(num_folds)]
    moment = [features[folds == k].T @ target[folds == k] for k in range(num_folds)]
    always = folds == num_folds
    whole = sum(gram) + features[always].T @ features[always]
    right = sum(moment) + features[always].T @ target[always]
    ridge = penalty * np.eye(features.shape[1])
    fits = [
        np.linalg.solve(whole - g + ridge, right - m)
        for g, m in zip(gram, moment, strict=True)
    ]
    return np.stack(fits)


def _folds(samples: Samples, num_folds: int) -> Int[np.ndarray, " m"]:
    """A fold for each unit, balanced within strata; `num_folds` where enumerated.

    Units within a stratum were drawn in random order, so their number decides.
    """
    folds = np.full(len(samples), num_folds)
    for stratum in np.unique(samples.stratum[~samples.is_enumerated]):
        rows = np.flatnonzero(samples.stratum == stratum)
        _, place = np.unique(samples.unit[rows], return_inverse=True)
        folds[rows] = (place + stratum) % num_folds
    return folds
