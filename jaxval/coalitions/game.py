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
from jaxval.execution.precision import in_double, packed, unpacked
from jaxval.types import AnyArray, Mask, Order, Scalar

__all__ = ["Game", "LeaveOneOut", "Rows", "as_scalar"]


class LeaveOneOut(NamedTuple):
    r"""Scores of the grand coalition, and of it without each player.

    Attributes:
      full: Score $v(N)$.
      without: Score $v(N \setminus i)$ for each player.
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
      leave_one_out: Nothing to a `LeaveOneOut` of scores `(rows,)` and `(n, rows)`,
        where one factorisation answers them all.
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
      num_players: Number of players, $n$.
      score: Score $v(S)$ of one mask; pure, defined for every mask. A number, or an
        array of one entry.
      fast_scores: Scores of a batch of masks, where that beats mapping `score`.
      fast_prefixes: Scores of the $n+1$ prefixes of an order at the cost of a few
        evaluations.
      fast_leave_one_out: Scores of the grand coalition and of it without each player,
        at the cost of a few evaluations.
      fast_powerset: Scores of all $2^n$ coalitions in the order of `masks.powerset`.
      fast_step: `(carry, mask) -> (carry, score)`, where the score of a coalition
        helps to find that of a somewhat larger one (a fit to start from). `None`
        begins a walk; unlike `fast_prefixes`, a walk may end early.
      batch_size: Coalitions `score` may be vmapped over at once; all when `None`.
      on_host: Whether `score` takes and returns NumPy and can't be traced by JAX.
      rows: Scores of single validation rows, where the score is made of them.
      fingerprint: Hash of the data behind a game that carries no arrays (a closure, a
        game on the host), for the identity of a checkpoint; no part of the pytree, so
        that games which differ in it alone share their programs.

    Example:
      >>> majority = Game(3, lambda mask: (mask.sum() >= 2) * 1.0)
      >>> majority.prefix_scores(jnp.array([2, 0, 1])).tolist()
      [0.0, 0.0, 1.0, 1.0]
      >>> float((3.0 * majority - majority).score(jnp.array([True, True, False])))
      2.0
    """

    num_players: int
    score: Callable[[Any], Any]
    fast_scores: Callable[..., Float[AnyArray, " m"]] | None = None
    fast_prefixes: Callable[[Any], Float[AnyArray, " prefixes"]] | None = None
    fast_leave_one_out: Callable[[], LeaveOneOut] | None = None
    fast_powerset: Callable[[], Float[Array, " coalitions"]] | None = None
    fast_step: Callable[[Any, Mask], tuple[Any, Scalar]] | None = None
    batch_size: int | None = None
    on_host: bool = False
    rows: Rows | None = None
    fingerprint: str | None = None

    def scores(
        self, masks: Bool[Array, "m n"] | Bool[np.ndarray, "m n"]
    ) -> Float[Array, " m"] | Float[np.ndarray, " m"]:
        """$v$ of each row of `masks`."""
        if self.fast_scores is not None:
            return self.fast_scores(masks)
        if self.on_host:
            return _host_scores(self.score, masks)
        if self.batch_size is None or masks.shape[0] <= self.batch_size:
            return jax.vmap(self._one)(jnp.asarray(masks))
        return jax.lax.map(self._one, jnp.asarray(masks), batch_size=self.batch_size)

    def _one(self, mask: Mask) -> Scalar:
        return as_scalar(self.score(mask))

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

    @in_double
    def reduce_rows(self, scores: Any, weights: Any = None) -> Any:
        r"""$v$ from the scores of rows: the metric under weights of the rows.

        Args:
          scores: Scores of rows, `(..., rows)`.
          weights: One weight per row, summing to 1; uniform when left out.
        """
        return _reduced(self._by_row(), scores, weights)

    def _by_row(self) -> Rows:
        if self.rows is None:
            raise ValueError(
                "game does not answer by validation row (`Game.rows` is None): its "
                "score is no function of scores of single rows."
            )
        return self.rows

    def __add__(self, other: Game) -> Game:
        """The sum of both games."""
        return _combine((1.0, 1.0), (self, other))

    def __sub__(self, other: Game) -> Game:
        """The difference of both games."""
        return _combine((1.0, -1.0), (self, other))

    def __mul__(self, factor: float | int | Scalar) -> Game:
        """The game times a number."""
        return _combine((factor,), (self,))

    __rmul__ = __mul__

    def __neg__(self) -> Game:
        """The game of costs."""
        return _combine((-1.0,), (self,))

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

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled with its arrays as NumPy: float64 stays float64 in every process."""
        game = packed(self)
        fields = {f.name: getattr(game, f.name) for f in dataclasses.fields(Game)}
        return _restore, (fields | {"fingerprint": self.fingerprint},)


@in_double
def _reduced(rows: Rows, scores: Any, weights: Any) -> Any:
    # Scores of rows are float64 also where the rest of the program is not.
    xp = np if isinstance(scores, np.ndarray) else jnp
    if weights is None:
        weights = xp.full(rows.num_rows, 1.0 / rows.num_rows, scores.dtype)
    return scores @ weights if rows.reduce is None else rows.reduce(scores, weights)


def _restore(fields: dict[str, Any]) -> Game:
    return dataclasses.replace(
        unpacked(Game(**fields)), fingerprint=fields["fingerprint"]
    )


def _combine(coefficients: Sequence[Any], games: Sequence[Game]) -> Game:
    from jaxval.coalitions.algebra import combine

    return combine(coefficients, games)


def as_scalar(score: Any) -> Any:
    """A score of shape `()`, `(1,)` or `(1, 1)` as a number.

    Args:
      score: Score of one coalition: a number or an array.

    Raises:
      ValueError: If it has more than one entry, or none.

    Example:
      >>> as_scalar(np.array([[2.0]])).shape
      ()
    """
    shape = np.shape(score)
    if math.prod(shape) != 1 or len(shape) > 2:
        raise ValueError(
            f"the game's score of one coalition must be one number; got an array of "
            f"shape {shape}. Reduce it, with a mean over validation rows for instance."
        )
    if not shape:
        return score
    xp = jnp if isinstance(score, jax.Array) else np
    return xp.reshape(score, ())


def _split_functions(record: Any, names: Sequence[str]) -> tuple[Any, ...]:
    """Functions that carry arrays, the others, and which are which."""
    functions = tuple(getattr(record, name) for name in names)
    carries = tuple(isinstance(fn, Partial) for fn in functions)
    pairs = list(zip(functions, carries, strict=True))
    children = tuple(fn for fn, carried in pairs if carried)
    static = tuple(None if carried else fn for fn, carried in pairs)
    return children, static, carries


def _join_functions(
    static: Sequence[Any], carries: Sequence[bool], children: Sequence[Any]
) -> list[Any]:
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


def _host_scores(
    score: Callable[[Any], Any], masks: Bool[AnyArray, "m n"]
) -> Float[np.ndarray, " m"]:
    values = [float(as_scalar(score(mask))) for mask in np.asarray(masks, bool)]
    if not all(math.isfinite(value) for value in values):
        bad = next(i for i, value in enumerate(values) if not math.isfinite(value))
        raise ValueError(
            f"the game's score must be finite; got {values[bad]} for the coalition of "
            f"players {np.flatnonzero(np.asarray(masks)[bad]).tolist()}."
        )
    return np.asarray(values)
