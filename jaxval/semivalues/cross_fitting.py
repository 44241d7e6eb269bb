r"""Cross-fitted regression adjustment: sample only what a fitted game leaves unexplained.

$\phi(v) = \phi(g) + \phi(v - g)$ for any game $g$ whose semi-values are known. Here $g$ is a
linear combination of basis games, fitted to all folds of the sampled coalitions but the
one it corrects, so that the estimate stays unbiased whatever the fit; enumerated sizes
are corrected exactly. The basis is the one whose out-of-fold remainder leaves the
smallest estimated variance.

References:
  Witter, Liu and Musco, *Regression-adjusted Monte Carlo estimators for Shapley values
  and probabilistic values*, NeurIPS 2025; Chernozhukov et al., *Double/debiased machine
  learning*, 2018 (cross-fitting).
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxval.semivalues.inclusion import combined_weights
from jaxval.semivalues.methods import Estimated, estimated, remainder
from jaxval.semivalues.sampling_design import Samples
from jaxval.types import Ends

__all__ = ["Basis", "BySize", "CrossFitted", "Linear", "Quadratic"]

_DEGREES = 5
"""Legendre polynomials of the share present, for many players."""

_BORDER = 4
"""Smallest and largest sizes with a term of their own, for many players."""

_ONE_EACH = 32
"""Players up to which every size has a term of its own."""


class Basis(Protocol):
    """Games to fit with, whose semi-values are known."""

    @property
    def num_terms(self) -> int:
        """Number of games in the basis."""
        ...

    def features(self, masks: Bool[np.ndarray, "m n"]) -> Float[np.ndarray, "m terms"]:
        """Score of each coalition under each game."""
        ...

    def values(self, shares: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n terms"]:
        """Semi-value of each player in each game."""
        ...


@dataclasses.dataclass(frozen=True)
class Constant:
    """No game at all: scores are counted from the mean of the endpoints."""

    num_players: int

    @property
    def num_terms(self) -> int:
        """None."""
        return 0

    def features(self, masks):
        """No columns."""
        return np.zeros((len(masks), 0))

    def values(self, shares):
        """No columns."""
        return np.zeros((self.num_players, 0))


@dataclasses.dataclass(frozen=True)
class BySize:
    """Games of the size alone: for games that saturate after a few players.

    One term per size up to 32 players; beyond, one for each of the four smallest and
    largest sizes and Legendre polynomials of the share present.
    """

    num_players: int

    @property
    def num_terms(self) -> int:
        """Number of terms in the size."""
        return self._by_size().shape[1]

    def features(self, masks):
        """Terms of each coalition's size."""
        return self._by_size()[masks.sum(1)]

    def values(self, shares):
        """Every player's mean step in size."""
        steps = np.diff(self._by_size(), axis=0)
        return np.tile(shares @ steps, (self.num_players, 1))

    def _by_size(self) -> Float[np.ndarray, "sizes terms"]:
        n = self.num_players
        each = np.eye(n + 1)[:, 1:n]
        if n <= _ONE_EACH:
            return each
        border = np.r_[0:_BORDER, n - 1 - _BORDER : n - 1]
        x, terms = np.arange(n + 1) * 2.0 / n - 1.0, []
        before, this = np.ones(n + 1), x
        for k in range(1, _DEGREES + 1):
            terms.append(before)
            before, this = this, ((2 * k + 1) * x * this - k * before) / (k + 1)
        inner = (np.arange(n + 1) > _BORDER) & (np.arange(n + 1) < n - _BORDER)
        return np.c_[each[:, border], np.stack(terms, 1) * inner[:, None]]


@dataclasses.dataclass(frozen=True)
class Linear:
    """One term per player, and those of the size."""

    num_players: int

    @property
    def num_terms(self) -> int:
        """Players and size terms."""
        return self.num_players + BySize(self.num_players).num_terms

    def features(self, masks):
        """Presence of each player less the share present, then the size terms."""
        share = masks.sum(1) / self.num_players
        by_size = BySize(self.num_players).features(masks)
        return np.concatenate([masks - share[:, None], by_size], axis=1)

    def values(self, shares):
        """Each player's own term, less the mean of all."""
        n = self.num_players
        own = np.eye(n) - 1.0 / n
        return np.concatenate([own, BySize(n).values(shares)], axis=1)


@dataclasses.dataclass(frozen=True)
class Quadratic:
    """The linear terms, and one for each pair of players."""

    num_players: int

    @property
    def num_terms(self) -> int:
        """Linear terms and pairs."""
        n = self.num_players
        return Linear(n).num_terms + n * (n - 1) // 2

    def features(self, masks):
        """The linear features, then whether both players of each pair are present."""
        first, second = np.triu_indices(self.num_players, 1)
        both = (masks[:, first] & masks[:, second]) * 1.0
        return np.concatenate([Linear(self.num_players).features(masks), both], axis=1)

    def values(self, shares):
        """A pair pays each of its two when the other is there already."""
        n = self.num_players
        first, second = np.triu_indices(n, 1)
        there = shares @ np.arange(n) / (n - 1)
        pairs = np.zeros((n, len(first)))
        pairs[first, np.arange(len(first))] = there
        pairs[second, np.arange(len(first))] = there
        return np.concatenate([Linear(n).values(shares), pairs], axis=1)


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

    def __call__(self, samples: Samples, scores, ends: Ends, shares) -> Estimated:
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

    def _adjust(self, basis, samples, weights, target, shares, folds):
        """The remainder under one basis, and the values of what was fitted."""
        n, k = samples.num_players, self.num_folds
        features = basis.features(samples.masks())  # (m, terms)
        theta = _fits(features, target, folds, k, self.penalty)  # (folds, terms)
        mean = theta.mean(0)
        own = theta[np.minimum(folds, k - 1)]
        predicted = np.einsum("ij,ij->i", features, own)
        predicted = np.where(samples.is_enumerated, features @ mean, predicted)
        part = remainder(samples, weights, target - predicted, shares)
        both = np.stack([np.zeros(n, bool), np.ones(n, bool)])
        empty, full = basis.features(both) @ mean
        known = basis.values(shares) @ mean - shares[-1] * full + shares[0] * empty
        return part, known


def _fits(features, target, folds, num_folds, penalty):
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
