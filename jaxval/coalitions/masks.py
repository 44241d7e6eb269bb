"""Coalitions as boolean masks: the power set, prefixes of an order, leave-one-outs."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

__all__ = ["leave_one_out", "powerset", "prefixes", "ranks"]


def powerset(
    num_players: int, start: int = 0, stop: int | None = None
) -> Bool[Array, "coalitions {num_players}"]:
    """The coalitions numbered `start` to `stop`, player `i` being bit `i`.

    Args:
      num_players: Players in the game, 30 at most.
      start: Number of the first coalition.
      stop: One past the number of the last; all $2^n$ when left out.

    Example:
      >>> powerset(2).astype(int).tolist()
      [[0, 0], [1, 0], [0, 1], [1, 1]]
    """
    if not 0 <= num_players <= 30:
        raise ValueError(
            f"powerset needs 0 <= num_players <= 30; got {num_players}. Sample "
            "coalitions instead (jaxval.semivalues)."
        )
    stop = 2**num_players if stop is None else stop
    number = jnp.arange(start, stop, dtype=jnp.int32)
    return (
        number[:, None] >> jnp.arange(num_players, dtype=jnp.int32)[None, :]
    ) % 2 > 0


def ranks(order: Int[Array, " players"]) -> Int[Array, " players"]:
    """The place of each player in an order (the inverse permutation).

    Example:
      >>> ranks(jnp.array([2, 0, 1])).tolist()
      [1, 2, 0]
    """
    places = jnp.arange(order.shape[0], dtype=order.dtype)
    return jnp.zeros_like(order).at[order].set(places)


def prefixes(order: Int[Array, " players"]) -> Bool[Array, "players+1 players"]:
    """The prefixes of an order as coalitions, from the empty to the grand one.

    Example:
      >>> prefixes(jnp.array([1, 0])).astype(int).tolist()
      [[0, 0], [0, 1], [1, 1]]
    """
    steps = jnp.arange(order.shape[0] + 1)
    return ranks(order)[None, :] < steps[:, None]


def leave_one_out(num_players: int) -> Bool[Array, "{num_players}+1 {num_players}"]:
    """The grand coalition, and then it without player 0, without player 1, and so on.

    Example:
      >>> leave_one_out(2).astype(int).tolist()
      [[1, 1], [0, 1], [1, 0]]
    """
    grand = jnp.ones((1, num_players), bool)
    return jnp.concatenate([grand, ~jnp.eye(num_players, dtype=bool)])
