"""Shapley values of the representatives, and what they cost."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxval._checks import check
from jaxval.precision import double
from jaxval.types import Game, PRNGKey, ValueEstimate

__all__ = ["Semivalue", "permutations"]

Semivalue = Callable[[PRNGKey, Game], tuple[ValueEstimate, int]]
"""Values of a game's players, and the training runs they took."""


def permutations(per_point: float = 3.0) -> Semivalue:
    r"""Permutation sampling without truncation, $3p$ permutations of $p$ runs each.

    The choice for games whose prefixes are cheap.

    Args:
      per_point: permutations for each representative; the paper's 3.
    """
    check(per_point > 0, f"per_point must be positive; got {per_point}.")

    def value(key: PRNGKey, game: Game) -> tuple[ValueEstimate, int]:
        n = game.num_players
        count = max(2, int(np.ceil(per_point * n)))
        rows = []
        with double():
            for i in range(count):
                order = jax.random.permutation(jax.random.fold_in(key, i), n)
                scores = np.asarray(_prefixes(game, order), np.float64)
                row = np.empty(n)
                row[np.asarray(order)] = np.diff(scores)
                rows.append(row)
        marginals = np.array(rows)
        stderr = marginals.std(0, ddof=1) / np.sqrt(count)
        estimate = ValueEstimate(marginals.mean(0), stderr, np.full(n, count))
        return estimate, count * n

    return value


@jax.jit
def _traced_prefixes(game, order):
    return game.prefix_scores(order)


def _prefixes(game: Game, order):
    if game.on_host:
        return game.prefix_scores(order)
    return _traced_prefixes(game, jnp.asarray(order))
