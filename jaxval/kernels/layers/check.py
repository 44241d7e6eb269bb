r"""Holding entries of the Gram matrix against plain differentiation.

The layer engine passes each sample through the network alone. Here the gradients of a
few samples are taken *in pairs*, through the network as the caller gave it. Where they
disagree, each of the samples is differentiated alone: if that is not the same either,
the network mixes samples (normalisation by the statistics of the batch), has no kernel
of pairs of samples, and is refused. Otherwise the layer engine is wrong: a warning
names the layer and the route, and the gradient engine takes over.
"""

import functools
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxval.execution.options import Execution
from jaxval.execution.precision import EXACT, MatmulPrecision
from jaxval.kernels import gradient_engine, row_blocks
from jaxval.kernels import readouts as _readouts
from jaxval.kernels.gradient_engine import real_leaves
from jaxval.kernels.layers import blame
from jaxval.kernels.layers.capture import sample_network
from jaxval.kernels.layers.engine import Problem
from jaxval.kernels.layers.plan import MemoryEstimate
from jaxval.types import Points

__all__ = ["LayerEngineWarning", "guarded", "sampled"]

_TOLERANCE = {64: 1e-8, 32: 2e-3}
"""Allowed error relative to the diagonal, by the bits of the coarsest numbers."""

_COARSE = 0.1
"""Allowed error of numbers of 16 bits, and of products in reduced precision."""


class LayerEngineWarning(RuntimeWarning):
    """The layer engine disagreed with plain differentiation and was not used."""


class _Sample(NamedTuple):
    """Rows and columns of the entries that are recomputed, and their gradients' data.

    Attributes:
      rows: Row of each entry.
      columns: Column of each entry.
      points: Inputs and targets of the rows, and then of the columns unless the matrix
        is symmetric.
      places: Where in `points` the columns are.
    """

    rows: Int[np.ndarray, " r"]
    columns: Int[np.ndarray, " c"]
    points: row_blocks.Rows
    places: Int[np.ndarray, " c"]


def guarded(
    gram: Float[Array, "n m"],
    problem: Problem,
    rows: row_blocks.Rows,
    columns: row_blocks.Rows | None,
    *,
    plan: MemoryEstimate,
    matmul_precision: MatmulPrecision,
    execution: Execution,
) -> Float[Array, "n m"]:
    """The Gram matrix, after a few of its entries have been recomputed.

    Args:
      gram: Gram matrix of the layer engine.
      problem: Network, parameters and readouts.
      rows: Inputs and targets of the rows.
      columns: Inputs and targets of the columns; `None` for the symmetric matrix.
      plan: Blocks that it was computed in.
      matmul_precision: Precision that it was computed in.
      execution: Memory and progress of the gradient engine, if that takes over.

    Returns:
      The matrix, or that of the gradient engine where the two disagree.

    Raises:
      ValueError: If the network mixes samples, or the kernel is not finite. Inside a
        trace nothing can be raised: there the matrix is NaN instead.

    Warns:
      LayerEngineWarning: If the layer engine disagrees about a network that does not
        mix samples.
    """
    sample = _draw(rows, columns)
    truth = _in_pairs(problem, sample.points)
    finite, error = _compare(gram, truth, sample.rows, sample.columns, sample.places)
    worst = jnp.max(error)
    bound = functools.partial(tolerance, problem, rows[0], gram.dtype, matmul_precision)
    if isinstance(finite & (worst <= 0), jax.core.Tracer):
        return jnp.where(finite & (worst <= bound()), gram, jnp.nan)
    worst = float(worst)
    if not (worst <= _strict(gram.dtype, matmul_precision) or worst <= bound()):
        _refuse_if_mixing(problem, sample.points, truth, gram, bound())
        place = np.argmax(np.nan_to_num(np.asarray(error, np.float64), nan=np.inf))
        row, column = np.unravel_index(place, error.shape)
        entry = int(sample.rows[row]), int(sample.columns[column])
        culprits = blame.disagreements(
            problem, rows, columns, entry, plan=plan, matmul_precision=matmul_precision
        )
        _warn(worst, entry, blame.described(culprits, bound()))
        gram = _fall_back(problem, rows, columns, execution)
    return _finite(gram)


