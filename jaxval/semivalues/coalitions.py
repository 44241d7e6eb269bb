r"""Drawing coalitions instead of orders: one score then serves all players at once.

Any semi-value is a weighted sum over coalitions,

$$\phi_i = \sum_S v(S)\,\bigl(\mathbb 1[i \in S]\,w(|S|-1)
  - \mathbb 1[i \notin S]\,w(|S|)\bigr),$$

so a coalition drawn with a known probability is an unbiased piece of each value.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Int

from jaxval._checks import check
from jaxval.coalitions.game import Game
from jaxval.execution.precision import float64, in_double
from jaxval.semivalues import weights as _weights
from jaxval.semivalues.orders import shuffles
from jaxval.types import Ends, PRNGKey

__all__ = [
    "Design",
    "Sampler",
    "Shorten",
    "ScoredCoalitions",
    "coefficients",
    "design",
    "draw",
    "keep_first",
    "score_coalitions",
    "share_of",
]


class Design(NamedTuple):
    r"""How sizes are drawn, and what a coalition of each size then counts for.

    Attributes:
      sizes: Chances $q_s$ of the sizes $s = 1, \dots, n-1$; the endpoints are scored
        anyway.
      inside: Coefficients $w(s-1)\,/\,\Pr(S)$ for members.
      outside: Coefficients $w(s)\,/\,\Pr(S)$ for the others.
      first: Weight $w(0)$, of the empty coalition.
      last: Weight $w(n-1)$, of the grand coalition.
    """

    sizes: Float[Array, " inner"]
    inside: Float[Array, " inner"]
    outside: Float[Array, " inner"]
    first: Float[Array, ""]
    last: Float[Array, ""]


class ScoredCoalitions(NamedTuple):
    """Coalitions and their scores."""

    members: Bool[Array, "m n"]
    scores: Float[Array, " m"]


def design(share: Float[np.ndarray, " n"], *, mirrored: bool = False) -> Design:
    r"""The sizes that make the coefficients, hence the variance, as even as can be.

    With $q_s \propto \bigl(p_{s-1}^2 \tfrac{n}{s} + p_s^2 \tfrac{n}{n-s}\bigr)^{1/2}$ a
    coalition's mean square coefficient is the same for all sizes. For the Banzhaf value
    that is the uniform coalition.

    Args:
      share: Size distribution $p_k$, from `weights.size_distribution`.
      mirrored: Whether $s$ and $n - s$ are drawn equally often, for coalitions in
        complementary pairs.

    Raises:
      ValueError: If there are fewer than two players, or nothing to draw.
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
      key: PRNG key of the draw.
      sizes: Chances of the sizes 1 to n-1.
      count: Coalitions, or pairs.
      pairs: Whether the complements follow, in the same order.
    """
    n = sizes.shape[0] + 1
    size_key, order_key = jax.random.split(key)
    # Rounding may leave the last cumulative chance below 1: stay within the sizes.
    uniform = jax.random.uniform(size_key, (count,)) * sizes.sum()
    size = 1 + jnp.searchsorted(jnp.cumsum(sizes)[:-1], uniform, side="right")
    members = shuffles(order_key, count, n) < size[:, None]
    return jnp.concatenate([members, ~members]) if pairs else members


@dataclasses.dataclass(frozen=True)
class Sampler:
    """`sample(sizes, key, game, ends)`: draws coalitions and scores them.

    The sizes are an argument, so that one compiled program serves all weights.

    Attributes:
      count: Coalitions drawn, or pairs.
      pairs: Whether coalitions come with their complements.
      keep: Coalitions or pairs that are scored, the first ones; all when `None`.
    """

    count: int
    pairs: bool = False
    keep: int | None = None

    def __call__(
        self, sizes: Float[Array, " inner"], key: PRNGKey, game: Game, ends: Ends
    ) -> ScoredCoalitions:
        """Coalitions drawn with `key`, and their scores."""
        members = draw(key, sizes, self.count, pairs=self.pairs)
        return score_coalitions(game, keep_first(members, self.pairs, self.keep))

    def shortened(self, num_evaluations: int) -> Sampler:
        """The same, of at most `num_evaluations` coalitions (or the fewest)."""
        each = 2 if self.pairs else 1
        keep = min(max(num_evaluations // each, 1), self.count)
        return dataclasses.replace(self, keep=keep)


@dataclasses.dataclass(frozen=True)
class Shorten:
    """`shorten(operand, count)` of an estimator: its sampler, cut to `count`.

    Attributes:
      sampler: Sampler with a method `shortened`, and one operand of arrays.
    """

    sampler: Any

    def __call__(self, operand: Any, num_evaluations: int) -> Partial:
        """The sample function of the shorter step."""
        return Partial(self.sampler.shortened(num_evaluations), operand)


def keep_first(
    members: Bool[Array, "m n"], pairs: bool, keep: int | None
) -> Bool[Array, "kept n"]:
    """The first coalitions; with `pairs`, the first ones and their complements."""
    if keep is None:
        return members
    if not pairs:
        return members[:keep]
    half = len(members) // 2
    return jnp.concatenate([members[:keep], members[half : half + keep]])


@in_double
def score_coalitions(game: Game, members: Bool[Array, "m n"]) -> ScoredCoalitions:
    """Scores in float64, the way the game likes best."""
    scores = jnp.asarray(game.scores(members)).astype(jnp.float64)
    return ScoredCoalitions(members, scores)


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
