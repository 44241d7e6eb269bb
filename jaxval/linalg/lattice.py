r"""Tables over all $2^K$ coalitions, each coalition from its neighbour.

Every table is in the order of `masks.powerset`: player $i$ is bit $i$ of the row's
number.
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from jaxval.execution.precision import in_double
from jaxval.linalg.quadratic import Targets, cholesky
from jaxval.linalg.statistics import Statistics

__all__ = [
    "additive_table",
    "pairwise_table",
    "powerset_quadratic_forms",
    "powerset_statistic_forms",
]


@in_double
def additive_table(values: Float[Array, " players"]) -> Float[Array, " coalitions"]:
    r"""$\sum_{i \in S} a_i$ of every coalition.

    The outer sum of the tables of the two halves of the players: one addition each.

    Args:
      values: Numbers $a_i$, one per player.

    Returns:
      One sum per coalition, in the order of `masks.powerset`.

    Example:
      >>> additive_table(jnp.array([1.0, 10.0])).tolist()
      [0.0, 1.0, 10.0, 11.0]
    """
    half = values.shape[0] // 2
    low, high = _members(half), _members(values.shape[0] - half)
    values = values.astype(jnp.float64)
    return ((high @ values[half:])[:, None] + (low @ values[:half])[None, :]).reshape(
        -1
    )


def _members(count):
    """All coalitions of `count` players as rows of zeros and ones."""
    number, player = jnp.arange(2**count), jnp.arange(count)
    return ((number[:, None] >> player[None, :]) % 2).astype(jnp.float64)


@in_double
def pairwise_table(
    matrix: Float[Array, "players players"],
) -> Float[Array, " coalitions"]:
    r"""$\sum_{i, j \in S} B_{ij}$ of every coalition, for a symmetric matrix.

    With the players in two halves, $B$ inside each is a small table and $B$ between
    them one matrix product: some $K$ operations a coalition instead of $K^2$.

    Args:
      matrix: Symmetric matrix $B$ of the players.

    Returns:
      One sum per coalition, in the order of `masks.powerset`.

    Example:
      >>> pairwise_table(jnp.ones((2, 2))).tolist()
      [0.0, 1.0, 1.0, 4.0]
    """
    half = matrix.shape[0] // 2
    matrix = matrix.astype(jnp.float64)
    low, high = _members(half), _members(matrix.shape[0] - half)
    across = 2.0 * (high @ matrix[half:, :half]) @ low.T
    of_high = _own_forms(high, matrix[half:, half:])[:, None]
    of_low = _own_forms(low, matrix[:half, :half])[None, :]
    return (of_high + across + of_low).reshape(-1)


def _own_forms(members, block):
    """The quadratic form of each row of `members`."""
    return jnp.sum((members @ block) * members, axis=1)


@in_double
def powerset_quadratic_forms(
    h: Float[Array, "n n"],
    y: Targets,
    sizes: Sequence[int],
    *,
    memory: int | None = None,
) -> Float[Array, " coalitions"]:
    r"""$q$ of every union of $K$ groups without ever refactorising (identity B2).

    The groups are decided on one after the other. A node of the tree keeps the Schur
    complement of the undecided rows given the chosen ones. A group that stays out is
    dropped; one that joins adds $r_g^\top S_{gg}^{-1} r_g$ and is eliminated from the
    rest. All nodes of a depth have one shape, so the lower levels are batches; upper
    ones are walked depth first within `memory`. With groups of $m$ rows the whole costs
    about $6 m^3 2^K$ operations instead of $K^3 m^3 2^K / 24$.

    Args:
      h: Positive definite matrix, its rows sorted by group.
      y: Residuals, one per row, or one column per output (their forms are added up).
      sizes: Rows of each group, in order; put the largest first for speed.
      memory: Bytes that a batch of nodes may take, about; 256 MiB when `None`.

    Returns:
      One form per coalition of groups, in the order of `masks.powerset`.

    Raises:
      ValueError: If the sizes don't add up to the rows of `h`.

    Example:
      >>> forms = powerset_quadratic_forms(0.5 * jnp.eye(3), jnp.ones(3), (2, 1))
      >>> forms.round(9).tolist()
      [0.0, 4.0, 2.0, 6.0]
    """
    if sum(sizes) != h.shape[0]:
        raise ValueError(
            f"sizes must add up to the {h.shape[0]} rows of h; got {list(sizes)}, "
            f"which add up to {sum(sizes)}."
        )
    y = y.astype(jnp.float64)
    node = (h.astype(jnp.float64), y[:, None] if y.ndim == 1 else y, jnp.zeros(()))
    return _forms_below(node, tuple(sizes), memory or _BATCH_BYTES)


_BATCH_BYTES = 2**28


def _forms_below(node, sizes, memory):
    if not sizes:
        return node[2][None]
    children = jax.tree.map(lambda *c: jnp.stack(c), *_children(node, sizes[0]))
    below = functools.partial(_forms_below, sizes=sizes[1:], memory=memory)
    fits = _batch_bytes(sizes) <= memory
    tables = jax.vmap(below)(children) if fits else jax.lax.map(below, children)
    return tables.T.reshape(-1)


def _batch_bytes(sizes):
    # All nodes of a depth at once: 2**depth squares of the rows not yet decided.
    rows = [sum(sizes[depth:]) for depth in range(len(sizes) + 1)]
    return max(8 * 2**depth * (n * n + 8) for depth, n in enumerate(rows))


def _children(node, size):
    """The node without the first group, and with it."""
    schur, rest, form = node
    factor = cholesky(schur[:size, :size])
    solve = functools.partial(solve_triangular, factor, lower=True)
    across, half = solve(schur[:size, size:]), solve(rest[:size])
    joined = (
        schur[size:, size:] - across.T @ across,
        rest[size:] - across.T @ half,
        form + jnp.sum(half**2),
    )
    return (schur[size:, size:], rest[size:], form), joined


@in_double
def powerset_statistic_forms(
    statistics: Statistics, zeta: Float[Array, ""] | float
) -> Float[Array, " coalitions"]:
    r"""$q$ of every coalition from additive statistics (identity C).

    Each coalition costs one small factorisation. The matrices of a batch differ from
    those of the next by one matrix only, so that summing them costs one addition an
    entry, and the border $F^\top y$ is factorised along with $F^\top F$, so that
    nothing is solved afterwards.

    Args:
      statistics: Statistics of each owner; see `additive_statistics`.
      zeta: Regulariser $\zeta$.

    Returns:
      One form per coalition, in the order of `masks.powerset`.

    Example:
      >>> sums = Statistics(
      ...     jnp.eye(2)[:, :, None] * jnp.eye(2)[:, None, :],
      ...     jnp.eye(2)[:, :, None],
      ...     jnp.ones(2),
      ...     jnp.ones(2),
      ... )
      >>> powerset_statistic_forms(sums, 1.0).round(9).tolist()
      [0.0, 0.5, 0.5, 1.0]
    """
    bordered = jax.vmap(_bordered)(statistics)
    count, width = statistics.squares.shape[:2]
    low = min(count, max(0, int(math.log2(_BATCH_ENTRIES / width**2))))
    rows = bordered.shape[1]
    # Any corner that keeps the matrix positive definite will do: it is never read.
    corner = 2.0 * jnp.sum(statistics.energy) + 1.0
    diagonal = jnp.where(jnp.arange(rows) < width, zeta, corner)
    table = _matrix_table(bordered[:low]) + jnp.diag(diagonal)[None]

    def explained(high):
        factor = jax.lax.linalg.cholesky(table + high[None], symmetrize_input=False)
        return jnp.sum(factor[:, width:, :width] ** 2, axis=(1, 2))

    high = _matrix_table(bordered[low:])
    energy = additive_table(statistics.energy)
    return (energy - jax.lax.map(explained, high).reshape(-1)) / zeta


_BATCH_ENTRIES = 2**18


def _bordered(statistics):
    return jnp.block(
        [
            [statistics.squares, statistics.cross],
            [statistics.cross.T, jnp.zeros((statistics.cross.shape[1],) * 2)],
        ]
    ).astype(jnp.float64)


def _matrix_table(matrices):
    """Sums of the matrices of every coalition."""
    return jnp.tensordot(_members(matrices.shape[0]), matrices, 1)
