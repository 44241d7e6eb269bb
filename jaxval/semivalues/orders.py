r"""Ways to draw orders together: each alone is uniform, jointly they balance.

A drawing function maps a key and $n$ to a block of orders. Because every order of a
block is uniform by itself the mean over the block is unbiased; because the block was
drawn jointly, the block is the unit of the standard error.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxval._checks import check
from jaxval.execution.precision import in_double
from jaxval.types import PRNGKey

__all__ = ["Draw", "antithetic", "orthogonal", "rotations", "shuffles", "uniform"]

Draw = Callable[[PRNGKey, int], Int[Array, "orders n"]]


def uniform(key: PRNGKey, num_players: int) -> Int[Array, "1 n"]:
    """One uniformly random order.

    Example:
      >>> import numpy as np
      >>> np.sort(uniform(jax.random.key(0), 4)).tolist()
      [[0, 1, 2, 3]]

    References:
      Castro, Gomez and Tejada, *Polynomial calculation of the Shapley value based on
      sampling*, 2009.
    """
    return shuffles(key, 1, num_players)


def antithetic(key: PRNGKey, num_players: int) -> Int[Array, "2 n"]:
    """An order and its reverse: exact for games with pairwise interactions only.

    A player that comes late in one order comes early in the other, so that each pair of
    players meets exactly once and its interaction is split in halves.

    Example:
      >>> order, reverse = antithetic(jax.random.key(0), 4).tolist()
      >>> order == reverse[::-1]
      True

    References:
      Lomeli, Rowland, Gretton and Ghahramani, *Antithetic and Monte Carlo kernel
      estimators for partial rankings*, 2019.
    """
    order = uniform(key, num_players)
    return jnp.concatenate([order, order[:, ::-1]])


def orthogonal(num_directions: int) -> Draw:
    r"""Quasi-random orders from orthogonal directions, each with its reverse.

    An order is a region of the sphere $\{u : \sum u_i = 0, \lVert u \rVert = 1\}$, that
    where sorting $u$ gives the order; directions at right angles, turned at random
    together, are far apart on it, hence so are their orders.

    Args:
      num_directions: Directions per block, at most $n - 1$ (more are cut to that); a
        block has twice as many orders.

    Example:
      >>> orthogonal(2)(jax.random.key(0), 5).shape
      (4, 5)

    References:
      Mitchell, Cooper, Frank and Holmes, *Sampling permutations for Shapley value
      estimation*, JMLR 2022, section 4.2.
    """
    check(num_directions >= 1, f"num_directions must be >= 1; got {num_directions}.")

    return _Orthogonal(num_directions)


def rotations(num_rotations: int) -> Draw:
    r"""Stratified by size: one random order, turned to equally spaced starts.

    Over a block every player stands at $m$ equally spaced places (at all of them, once
    each, when $m = n$), so contributions that differ by the *size* of the coalition
    joined, as those of diminishing returns do, are balanced inside the block. No cell
    (player, size) can be left out and counted as zero: nothing is averaged by cell.

    Args:
      num_rotations: $m$, orders per block, at most $n$ (more are cut to that).

    Example:
      >>> import numpy as np
      >>> places = rotations(3)(jax.random.key(0), 3)
      >>> np.sort(places, axis=0).T.tolist()
      [[0, 1, 2], [0, 1, 2], [0, 1, 2]]

    References:
      Maleki, Tran-Thanh, Hines, Rahwan and Rogers, *Bounding the estimation error of
      sampling-based Shapley value approximation*, 2013 (stratification by size).
    """
    check(num_rotations >= 1, f"num_rotations must be >= 1; got {num_rotations}.")

    return _Rotations(num_rotations)


@in_double
def shuffles(key: PRNGKey, count: int, num_players: int) -> Int[Array, "{count} n"]:
    """Independent uniform orders, by sorting 64 random bits per player: no ties.

    Example:
      >>> import numpy as np
      >>> np.sort(shuffles(jax.random.key(0), 2, 3)).tolist()
      [[0, 1, 2], [0, 1, 2]]

    References:
      Knuth, *The Art of Computer Programming*, volume 2, section 3.4.2.
    """
    bits = jax.random.bits(key, (count, num_players), jnp.uint64)
    return jnp.argsort(bits, axis=1)


@dataclasses.dataclass(frozen=True)
class _Orthogonal:
    num_directions: int

    def __call__(self, key: PRNGKey, num_players: int) -> Int[Array, "orders n"]:
        count = max(min(self.num_directions, num_players - 1), 1)
        normals = jax.random.normal(key, (num_players, count))
        q, r = jnp.linalg.qr(normals - normals.mean(0, keepdims=True))
        # Without the signs of R the directions lean to where the algorithm puts them.
        directions = q * jnp.sign(jnp.diag(r))[None, :]
        order = jnp.argsort(directions.T, axis=1)
        return jnp.concatenate([order, order[:, ::-1]])


@dataclasses.dataclass(frozen=True)
class _Rotations:
    num_rotations: int

    def __call__(self, key: PRNGKey, num_players: int) -> Int[Array, "orders n"]:
        count = min(self.num_rotations, num_players)
        order = shuffles(key, 1, num_players)[0]
        starts = (jnp.arange(count) * num_players) // count
        # Row r is the order read from its start r: (count, n).
        places = (starts[:, None] + jnp.arange(num_players)[None, :]) % num_players
        return order[places]
