r"""Games: pure functions of a coalition's mask, and what they answer cheaply."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float

from jaxval.coalitions import masks as _masks
from jaxval.execution.precision import float64, in_double
from jaxval.types import Mask, Order, Scalar

__all__ = ["Game", "LeaveOneOut", "combine"]


class LeaveOneOut(NamedTuple):
    r"""Scores of everybody and of everybody but one.

    Attributes:
      full: $v(N)$.
      without: $v(N \setminus i)$ for each player.
    """

    full: Scalar | float
    without: Float[Array, " players"] | Float[np.ndarray, " players"]


@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True)
class Game:
    r"""A cooperative game: a pure function of a mask, and what it answers cheaply.

    A game is a pytree. Functions given as `jax.tree_util.Partial(fn, arrays)` carry
    their arrays as leaves, so that a game passed *into* a jitted function is compiled
    once for all games of its kind and shape and bakes no matrix into the program. A
    plain closure works too and is compiled for itself.

    Games form a vector space: `2.0 * a - b` is a game, and each part keeps its fast
    answers.

    Attributes:
      num_players: $n$.
      score: $v(S)$ of one mask; pure, defined for every mask.
      fast_scores: of a batch of masks, where that beats mapping `score`.
      fast_prefixes: of the $n+1$ prefixes of an order at the price of few scores.
      fast_leave_one_out: of everybody and everybody but one, likewise.
      fast_powerset: of all $2^n$ coalitions in the order of `masks.powerset`.
      fast_step: `(carry, mask) -> (carry, score)`, where the score of a coalition
        helps to find that of a somewhat larger one (a fit to start from). `None`
        begins a walk; unlike `fast_prefixes`, a walk may end early.
      batch_size: coalitions `score` may be vmapped over at once; all when `None`.
      on_host: `score` takes and returns NumPy and can't be traced by JAX.

    Example:
      >>> majority = Game(3, lambda mask: (mask.sum() >= 2) * 1.0)
      >>> majority.prefix_scores(jnp.array([2, 0, 1])).tolist()
      [0.0, 0.0, 1.0, 1.0]
      >>> float((3.0 * majority - majority).score(jnp.array([True, True, False])))
      2.0
    """

    num_players: int
    score: Callable[[Mask], Scalar]
    fast_scores: Callable[..., Float[Array, " m"]] | None = None
    fast_prefixes: Callable[[Order], Float[Array, " prefixes"]] | None = None
    fast_leave_one_out: Callable[[], LeaveOneOut] | None = None
    fast_powerset: Callable[[], Float[Array, " coalitions"]] | None = None
    fast_step: Callable[[Any, Mask], tuple[Any, Scalar]] | None = None
    batch_size: int | None = None
    on_host: bool = False

    def scores(
        self, masks: Bool[Array, "m n"] | Bool[np.ndarray, "m n"]
    ) -> Float[Array, " m"] | Float[np.ndarray, " m"]:
        """$v$ of each row of `masks`."""
        if self.fast_scores is not None:
            return self.fast_scores(masks)
        if self.on_host:
            return _host_scores(self.score, masks)
        if self.batch_size is None or masks.shape[0] <= self.batch_size:
            return jax.vmap(self.score)(jnp.asarray(masks))
        return jax.lax.map(self.score, jnp.asarray(masks), batch_size=self.batch_size)

    def prefix_scores(
        self, order: Order
    ) -> Float[Array, " prefixes"] | Float[np.ndarray, " prefixes"]:
        """$v$ of the first 0, 1, ..., n players of `order`."""
        if self.fast_prefixes is not None:
            return self.fast_prefixes(order)
        return self.scores(_masks.prefixes(order))

    def leave_one_out_scores(self) -> LeaveOneOut:
        r"""$v(N)$ and $v(N \setminus i)$ for each $i$."""
        if self.fast_leave_one_out is not None:
            return self.fast_leave_one_out()
        scores = self.scores(_masks.leave_one_out(self.num_players))
        return LeaveOneOut(scores[0], scores[1:])

    def powerset_scores(
        self,
    ) -> Float[Array, " coalitions"] | Float[np.ndarray, " coalitions"]:
        """$v$ of every row of `masks.powerset(num_players)`, in that order."""
        if self.fast_powerset is not None:
            return self.fast_powerset()
        return self.scores(_masks.powerset(self.num_players))

    def __add__(self, other: Game) -> Game:
        """The game that pays both."""
        return combine((1.0, 1.0), (self, other))

    def __sub__(self, other: Game) -> Game:
        """The game that pays `self` and takes `other`."""
        return combine((1.0, -1.0), (self, other))

    def __mul__(self, factor: float | int | Scalar) -> Game:
        """The game that pays `factor` times as much."""
        return combine((factor,), (self,))

    __rmul__ = __mul__

    def __neg__(self) -> Game:
        """The game of costs."""
        return combine((-1.0,), (self,))

    def tree_flatten(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Functions with arrays are children; the rest is static."""
        functions = tuple(getattr(self, name) for name in _FUNCTIONS)
        carries = tuple(isinstance(fn, Partial) for fn in functions)
        children = tuple(fn for fn, c in zip(functions, carries, strict=True) if c)
        static = tuple(
            None if c else fn for fn, c in zip(functions, carries, strict=True)
        )
        return children, (
            self.num_players,
            static,
            carries,
            self.batch_size,
            self.on_host,
        )

    @classmethod
    def tree_unflatten(cls, aux: tuple[Any, ...], children: Sequence[Any]) -> Game:
        """The inverse of `tree_flatten`."""
        num_players, static, carries, batch_size, on_host = aux
        rest = iter(children)
        functions = [
            next(rest) if c else fn for fn, c in zip(static, carries, strict=True)
        ]
        return cls(num_players, *functions, batch_size=batch_size, on_host=on_host)


