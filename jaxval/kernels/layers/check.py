r"""Holding a few entries of the Gram matrix against plain differentiation.

The layer engine passes each sample through the network alone. Here the gradients of a
few samples are taken *together*, through the network as the caller gave it: a network
that mixes samples (normalisation by the statistics of the batch) has no kernel of pairs
of samples, and shows itself by a difference.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxval.kernels import readouts as _readouts
from jaxval.kernels import row_blocks
from jaxval.kernels.gradient_engine import float_leaves
from jaxval.kernels.layers.engine import Problem

__all__ = ["agreement", "guarded"]


def guarded(
    gram: Float[Array, "n m"],
    problem: Problem,
    rows: row_blocks.Rows,
    columns: row_blocks.Rows | None,
    tolerance: float,
) -> Float[Array, "n m"]:
    """The Gram matrix, after a few of its entries have been recomputed.

    Raises:
      ValueError: if they differ. Inside a trace nothing can be raised: there the
        matrix is NaN instead.
    """
    good, error = agreement(gram, problem, rows, columns, tolerance)
    if isinstance(good, jax.core.Tracer):
        return jnp.where(good, gram, jnp.nan)
    if bool(good):
        return gram
    finite = np.asarray(jnp.isfinite(gram))
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(
            f"the kernel is not finite in {finite.size - finite.sum()} of its "
            f"{finite.size} entries (the first: {where}). Check x, the parameters, and "
            "that y holds class numbers that the network has an output for."
        )
    raise ValueError(
        "the kernel differs from plain differentiation of apply_fn by "
        f"{float(error):.1e} relative to its diagonal (allowed: {tolerance:.0e}). "
        "Either apply_fn mixes samples (batch norm with the statistics of the batch: "
        "use running averages), or its outputs are discontinuous in a way that "
        "rounding decides; kernels.gradient_engine.gram differentiates each sample "
        "alone, and self_check=False leaves this check out."
    )


def agreement(
    gram: Float[Array, "n m"],
    problem: Problem,
    rows: row_blocks.Rows,
    columns: row_blocks.Rows | None,
    tolerance: float,
) -> tuple[Bool[Array, ""], Float[Array, ""]]:
    """Whether all is finite and a few entries agree, and their relative error."""
    first = np.unique([0, len(rows[0]) - 1])
    pick = lambda pair, where: jax.tree.map(lambda a: jnp.asarray(a[where]), pair)
    chosen = pick(rows, first)
    if columns is None:
        second, places = first, np.arange(len(first))
    else:
        second, places = np.array([len(columns[0]) - 1]), np.array([len(first)])
        join = lambda a, b: jnp.concatenate([a, b])
        chosen = jax.tree.map(join, chosen, pick(columns, second))
    few = gram[first[:, None], second[None, :]]
    truth = _direct(problem, *chosen)
    return _compare(gram, few, truth, tuple(places), tolerance)


@functools.partial(jax.jit, static_argnums=3)
def _compare(gram, few, truth, places, tolerance):
    size = jnp.sqrt(jnp.diagonal(truth))
    columns = jnp.array(places)
    scale = size[: len(few), None] * size[columns][None, :]
    tiny = jnp.finfo(scale.dtype).tiny
    gap = jnp.abs(few - truth[: len(few), columns])
    error = jnp.max(gap / jnp.maximum(scale, tiny))
    return jnp.isfinite(gram).all() & (error <= tolerance), error


def _direct(problem, x, y):
    """The Gram matrix of few samples, from gradients of the batch as a whole."""
    total: Any = 0.0
    # Loops of Python's: XLA's CPU backend takes convolutions inside its own loops
    # forty times slower.
    for number in range(len(problem.functions)):
        rows = [_gradient(problem, x, y, place, number) for place in range(len(x))]
        total = total + _products(rows)
    return total


@jax.jit
def _gradient(problem, x, y, place, number):
    leaves, rebuild = float_leaves(problem.params)
    outputs, pull = jax.vjp(lambda p: problem.network(rebuild(p), x), leaves)
    target = None if y is None else y[place]
    seed = _readouts.seeds(problem.functions, outputs[place], target)[number]
    return pull(jnp.zeros_like(outputs).at[place].set(seed))[0]


@jax.jit
def _products(rows):
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)
    return sum(row_blocks.inner(g, g) for g in stacked)
