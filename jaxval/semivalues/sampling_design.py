r"""One sampler for all estimators that score coalitions instead of orders.

A semi-value needs, for every size $k$, the mean score of the coalitions of size $k$ with
each player and of those without it. Data-valuation games jump at the first few sizes and
are flat after, so the sizes with few coalitions (the *border*: singletons, pairs, and
their complements) are enumerated as soon as their share of the evaluations pays for
that, and the others are stratified by size, drawn without replacement and, where the
weights are symmetric, in complementary pairs.

A run need not know its end. It is a sequence of *rounds* of doubling size, each a complete
stratified design by itself; a budget fixes the last. What is drawn depends on
(key, round, stratum) alone, so that resuming and sharding change no bit.

Each coalition carries an inclusion weight: with $\omega_j$ of round $r$,
$\sum_{j : |S_j| = k} \omega_j f(S_j)$ has the mean of $f$ over all coalitions of size $k$
for its expectation, whatever the semi-value; one set of samples serves all of them.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxval._checks import check
from jaxval.types import PRNGKey

__all__ = [
    "Round",
    "Samples",
    "Stratum",
    "draw_round",
    "empty_samples",
    "plan_round",
    "round_sizes",
    "size_law",
]

_FEW = 20_000
"""Coalitions of one size that may be listed, to draw from them without replacement."""

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
    """Coalitions that were drawn, and what each stands for.

    Attributes:
      members: Masks, packed eight players to a byte: `(m, ceil(n / 8))`.
      sizes: Players in each coalition.
      weights: Inclusion weights $\\omega$ within the coalition's round.
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


