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
from jaxtyping import Array, Bool, Float, Int

from jaxval.coalitions import masks as _masks
from jaxval.execution.precision import float64, in_double
from jaxval.types import Mask, Order, Scalar

__all__ = ["Game", "LeaveOneOut", "Rows", "combine", "grouped"]


class LeaveOneOut(NamedTuple):
    r"""Scores of everybody and of everybody but one.

    Attributes:
      full: $v(N)$.
      without: $v(N \setminus i)$ for each player.
    """

    full: Any
    without: Float[Array, " players"] | Float[np.ndarray, " players"]


@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True)
class Rows:
    r"""How a game's score is made of those of single validation rows.

    With $s_r(S)$ the score of row $r$ under coalition $S$ and $w$ the weights of the
    rows (uniform when left out), $v(S) = \sum_r w_r s_r(S)$, or `reduce(s(S), w)` for a
    metric that is no mean. Functions given as `Partial` carry their arrays.

    Attributes:
      num_rows: Validation rows (or queries).
      scores: Masks `(m, players)` to scores `(m, rows)`.
      prefixes: Order to scores `(n + 1, rows)` of its prefixes, where one factorisation
        answers them all.
      leave_one_out: To a `LeaveOneOut` of scores `(rows,)` and `(n, rows)`, likewise.
      reduce: `(scores (m, rows), weights (rows,)) -> (m,)` where the metric is not
        linear in the rows; `None` for the weighted mean.
    """

    num_rows: int
    scores: Callable[..., Float[Array, "m rows"]]
    prefixes: Callable[[Order], Float[Array, "prefixes rows"]] | None = None
    leave_one_out: Callable[[], LeaveOneOut] | None = None
    reduce: Callable[..., Float[Array, " m"]] | None = None

    @property
    def is_linear(self) -> bool:
        """Whether the score is a weighted mean of the rows' scores."""
        return self.reduce is None

    def tree_flatten(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Functions with arrays are children; the rest is static."""
        children, static, carries = _split_functions(self, _ROW_FUNCTIONS)
        return children, (self.num_rows, static, carries)

    @classmethod
    def tree_unflatten(cls, aux: tuple[Any, ...], children: Sequence[Any]) -> Rows:
        """The inverse of `tree_flatten`."""
        num_rows, static, carries = aux
        return cls(num_rows, *_join_functions(static, carries, children))


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
      rows: scores of single validation rows, where the score is made of them.

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
    rows: Rows | None = None

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

    def row_scores(
        self, masks: Bool[Array, "m n"] | Bool[np.ndarray, "m n"]
    ) -> Float[Array, "m rows"] | Float[np.ndarray, "m rows"]:
        """The score of each validation row under each coalition.

        Raises:
          ValueError: If the game's score is not made of rows' scores.
        """
        return self._by_row().scores(masks)

    def row_prefix_scores(
        self, order: Order
    ) -> Float[Array, "prefixes rows"] | Float[np.ndarray, "prefixes rows"]:
        """The same of the first 0, 1, ..., n players of `order`."""
        rows = self._by_row()
        if rows.prefixes is not None:
            return rows.prefixes(order)
        return rows.scores(_masks.prefixes(order))

    def row_leave_one_out_scores(self) -> LeaveOneOut:
        r"""The same of $N$ and of each $N \setminus i$."""
        rows = self._by_row()
        if rows.leave_one_out is not None:
            return rows.leave_one_out()
        scores = rows.scores(_masks.leave_one_out(self.num_players))
        return LeaveOneOut(scores[0], scores[1:])

    def reduce_rows(self, scores: Any, weights: Any = None) -> Any:
        r"""$v$ from the scores of rows: the metric under weights of the rows.

        Args:
          scores: Scores of rows, `(..., rows)`.
          weights: One weight per row, summing to 1; uniform when left out.
        """
        rows = self._by_row()
        xp = np if isinstance(scores, np.ndarray) else jnp
        if weights is None:
            weights = xp.full(rows.num_rows, 1.0 / rows.num_rows)
        return scores @ weights if rows.reduce is None else rows.reduce(scores, weights)

    def _by_row(self) -> Rows:
        if self.rows is None:
            raise ValueError(
                "game does not answer by validation row (`Game.rows` is None): its "
                "score is no function of scores of single rows."
            )
        return self.rows

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
        """Functions with arrays and the rows are children; the rest is static."""
        children, static, carries = _split_functions(self, _FUNCTIONS)
        fixed = (self.num_players, static, carries, self.batch_size, self.on_host)
        return (self.rows, *children), fixed

    @classmethod
    def tree_unflatten(cls, aux: tuple[Any, ...], children: Sequence[Any]) -> Game:
        """The inverse of `tree_flatten`."""
        num_players, static, carries, batch_size, on_host = aux
        rows, *rest = children
        functions = _join_functions(static, carries, rest)
        return cls(
            num_players, *functions, batch_size=batch_size, on_host=on_host, rows=rows
        )


def _split_functions(record, names):
    """Functions that carry arrays, the others, and which are which."""
    functions = tuple(getattr(record, name) for name in names)
    carries = tuple(isinstance(fn, Partial) for fn in functions)
    pairs = list(zip(functions, carries, strict=True))
    children = tuple(fn for fn, carried in pairs if carried)
    static = tuple(None if carried else fn for fn, carried in pairs)
    return children, static, carries


def _join_functions(static, carries, children):
    rest = iter(children)
    return [next(rest) if c else fn for fn, c in zip(static, carries, strict=True)]


_ROW_FUNCTIONS = ("scores", "prefixes", "leave_one_out", "reduce")

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
        rows=_combined_rows(parts),
    )


def _combined_rows(parts) -> Rows | None:
    """Rows of a combination: where all parts have them and are linear in them."""
    rows = [game.rows for game in parts[1]]
    if any(r is None or not r.is_linear for r in rows):
        return None
    if len({r.num_rows for r in rows}) > 1:
        return None
    return Rows(
        rows[0].num_rows,
        Partial(_combined_row_scores, parts),
        Partial(_combined_row_prefixes, parts),
        Partial(_combined_row_leave_one_out, parts),
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


def _combined_row_scores(parts, masks):
    return _weighted(parts, lambda game: game.row_scores(masks))


def _combined_row_prefixes(parts, order):
    return _weighted(parts, lambda game: game.row_prefix_scores(order))


def _combined_row_leave_one_out(parts):
    return _weigh_left_out(parts, Game.row_leave_one_out_scores)


def _combined_leave_one_out(parts):
    return _weigh_left_out(parts, Game.leave_one_out_scores)


@in_double
def _weigh_left_out(parts, ask):
    coefficients, games = parts
    answers = [ask(game) for game in games]
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


def grouped(game: Game, owner: Int[np.ndarray, " n"], num_owners: int) -> Game:
    """The game of groups of players: a coalition of groups brings all their players.

    Args:
      game: Game of single players.
      owner: Group, 0 to `num_owners` - 1, of each player.
      num_owners: Groups; those without players change nothing.

    Raises:
      ValueError: If `owner` does not name a group for each player.

    Example:
      >>> size = Game(3, lambda mask: mask.sum() * 1.0)
      >>> pairs = grouped(size, np.array([0, 1, 1]), 2)
      >>> float(pairs.score(jnp.array([False, True])))
      2.0
    """
    owner = np.asarray(owner)
    good = owner.shape == (game.num_players,) and owner.min(initial=0) >= 0
    if not (good and owner.max(initial=-1) < num_owners):
        raise ValueError(
            f"owner must name the group, 0 to {num_owners - 1}, of each of the game's "
            f"{game.num_players} players; got shape {owner.shape}."
        )
    parts = (game, owner if game.on_host else jnp.asarray(owner))
    rows = game.rows
    if rows is not None:
        by_row = Partial(_grouped_row_scores, parts)
        rows = Rows(rows.num_rows, by_row, reduce=rows.reduce)
    return Game(
        num_owners,
        Partial(_grouped_score, parts),
        Partial(_grouped_scores, parts),
        batch_size=game.batch_size,
        on_host=game.on_host,
        rows=rows,
    )


def _grouped_score(parts, mask):
    game, owner = parts
    return game.score(mask[owner])


def _grouped_scores(parts, masks):
    game, owner = parts
    return game.scores(masks[:, owner])


def _grouped_row_scores(parts, masks):
    game, owner = parts
    return game.row_scores(masks[:, owner])
