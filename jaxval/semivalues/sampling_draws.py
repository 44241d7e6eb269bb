"""Drawing the coalitions of a round: enumerated, without repetition, or in pairs."""

from __future__ import annotations

import itertools
import math
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxval.semivalues.sampling_design import Round, Samples, Stratum
from jaxval.types import PRNGKey

__all__ = ["draw_round", "empty_samples"]

_FEW = 20_000
"""Coalitions of one size that may be listed, to draw from them without replacement."""

Generator = np.random.Generator


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
      >>> from jaxval.semivalues.sampling_design import plan_round
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


def _draw_stratum(rng: Generator, stratum: Stratum, n: int) -> tuple[Any, Any, Any]:
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
    masks = _distinct(rng, sizes, n, is_paired=stratum.is_paired)
    units = np.arange(len(masks))
    if stratum.is_paired:
        # A coalition of half the players and its complement are both of that size.
        share = np.where(2 * sizes == n, 0.5, 1.0)
        masks = np.concatenate([masks, ~masks])
        size_weights, units = np.tile(size_weights * share, 2), np.tile(units, 2)
    return masks, size_weights, units


def _draw_sizes(
    rng: Generator, stratum: Stratum
) -> tuple[Int[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    r"""Sizes of the units, systematically, and $1 / (\text{expected count})$."""
    ticks = (np.arange(stratum.count) + rng.random()) / stratum.count
    chances = np.asarray(stratum.chances)
    place = np.searchsorted(np.cumsum(chances)[:-1], ticks, side="right")
    return np.asarray(stratum.sizes)[place], 1.0 / (stratum.count * chances[place])


def _distinct(
    rng: Generator, sizes: Int[np.ndarray, " m"], n: int, *, is_paired: bool
) -> Bool[np.ndarray, "m n"]:
    """Uniform coalitions of the given sizes, without repetition within a size."""
    masks = np.zeros((len(sizes), n), bool)
    for size in np.unique(sizes):
        rows = np.flatnonzero(sizes == size)
        # Of a coalition of half the players and its complement, the one with player 0.
        halved = is_paired and bool(2 * size == n)
        if math.comb(n, int(size)) <= _FEW:
            every = _all_of_size(n, int(size))
            every = every[every[:, 0]] if halved else every
            # More draws than coalitions: whole passes, and a rest without repetition.
            passes, rest = divmod(len(rows), len(every))
            chosen = [np.tile(np.arange(len(every)), passes)]
            chosen.append(rng.choice(len(every), rest, replace=False))
            masks[rows] = every[rng.permutation(np.concatenate(chosen))]
        else:
            masks[rows] = _uniform(rng, len(rows), int(size), n, halved)
    return masks


def _uniform(
    rng: Generator, count: int, size: int, n: int, halved: bool
) -> Bool[np.ndarray, "m n"]:
    """Uniform coalitions of one size; repetitions are drawn again."""
    masks = np.zeros((0, n), bool)
    while len(masks) < count:
        keys = rng.random((count - len(masks), n))
        few = np.argpartition(keys, size - 1, axis=1)[:, :size]
        fresh = np.zeros(keys.shape, bool)
        np.put_along_axis(fresh, few, True, axis=1)
        if halved:
            fresh ^= ~fresh[:, :1]
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