def round_sizes(first: int, budget: int | None = None) -> list[int] | itertools.count:
    """Evaluations of each round: `first`, twice that, ...; a budget is one round.

    Args:
      first: Evaluations of the first round.
      budget: Evaluations in all, where they are known beforehand.

    Example:
      >>> round_sizes(64, 1000)
      [1000]
    """
    check(first >= 1, f"first must be at least 1; got {first}.")
    if budget is not None:
        return [budget]
    return itertools.count()  # type: ignore[return-value]


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
      >>> plan = plan_round(0, np.full(9, 1 / 9), 60, is_paired=True)
      >>> [s.sizes for s in plan.strata if s.is_enumerated], plan.num_evaluations
      ([(1,)], 60)
    """
    n = len(law) + 1
    done = set(enumerated)
    units = {s: law[s - 1] for s in range(1, n) if s not in done and law[s - 1] > 0}
    if is_paired:
        units = {s: q * (2 if 2 * s < n else 1) for s, q in units.items() if 2 * s <= n}
    cost = {s: 2 if is_paired else 1 for s in units}
    left, strata = budget, []
    while units:
        total = sum(units.values())
        border = [s for s, q in units.items() if left * q / total >= _coalitions(n, s, is_paired)]
        if not border:
            break
        for s in border:
            every = _coalitions(n, s, is_paired)
            strata.append(_stratum((s,), (1.0,), math.comb(n, s), True, is_paired))
            left -= every
            del units[s]
    strata += _sampled(units, cost, left, is_paired)
    return Round(number=number, strata=tuple(strata), num_players=n)


def _coalitions(n: int, size: int, is_paired: bool) -> int:
    """Coalitions of a size, with those of its complement where they come in pairs."""
    both = is_paired and 2 * size != n
    return math.comb(n, size) * (2 if both else 1)


def _stratum(sizes, chances, count, is_enumerated, is_paired) -> Stratum:
    return Stratum(
        sizes=tuple(sizes),
        chances=tuple(float(c) for c in chances),
        count=count,
        is_enumerated=is_enumerated,
        is_paired=is_paired,
    )


def _sampled(units, cost, left, is_paired) -> list[Stratum]:
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
        bins[-2] += bins.pop()
        expected[-2] += expected.pop()
    counts = _rounded(np.asarray(expected), left // each)
    out = []
    for sizes, count in zip(bins, counts, strict=True):
        if count < 1:
            continue
        chances = np.asarray([units[s] for s in sizes])
        out.append(_stratum(sizes, chances / chances.sum(), int(count), False, is_paired))
    return out


def _rounded(expected, total: int):
    """Whole numbers near the expected ones that sum to at most `total`."""
    counts = np.floor(expected).astype(int)
    spare = max(total - counts.sum(), 0)
    order = np.argsort(-(expected - counts), kind="stable")
    counts[order[:spare]] += 1
    return np.maximum(counts, 0)


def _evaluations(stratum: Stratum, n: int) -> int:
    middle = stratum.is_enumerated and 2 * stratum.sizes[0] == n
    return stratum.count * (2 if stratum.is_paired and not middle else 1)


def empty_samples(num_players: int) -> Samples:
    """No coalitions yet.

    Args:
      num_players: $n$.

    Example:
      >>> len(empty_samples(10))
      0
    """
    whole = np.zeros(0, np.int64)
    return Samples(
        members=np.zeros((0, (num_players + 7) // 8), np.uint8),
        sizes=whole,
        weights=np.zeros(0),
        unit=whole,
        stratum=whole,
        round=whole,
        is_enumerated=np.zeros(0, bool),
        num_players=num_players,
    )


def draw_round(key: PRNGKey, plan: Round, before: Samples) -> Samples:
    """The coalitions of a round, below those drawn before.

    Args:
      key: PRNG key of the whole run.
      plan: Round to draw.
      before: Samples of the earlier rounds.

    Returns:
      All samples; those of `before` come first.

    Example:
      >>> plan = plan_round(0, np.full(9, 1 / 9), 60, is_paired=True)
      >>> samples = draw_round(jax.random.key(0), plan, empty_samples(10))
      >>> float(samples.weights[samples.sizes == 1].sum().round(12))
      1.0
    """
    words = np.asarray(jax.random.key_data(key)).ravel().tolist()
    n, parts = plan.num_players, []
    unit = int(before.unit.max(initial=-1)) + 1
    number = int(before.stratum.max(initial=-1)) + 1
    for place, stratum in enumerate(plan.strata):
        rng = np.random.default_rng([*words, plan.number, place])
        masks, weights, units = _draw_stratum(rng, stratum, n)
        count = len(masks)
        parts.append(
            (
                np.packbits(masks, axis=1),
                masks.sum(1),
                weights,
                units + unit,
                np.full(count, number + place),
                np.full(count, plan.number),
                np.full(count, stratum.is_enumerated),
            )
        )
        unit += int(units.max(initial=-1)) + 1
    names = ("members", "sizes", "weights", "unit", "stratum", "round", "is_enumerated")
    columns = {
        name: np.concatenate([getattr(before, name), *(part[i] for part in parts)])
        for i, name in enumerate(names)
    }
    return Samples(num_players=n, **columns)


def _draw_stratum(rng, stratum: Stratum, n: int):
    """Masks (m, n), inclusion weights (m,) and units (m,) of one stratum."""
    if stratum.is_enumerated:
        masks = _all_of_size(n, stratum.sizes[0])
        weights = np.full(len(masks), 1.0 / len(masks))
        units = np.arange(len(masks))
        if stratum.is_paired and 2 * stratum.sizes[0] != n:
            masks = np.concatenate([masks, ~masks])
            weights, units = np.tile(weights, 2), np.tile(units, 2)
        return masks, weights, units
    sizes, size_weights = _draw_sizes(rng, stratum)
    masks = _distinct(rng, sizes, n)
    units = np.arange(len(masks))
    if stratum.is_paired:
        # A coalition of half the players and its complement are both of that size.
        share = np.where(2 * sizes == n, 0.5, 1.0)
        masks = np.concatenate([masks, ~masks])
        size_weights, units = np.tile(size_weights * share, 2), np.tile(units, 2)
    return masks, size_weights, units


def _draw_sizes(rng, stratum: Stratum):
    r"""Sizes of the units, systematically, and $1 / (\text{expected count})$."""
    ticks = (np.arange(stratum.count) + rng.random()) / stratum.count
    chances = np.asarray(stratum.chances)
    place = np.searchsorted(np.cumsum(chances)[:-1], ticks, side="right")
    return np.asarray(stratum.sizes)[place], 1.0 / (stratum.count * chances[place])


def _distinct(rng, sizes, n: int) -> Bool[np.ndarray, "m n"]:
    """Uniform coalitions of the given sizes, without repetition within a size."""
    masks = np.zeros((len(sizes), n), bool)
    for size in np.unique(sizes):
        rows = np.flatnonzero(sizes == size)
        if math.comb(n, int(size)) <= _FEW:
            every = _all_of_size(n, int(size))
            # More draws than coalitions: whole passes, and a rest without repetition.
            passes, rest = divmod(len(rows), len(every))
            chosen = [np.tile(np.arange(len(every)), passes)]
            chosen.append(rng.choice(len(every), rest, replace=False))
            masks[rows] = every[rng.permutation(np.concatenate(chosen))]
        else:
            masks[rows] = _uniform(rng, len(rows), int(size), n)
    return masks


def _uniform(rng, count: int, size: int, n: int) -> Bool[np.ndarray, "m n"]:
    """Uniform coalitions of one size; repetitions are drawn again."""
    masks = np.zeros((0, n), bool)
    while len(masks) < count:
        keys = rng.random((count - len(masks), n))
        few = np.argpartition(keys, size - 1, axis=1)[:, :size]
        fresh = np.zeros(keys.shape, bool)
        np.put_along_axis(fresh, few, True, axis=1)
        masks = np.concatenate([masks, fresh])
        _, first = np.unique(np.packbits(masks, axis=1), axis=0, return_index=True)
        masks = masks[np.sort(first)]
    return masks


def _all_of_size(n: int, size: int) -> Bool[np.ndarray, "coalitions n"]:
    small = min(size, n - size)
    index = np.asarray(list(itertools.combinations(range(n), small)), np.intp)
    masks = np.zeros((len(index), n), bool)
    np.put_along_axis(masks, index.reshape(len(index), small), True, axis=1)
    return masks if small == size else ~masks
