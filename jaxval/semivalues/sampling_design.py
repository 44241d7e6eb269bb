r"""One sampler for all estimators that score coalitions instead of orders.

A semi-value needs, for every size $k$, the mean score of the coalitions of size $k$
with each player and of those without it. Data-valuation games jump at the first few
sizes and are flat after, so the sizes with few coalitions (the *border*: singletons,
pairs, and their complements) are enumerated as soon as their share of the evaluations
pays for that, and the others are stratified by size, drawn without replacement and,
where the weights are symmetric, in complementary pairs.

A run need not know its end. It is a sequence of *rounds* of doubling size, each a
complete stratified design by itself; a budget fixes the last. What is drawn depends on
(key, round, stratum) alone, so that resuming and sharding change no bit.

Each coalition carries an inclusion weight: with $\omega_j$ of round $r$,
$\sum_{j : |S_j| = k} \omega_j f(S_j)$ has the mean of $f$ over all coalitions of size
$k$ for its expectation, whatever the semi-value; one set of samples serves all of them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

__all__ = [
    "Round",
    "Samples",
    "Stratum",
    "plan_round",
    "size_law",
]

_LEAST = 2
"""Units in a stratum, at least: one alone has no spread."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stratum:
    """Coalitions of neighbouring sizes that are drawn together.

    Attributes:
      sizes: Sizes in it, ascending.
      chances: Chance of each size within a draw; they sum to 1.
      count: Units drawn: coalitions, or complementary pairs.
      is_enumerated: Whether all coalitions of its one size are scored.
      is_paired: Whether the complements are scored too; the sizes are then those of the
        smaller halves.
    """

    sizes: tuple[int, ...]
    chances: tuple[float, ...]
    count: int
    is_enumerated: bool
    is_paired: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Round:
    """One complete stratified design.

    Attributes:
      number: Number of the round, from 0.
      strata: Its strata.
      num_players: $n$.
    """

    number: int
    strata: tuple[Stratum, ...]
    num_players: int

    @property
    def num_evaluations(self) -> int:
        """Coalitions it scores."""
        return sum(_evaluations(s, self.num_players) for s in self.strata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Samples:
    r"""Coalitions that were drawn, and what each stands for.

    Attributes:
      members: Masks, packed eight players to a byte: `(m, ceil(n / 8))`.
      sizes: Players in each coalition.
      weights: Inclusion weights $\omega$ within the coalition's round.
      unit: Number of the unit (coalition or complementary pair) of each.
      stratum: Number of the stratum of each, over all rounds.
      round: Round of each.
      is_enumerated: Whether its size was enumerated.
      num_players: $n$.
    """

    members: np.ndarray
    sizes: Int[np.ndarray, " m"]
    weights: Float[np.ndarray, " m"]
    unit: Int[np.ndarray, " m"]
    stratum: Int[np.ndarray, " m"]
    round: Int[np.ndarray, " m"]
    is_enumerated: Bool[np.ndarray, " m"]
    num_players: int

    def __len__(self) -> int:
        """Coalitions in all."""
        return len(self.sizes)

    def first(self, count: int) -> Samples:
        """The first `count` coalitions."""
        cut = {
            field.name: getattr(self, field.name)[:count]
            for field in dataclasses.fields(self)
            if field.name != "num_players"
        }
        return dataclasses.replace(self, **cut)

    def masks(self, start: int = 0, stop: int | None = None) -> Bool[np.ndarray, "m n"]:
        """Masks of the coalitions from `start` to `stop`."""
        packed = self.members[start:stop]
        return np.unpackbits(packed, axis=1, count=self.num_players).astype(bool)


def size_law(
    shares: Float[np.ndarray, " n"], *, is_mirrored: bool
) -> Float[np.ndarray, " inner"]:
    r"""How often each size 1, ..., n-1 is drawn: coefficients as even as can be.

    $$q_s \propto \bigl(p_{s-1}^2 \tfrac{n}{s} + p_s^2 \tfrac{n}{n-s}\bigr)^{1/2}$$

    Args:
      shares: $p_k$, from `weights.size_distribution`.
      is_mirrored: Whether $s$ and $n - s$ are drawn equally often.

    Example:
      >>> size_law(np.full(4, 0.25), is_mirrored=True).round(3).tolist()
      [0.349, 0.302, 0.349]
    """
    n = len(shares)
    s = np.arange(1, n)
    q = np.sqrt(shares[:-1] ** 2 * n / s + shares[1:] ** 2 * n / (n - s))
    q = (q + q[::-1]) / 2 if is_mirrored else q
    return q / q.sum()


def plan_round(
    number: int,
    law: Float[np.ndarray, " inner"],
    budget: int,
    *,
    is_paired: bool,
    enumerated: Sequence[int] = (),
) -> Round:
    """Which sizes a round enumerates, and how it divides the rest among strata.

    A size is enumerated when its share of what is left covers all its coalitions. Sizes
    whose share is under two units are drawn together with their neighbours.

    Args:
      number: Number of the round.
      law: Chance of each size 1, ..., n-1 in a draw, from `size_law`.
      budget: Evaluations of the round, at most.
      is_paired: Whether coalitions come with their complements; `law` is then
        symmetric.
      enumerated: Sizes that earlier rounds enumerated.

    Returns:
      The round; it may hold no stratum where nothing is left to draw.

    Example:
      >>> plan = plan_round(0, np.full(9, 1 / 9), 100, is_paired=True)
      >>> [s.sizes for s in plan.strata if s.is_enumerated], plan.num_evaluations
      ([(1,)], 100)
    """
    n = len(law) + 1
    done = set(enumerated)
    units = {
        s: float(law[s - 1]) for s in range(1, n) if s not in done and law[s - 1] > 0
    }
    if is_paired:
        units = {s: q * (2 if 2 * s < n else 1) for s, q in units.items() if 2 * s <= n}
    left, strata = budget, []
    while units:
        total = sum(units.values())
        border = [
            s
            for s, q in units.items()
            if float(left * q / total) >= _coalitions(n, s, is_paired)
        ]
        if not border:
            break
        for s in border:
            every = _coalitions(n, s, is_paired)
            strata.append(_stratum((s,), (1.0,), math.comb(n, s), True, is_paired))
            left -= every
            del units[s]
    strata += _sampled(units, left, is_paired)
    return Round(number=number, strata=tuple(strata), num_players=n)


def _coalitions(n: int, size: int, is_paired: bool) -> int:
    """Coalitions of a size, with those of its complement where they come in pairs."""
    both = is_paired and 2 * size != n
    return math.comb(n, size) * (2 if both else 1)


def _stratum(
    sizes: Sequence[int],
    chances: Sequence[float] | Float[np.ndarray, " sizes"],
    count: int,
    is_enumerated: bool,
    is_paired: bool,
) -> Stratum:
    return Stratum(
        sizes=tuple(sizes),
        chances=tuple(float(c) for c in chances),
        count=count,
        is_enumerated=is_enumerated,
        is_paired=is_paired,
    )


def _sampled(units: dict[int, float], left: int, is_paired: bool) -> list[Stratum]:
    """Neighbouring sizes gathered until they are worth two units, then rounded."""
    if not units:
        return []
    total = sum(units.values())
    each = 2 if is_paired else 1
    bins: list[list[int]] = [[]]
    expected = [0.0]
    for s, q in units.items():
        if expected[-1] >= _LEAST:
            bins.append([])
            expected.append(0.0)
        bins[-1].append(s)
        expected[-1] += left / each * q / total
    if len(bins) > 1 and expected[-1] < _LEAST:
        small, rest = bins.pop(), expected.pop()
        bins[-1] += small
        expected[-1] += rest
    counts = _rounded(np.asarray(expected), left // each)
    out = []
    for sizes, count in zip(bins, counts, strict=True):
        if count < 1:
            continue
        chances = np.asarray([units[s] for s in sizes])
        out.append(
            _stratum(sizes, chances / chances.sum(), int(count), False, is_paired)
        )
    return out


def _rounded(
    expected: Float[np.ndarray, " strata"], total: int
) -> Int[np.ndarray, " strata"]:
    """Whole numbers near the expected ones that sum to at most `total`."""
    counts = np.floor(expected).astype(int)
    spare = max(total - counts.sum(), 0)
    order = np.argsort(-(expected - counts), kind="stable")
    counts[order[:spare]] += 1
    return np.maximum(counts, 0)


def _evaluations(stratum: Stratum, n: int) -> int:
    middle = stratum.is_enumerated and 2 * stratum.sizes[0] == n
    return stratum.count * (2 if stratum.is_paired and not middle else 1)
