"""Which layer, and which route, a wrong entry of the Gram matrix comes from.

The blocks that the entry was computed in are computed again, each layer's part of the
tile by itself, and held against the products of that layer's gradients.
"""

import functools
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxval.execution.precision import MatmulPrecision
from jaxval.kernels import gradient_engine, row_blocks
from jaxval.kernels.layers import routes
from jaxval.kernels.layers.engine import Problem, represent_rows
from jaxval.kernels.layers.plan import MemoryEstimate
from jaxval.kernels.layers.weights import Rows
from jaxval.types import Points

__all__ = ["Disagreement", "described", "disagreements"]


class Disagreement(NamedTuple):
    """How far a layer's part of an entry is from the products of its gradients.

    Attributes:
      layer: Path of the leaf in the parameters.
      route: Route that was taken, or `"stored"` for gradients that are formed.
      error: Absolute difference, relative to the true diagonal of the whole kernel.
    """

    layer: str
    route: str
    error: float


def disagreements(
    problem: Problem,
    rows: row_blocks.Rows,
    columns: row_blocks.Rows | None,
    entry: tuple[int, int],
    *,
    plan: MemoryEstimate,
    matmul_precision: MatmulPrecision,
) -> list[Disagreement]:
    """All layers' differences at one entry of the matrix, the largest first.

    Args:
      problem: Network, parameters and readouts.
      rows: Inputs and targets of the rows.
      columns: Inputs and targets of the columns; `None` for the symmetric matrix.
      entry: Row and column of the entry.
      plan: Blocks that the matrix was computed in.
      matmul_precision: Precision that it was computed in.
    """
    left, right, place = _blocks(rows, columns, entry, plan.block_size)
    represent = functools.partial(
        represent_rows,
        problem,
        matmul_precision=matmul_precision,
        mesh=None,
        batch_size=plan.batch_size,
    )
    one = represent(*left)
    other = None if right is None else represent(*right)
    tiles = _tiles(one, other, matmul_precision)
    row, column = _at(rows, entry[0]), _at(columns or rows, entry[1])
    truth, scale = _products(problem, row, column)
    names = gradient_engine.leaf_names(problem.params)
    taken = _routes(one, (left if right is None else right)[0].shape[0], right is None)
    differences = [
        Disagreement(
            names[leaf],
            taken[leaf],
            float(abs(np.float64(tile[place]) - truth[leaf]) / scale),
        )
        for leaf, tile in tiles.items()
    ]
    return sorted(differences, key=lambda each: -each.error)


def described(differences: list[Disagreement], tolerance: float) -> str:
    """The end of a sentence that names the worst layers.

    Args:
      differences: Differences of all layers, the largest first.
      tolerance: Difference that is allowed.
    """
    bad = [each for each in differences if not each.error <= tolerance][:3]
    if not bad:
        return " (no layer by itself does)"
    each = [f"{b.layer} by route {b.route}: {b.error:.1e}" for b in bad]
    return f" ({', '.join(each)})"


def _blocks(rows, columns, entry, block_size):
    """The blocks that an entry is in, and its place in their tile."""
    i, j = entry
    first, height = row_blocks.starts(len(rows[0]), block_size)
    other = rows if columns is None else columns
    second, width = row_blocks.starts(len(other[0]), block_size)
    # The last block that covers a row has written it.
    down = max(s for s in first if s <= i)
    across = max(s for s in second if s <= j)
    if columns is None and down > across:
        i, j, down, across = j, i, across, down
    left = _cut(rows, down, height)
    same = columns is None and down == across
    right = None if same else _cut(other, across, width)
    return left, right, (i - down, j - across)


def _cut(pair, start, size):
    """Inputs and targets of some rows in a row."""
    return jax.tree.map(lambda a: a[start : start + size], pair)


@functools.partial(jax.jit, static_argnums=2)
def _tiles(left: Rows, right: Rows | None, matmul_precision: MatmulPrecision) -> Any:
    """Each leaf's part of the tile."""
    tiles, start = {}, 0
    for leaf, width in left.widths:
        cut = slice(start, start + width)
        other = left if right is None else right
        tiles[leaf] = row_blocks.inner(left.features[:, cut], other.features[:, cut])
        start += width
    for number, weight in enumerate(left.weights):
        other = None if right is None else right.weights[number]
        tiles[weight.leaf] = routes.contract_weight(weight, other, matmul_precision)
    return tiles


def _routes(left: Rows, num_columns: int, same: bool) -> dict[int, str]:
    taken = {leaf: "stored" for leaf, _ in left.widths}
    for weight in left.weights:
        route = routes.choose(weight, weight.num_rows, num_columns, same=same)
        taken[weight.leaf] = route.value
    return taken


def _products(problem, row, column):
    """The products of the two gradients, by leaf, and the root of their norms'."""
    both = jax.tree.map(lambda a, b: np.concatenate([a, b]), row, column)
    points = both[0] if both[1] is None else Points(*both)
    grads = gradient_engine.gradients(
        problem.network, problem.params, points, readout=problem.functions
    )
    grads = [np.asarray(g, np.float64) for g in grads]
    # Readouts lie side by side: (2, readouts size)
    grads = [g.reshape(2, -1) for g in grads]
    norms = np.sum([(g**2).sum(1) for g in grads], axis=0)
    return [g[0] @ g[1] for g in grads], max(np.sqrt(norms.prod()), 1e-300)


def _at(pair, place):
    return jax.tree.map(lambda a: np.asarray(a[place : place + 1]), pair)
