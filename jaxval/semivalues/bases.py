"""Games to fit with, whose semi-values and moments by size have a closed form."""

from __future__ import annotations

import dataclasses
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

__all__ = ["Basis", "BySize", "Constant", "Linear", "Quadratic"]

_DEGREES = 5
"""Legendre polynomials of the share present, for many players."""

_BORDER = 4
"""Smallest and largest sizes with a term of their own, for many players."""

_ONE_EACH = 32
"""Players up to which every size has a term of its own."""


Masks = Bool[np.ndarray, "m n"]
Features = Float[np.ndarray, "m terms"]
Shares = Float[np.ndarray, " n"]
PlayersByTerms = Float[np.ndarray, "n terms"]
Theta = Float[np.ndarray, " terms"]
Moments = tuple[Float[np.ndarray, " n"], float]


@runtime_checkable
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

    def moments(
        self, theta: Float[np.ndarray, " terms"], size: int
    ) -> tuple[Float[np.ndarray, " n"], float]:
        r"""Means over the coalitions of one size, for $g$ with coefficients `theta`.

        Returns:
          $E[g(S) \mathbb 1[i \in S]]$ of each player, and $E[g(S)]$.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Constant:
    """No game at all: scores are counted from the mean of the endpoints."""

    num_players: int

    @property
    def num_terms(self) -> int:
        """None."""
        return 0

    def features(self, masks: Masks) -> Features:
        """No columns."""
        return np.zeros((len(masks), 0))

    def values(self, shares: Shares) -> PlayersByTerms:
        """No columns."""
        return np.zeros((self.num_players, 0))

    def moments(self, theta: Theta, size: int) -> Moments:
        """Nothing."""
        return np.zeros(self.num_players), 0.0


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

    def features(self, masks: Masks) -> Features:
        """Terms of each coalition's size."""
        return self._by_size()[masks.sum(1)]

    def values(self, shares: Shares) -> PlayersByTerms:
        """Every player's mean step in size."""
        steps = np.diff(self._by_size(), axis=0)
        return np.tile(shares @ steps, (self.num_players, 1))

    def moments(self, theta: Theta, size: int) -> Moments:
        """The same number for all coalitions of a size."""
        n = self.num_players
        mean = float(self._by_size()[size] @ theta)
        return np.full(n, mean * size / n), mean

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

    def features(self, masks: Masks) -> Features:
        """Presence of each player less the share present, then the size terms."""
        share = masks.sum(1) / self.num_players
        by_size = BySize(self.num_players).features(masks)
        return np.concatenate([masks - share[:, None], by_size], axis=1)

    def values(self, shares: Shares) -> PlayersByTerms:
        """Each player's own term, less the mean of all."""
        n = self.num_players
        own = np.eye(n) - 1.0 / n
        return np.concatenate([own, BySize(n).values(shares)], axis=1)

    def moments(self, theta: Theta, size: int) -> Moments:
        """Two players are present together with chance k (k - 1) / (n (n - 1))."""
        n, k = self.num_players, size
        own, rest = theta[:n], theta[n:]
        alone, both = k / n, k * (k - 1) / (n * max(n - 1, 1))
        with_player = own * (alone - both) + own.sum() * (both - alone**2)
        by_size, mean = BySize(n).moments(rest, k)
        return with_player + by_size, mean


@dataclasses.dataclass(frozen=True)
class Quadratic:
    """The linear terms, and one for each pair of players."""

    num_players: int

    @property
    def num_terms(self) -> int:
        """Linear terms and pairs."""
        n = self.num_players
        return Linear(n).num_terms + n * (n - 1) // 2

    def features(self, masks: Masks) -> Features:
        """The linear features, then whether both players of each pair are present."""
        first, second = np.triu_indices(self.num_players, 1)
        both = (masks[:, first] & masks[:, second]) * 1.0
        return np.concatenate([Linear(self.num_players).features(masks), both], axis=1)

    def values(self, shares: Shares) -> PlayersByTerms:
        """A pair pays each of its two when the other is there already."""
        n = self.num_players
        first, second = np.triu_indices(n, 1)
        there = shares @ np.arange(n) / (n - 1)
        pairs = np.zeros((n, len(first)))
        pairs[first, np.arange(len(first))] = there
        pairs[second, np.arange(len(first))] = there
        return np.concatenate([Linear(n).values(shares), pairs], axis=1)

    def moments(self, theta: Theta, size: int) -> Moments:
        """Three are present together with chance k(k-1)(k-2) / (n(n-1)(n-2))."""
        n, k = self.num_players, size
        first, second = np.triu_indices(n, 1)
        linear, pairs = np.split(theta, [len(theta) - len(first)])
        of_player = np.bincount(first, pairs, n) + np.bincount(second, pairs, n)
        two = k * (k - 1) / (n * (n - 1))
        three = two * (k - 2) / (n - 2) if n > 2 else 0.0
        with_player = of_player * (two - three) + pairs.sum() * three
        others, mean = Linear(n).moments(linear, k)
        return with_player + others, mean + float(pairs.sum() * two)