def sampled(n: int, others: int | None = None) -> Int[np.ndarray, " few"]:
    """The rows that are recomputed: both ends, and one somewhere in each half.

    The choice looks random and depends on the shape alone, so that a computation
    is always checked in the same way.

    Args:
      n: Number of rows.
      others: Number of columns of a rectangular matrix.

    Example:
      >>> sampled(2).tolist(), len(sampled(100)), len(sampled(100, 5))
      ([0, 1], 4, 4)
    """
    if n < 4:
        return np.arange(n)
    random = np.random.default_rng([n, 0 if others is None else others])
    return np.array([0, *random.integers([1, n // 2], [n // 2, n - 1]), n - 1])


def tolerance(
    problem: Problem, x: Any, dtype: Any, matmul_precision: MatmulPrecision
) -> float:
    """Allowed error, after the coarsest numbers that the network computes with.

    Args:
      problem: Network, parameters and readouts.
      x: Inputs, one per row.
      dtype: Type of the Gram matrix.
      matmul_precision: Precision of the matrix products.
    """
    if matmul_precision != EXACT:
        return _COARSE
    # Looked at only where the matrix's own type does not already say enough.
    network = sample_network(problem.network, problem.params, x)
    avals: list[Any] = [v.aval for eqn in network.eqns for v in eqn.outvars]
    dtypes = [aval.dtype for aval in avals]
    real = [d for d in [*dtypes, dtype] if jnp.issubdtype(d, jnp.floating)]
    return _TOLERANCE.get(min(jnp.finfo(d).bits for d in real), _COARSE)


def _strict(dtype, matmul_precision):
    """`tolerance` of a network that computes in the matrix's own type."""
    exact = matmul_precision == EXACT
    return _TOLERANCE.get(jnp.finfo(dtype).bits, _COARSE) if exact else _COARSE


def _draw(rows, columns):
    n = len(rows[0])
    if columns is None:
        first = sampled(n)
        return _Sample(first, first, _pick(rows, first), np.arange(len(first)))
    m = len(columns[0])
    first, second = sampled(n, m), sampled(m, n)
    points = jax.tree.map(
        lambda a, b: jnp.concatenate([a, b]),
        _pick(rows, first),
        _pick(columns, second),
    )
    return _Sample(first, second, points, len(first) + np.arange(len(second)))


def _pick(pair, where):
    return jax.tree.map(lambda a: jnp.asarray(a[where]), pair)


@jax.jit
def _compare(gram, truth, rows, columns, places):
    """Whether all is finite, and the sampled entries' errors relative to the diagonal.

    `truth` is the Gram matrix of the sampled points: rows first, columns at `places`.
    """
    few = gram[rows[:, None], columns[None, :]]
    size = jnp.sqrt(jnp.diagonal(truth))
    scale = size[: len(rows), None] * size[places][None, :]
    gap = jnp.abs(few - truth[: len(rows), places])
    error = gap / jnp.maximum(scale, jnp.finfo(scale.dtype).tiny)
    return jnp.isfinite(gram).all(), error


def _in_pairs(problem, points):
    """The Gram matrix of few samples, each differentiated in a batch of two."""
    x, y = points
    count, total = len(x), 0.0
    # Loops of Python's: XLA's CPU backend takes convolutions inside its own loops
    # forty times slower.
    for number in range(len(problem.functions)):
        rows = []
        for place in range(count):
            pair = np.unique([place, (place + 1) % count])
            where = int(pair[0] != place)
            rows.append(_gradient(problem, *_at(x, y, pair), where, number))
        total = total + _products(rows)
    return total


def _at(x, y, where):
    return x[where], None if y is None else y[where]


def _refuse_if_mixing(problem, points, truth, gram, allowed):
    """Raise where samples that are differentiated alone do not give `truth` either."""
    if not bool(jnp.isfinite(truth).all()):
        _finite(gram)
    x, y = points
    alone = gradient_engine.gram(
        problem.network,
        problem.params,
        x if y is None else Points(x, y),
        readout=problem.functions,
    )
    every = np.arange(len(x))
    _, error = _compare(alone, truth, every, every, every)
    if float(jnp.max(error)) <= allowed:
        return
    raise ValueError(
        "the gradients of samples that are differentiated alone and together differ "
        f"by {float(jnp.max(error)):.1e} relative to the kernel's diagonal (allowed: "
        f"{allowed:.0e}). Either apply_fn mixes samples (batch norm with the "
        "statistics of the batch: use running averages), or its outputs are "
        "discontinuous in a way that rounding decides; kernels.gradient_engine.gram "
        "differentiates each sample alone, and self_check=False leaves this check out."
    )


def _warn(error, entry, culprits):
    warnings.warn(
        "the layer engine differs from plain differentiation of apply_fn by "
        f"{error:.1e} relative to the kernel's diagonal at entry {entry}{culprits}. "
        "The gradient engine is used instead, which is right but slower and holds all "
        "gradients of a block of rows. Please report the network.",
        LayerEngineWarning,
        stacklevel=5,
    )


def _as_points(pair):
    return pair[0] if pair[1] is None else Points(*pair)


def _fall_back(problem, rows, columns, execution):
    # The layer engine's block size is no measure for rows whose gradients are formed.
    options = Execution(memory=execution.memory, progress=execution.progress)
    return gradient_engine.gram(
        problem.network,
        problem.params,
        _as_points(rows),
        None if columns is None else _as_points(columns),
        readout=problem.functions,
        execution=options,
    )


def _finite(gram):
    finite = np.asarray(jnp.isfinite(gram))
    if finite.all():
        return gram
    where = tuple(int(i) for i in np.argwhere(~finite)[0])
    raise ValueError(
        f"the kernel is not finite in {finite.size - finite.sum()} of its "
        f"{finite.size} entries (the first: {where}). Check the inputs, the "
        "parameters, and that y holds class numbers that the network has an output for."
    )


@jax.jit
def _gradient(problem, x, y, place, number):
    leaves, rebuild = real_leaves(problem.params)
    outputs, pull = jax.vjp(lambda p: problem.network(rebuild(p), x), leaves)
    target = None if y is None else y[place]
    seed = _readouts.seeds(problem.functions, outputs[place], target)[number]
    return pull(jnp.zeros_like(outputs).at[place].set(seed))[0]


@jax.jit
def _products(rows):
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)
    return sum(row_blocks.inner(g, g) for g in stacked)