_FUNCTIONS = (
    "score",
    "fast_scores",
    "fast_prefixes",
    "fast_leave_one_out",
    "fast_powerset",
    "fast_step",
)


def combine(coefficients: Sequence[float | Scalar], games: Sequence[Game]) -> Game:
    r"""The game $\sum_j c_j v_j$; every part answers in its own fastest way.

    Args:
      coefficients: one $c_j$ a game.
      games: over the same players.

    Raises:
      ValueError: if the games differ in their number of players.

    Example:
      >>> size = Game(2, lambda mask: mask.sum() * 1.0)
      >>> float(combine((2.0, -1.0), (size, size)).score(jnp.array([True, True])))
      2.0
    """
    numbers = [game.num_players for game in games]
    if len(set(numbers)) != 1:
        raise ValueError(
            f"games can only be combined over the same players; got games of {numbers} "
            "players."
        )
    sizes = [game.batch_size for game in games if game.batch_size is not None]
    parts = (tuple(float64(c) for c in coefficients), tuple(games))
    fast = {
        name: Partial(fn, parts)
        for name, fn in _COMBINED.items()
        if any(getattr(game, name) is not None for game in games)
    }
    return Game(
        numbers[0],
        Partial(_combined_score, parts),
        fast.get("fast_scores"),
        fast.get("fast_prefixes"),
        fast.get("fast_leave_one_out"),
        fast.get("fast_powerset"),
        Partial(_combined_step, parts) if _can_step(games) else None,
        batch_size=min(sizes, default=None),
        on_host=any(game.on_host for game in games),
    )


@in_double
def _weighted(parts, ask):
    return sum(c * ask(game) for c, game in zip(*parts, strict=True))


def _combined_score(parts, mask):
    return _weighted(parts, lambda game: game.score(mask))


def _combined_scores(parts, masks):
    return _weighted(parts, lambda game: game.scores(masks))


def _combined_prefixes(parts, order):
    return _weighted(parts, lambda game: game.prefix_scores(order))


def _combined_powerset(parts):
    return _weighted(parts, lambda game: game.powerset_scores())


@in_double
def _combined_leave_one_out(parts):
    coefficients, games = parts
    answers = [game.leave_one_out_scores() for game in games]
    weigh = lambda xs: jnp.asarray(
        sum(c * x for c, x in zip(coefficients, xs, strict=True))
    )
    return LeaveOneOut(
        weigh([a.full for a in answers]), weigh([a.without for a in answers])
    )


def _can_step(games):
    # Games that answer all prefixes at once would be asked for one score at a time.
    steps = [game.fast_step is not None for game in games]
    whole = [game.fast_prefixes is not None for game in games]
    return any(steps) and all(s or not w for s, w in zip(steps, whole, strict=True))


@in_double
def _combined_step(parts, carries, mask):
    coefficients, games = parts
    carries = (None,) * len(games) if carries is None else carries
    told = [
        (None, game.score(mask)) if game.fast_step is None else game.fast_step(c, mask)
        for game, c in zip(games, carries, strict=True)
    ]
    score = sum(c * t[1] for c, t in zip(coefficients, told, strict=True))
    return tuple(carry for carry, _ in told), score


_COMBINED = {
    "fast_scores": _combined_scores,
    "fast_prefixes": _combined_prefixes,
    "fast_leave_one_out": _combined_leave_one_out,
    "fast_powerset": _combined_powerset,
}


def _host_scores(score, masks):
    values = [float(score(mask)) for mask in np.asarray(masks, bool)]
    if not all(math.isfinite(value) for value in values):
        bad = next(i for i, value in enumerate(values) if not math.isfinite(value))
        raise ValueError(
            f"the game's score must be finite; got {values[bad]} for the coalition of "
            f"players {np.flatnonzero(np.asarray(masks)[bad]).tolist()}."
        )
    return np.asarray(values)
