r"""Drawing coalitions instead of orders: one score then serves all players at once.

Any semi-value is a weighted sum over coalitions,

$$\phi_i = \sum_S v(S)\,\bigl(\mathbb 1[i \in S]\,w(|S|-1)
  - \mathbb 1[i \notin S]\,w(|S|)\bigr),$$

so a coalition drawn with a known probability is an unbiased piece of everybody's value.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxval._checks import check
from jaxval.coalitions.game import Game
from jaxval.execution.precision import float64, in_double
from jaxval.semivalues import weights as _weights
from jaxval.semivalues.orders import shuffles
from jaxval.types import Ends, PRNGKey

__all__ = [
    "Design",
    "Scored",
    "coefficients",
    "design",
    "draw",
    "sampler",
    "score_coalitions",
    "share_of",
]


class Design(NamedTuple):
    r"""How sizes are drawn, and what a coalition of each size then counts for.

    Attributes:
      sizes: $q_s$ for $s = 1, \dots, n-1$; nobody and everybody are scored anyway.
      inside: $w(s-1)\,/\,\Pr(S)$, for members.
      outside: $w(s)\,/\,\Pr(S)$, for the others.
      first: $w(0)$, of nobody.
      last: $w(n-1)$, of everybody.
    """

    sizes: Float[Array, " inner"]
    inside: Float[Array, " inner"]
    outside: Float[Array, " inner"]
    first: Float[Array, ""]
    last: Float[Array, ""]


class Scored(NamedTuple):
    """Coalitions and their scores."""

    members: Bool[Array, "m n"]
    scores: Float[Array, " m"]


def design(share: Float[np.ndarray, " n"], *, mirrored: bool = False) -> Design:
    r"""The sizes that make the coefficients, hence the variance, as even as can be.

    With $q_s \propto \bigl(p_{s-1}^2 \tfrac{n}{s} + p_s^2 \tfrac{n}{n-s}\bigr)^{1/2}$ a
    coalition's mean square coefficient is the same for all sizes. For the Banzhaf value
    that is the uniform coalition.

    Args:
      share: $p_k$, from `weights.size_distribution`.
      mirrored: draw $s$ and $n - s$ equally often, for coalitions in complementary
        pairs.

    Raises:
      ValueError: if there are fewer than two players, or nothing to draw.
    """
    n = len(share)
    check(n >= 2, f"coalitions are drawn from 2 players or more; got {n}.")
    s = np.arange(1, n)
    q = np.sqrt(share[:-1] ** 2 * n / s + share[1:] ** 2 * n / (n - s))
    q = (q + q[::-1]) / 2 if mirrored else q
    inner = share[:-1].sum() > 0 and share[1:].sum() > 0
    check(
        bool(inner),
        "weights lie on the last or the first size alone, which need no sampling: "
        "use exact.leave_one_out.",
    )
    q = q / q.sum()
    safe = np.where(q > 0, q, 1.0)
    inside = np.where(q > 0, share[:-1] * n / (s * safe), 0.0)
    outside = np.where(q > 0, share[1:] * n / ((n - s) * safe), 0.0)
    parts = (q, inside, outside, share[0], share[-1])
    return Design(*(float64(part) for part in parts))


@in_double
def draw(
    key: PRNGKey, sizes: Float[Array, " inner"], count: int, *, pairs: bool = False
) -> Bool[Array, "m n"]:
    """Uniform coalitions of random sizes; with `pairs`, their complements after them.

    Args:
      key: of the draw.
      sizes: chances of the sizes 1 to n-1.
      count: coalitions, or pairs.
      pairs: whether the complements follow, in the same order.
    """
    n = sizes.shape[0] + 1
    size_key, order_key = jax.random.split(key)
    # Rounding may leave the last cumulative chance below 1: stay within the sizes.
    uniform = jax.random.uniform(size_key, (count,)) * sizes.sum()
    size = 1 + jnp.searchsorted(jnp.cumsum(sizes)[:-1], uniform, side="right")
    members = shuffles(order_key, count, n) < size[:, None]
    return jnp.concatenate([members, ~members]) if pairs else members


@functools.lru_cache
def sampler(
    count: int, *, pairs: bool = False
) -> Callable[[Float[Array, " inner"], PRNGKey, Game, Ends], Scored]:
    """`sample(sizes, key, game, ends)`: the same function for the same settings.

    That, with the sizes as an argument, lets one compiled program serve all weights.
    """

    def sample(sizes, key, game, ends) -> Scored:
        return score_coalitions(game, draw(key, sizes, count, pairs=pairs))

    return sample


@in_double
def score_coalitions(game: Game, members: Bool[Array, "m n"]) -> Scored:
    """Scores in float64, the way the game likes best."""
    return Scored(members, jnp.asarray(game.scores(members)).astype(jnp.float64))


@in_double
def coefficients(
    plan: Design, members: Bool[Array, "m n"]
) -> tuple[Float[Array, "m n"], Float[Array, "m n"]]:
    """What each score counts for, for members and for the others (0 elsewhere)."""
    row: Int[Array, " m"] = members.sum(1) - 1
    inside = jnp.where(members, plan.inside[row][:, None], 0.0)
    outside = jnp.where(members, 0.0, plan.outside[row][:, None])
    return inside, outside


def share_of(weights: _weights.Weights, num_players: int) -> Float[np.ndarray, " n"]:
    """Size distribution of checked weights."""
    return _weights.size_distribution(_weights.resolve(weights, num_players))
