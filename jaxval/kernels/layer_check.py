r"""Holding a few entries of the Gram matrix against plain differentiation.

The layer engine passes each sample through the network alone. Here the gradients of a
few samples are taken *together*, through the network as the caller gave it: a network
that mixes samples (normalisation by the statistics of the batch) has no kernel of pairs
of samples, and shows itself by a difference.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from jaxval.kernels import readouts as _readouts
from jaxval.kernels import row_blocks
from jaxval.kernels.gradient_engine import float_leaves
from jaxval.kernels.layer_engine import Problem

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
    first = np.unique(np.linspace(0, len(rows[0]) - 1, 3).astype(int))
    pick = lambda pair, where: jax.tree.map(lambda a: jnp.asarray(a[where]), pair)
    chosen = pick(rows, first)
    if columns is None:
        second, places = first, np.arange(len(first))
    else:
        second = np.unique(np.linspace(0, len(columns[0]) - 1, 2).astype(int))
        places = len(first) + np.arange(len(second))
        join = lambda a, b: jnp.concatenate([a, b])
        chosen = jax.tree.map(join, chosen, pick(columns, second))
    few = gram[first[:, None], second[None, :]]
    return _compare(
        jnp.isfinite(gram).all(), few, problem, *chosen, tuple(places), tolerance
    )


@functools.partial(jax.jit, static_argnums=5)
def _compare(finite, few, problem, x, y, places, tolerance):
    truth = _direct(problem, x, y)
    size = jnp.sqrt(jnp.diagonal(truth))
    scale = size[: len(few), None] * size[jnp.array(places)][None, :]
    expected = truth[: len(few), jnp.array(places)]
    tiny = jnp.finfo(scale.dtype).tiny
    error = jnp.max(jnp.abs(few - expected) / jnp.maximum(scale, tiny))
    return finite & (error <= tolerance), error


def _direct(problem, x, y):
    """The Gram matrix of few samples, from gradients of the batch as a whole."""
    leaves, rebuild = float_leaves(problem.params)
    outputs, pull = jax.vjp(lambda p: problem.network(rebuild(p), x), leaves)
    seeds = jax.vmap(lambda f, t: _readouts.seeds(problem.functions, f, t))(outputs, y)

    def add(number, total):
        one = lambda seed, place: pull(jnp.zeros_like(outputs).at[place].set(seed))[0]
        rows = lax.map(lambda a: one(*a), (seeds[:, number], jnp.arange(len(outputs))))
        return total + sum(row_blocks.inner(g, g) for g in rows)

    dtype = jnp.promote_types(outputs.dtype, jnp.float32)
    total = jnp.zeros((len(outputs), len(outputs)), dtype)
    return lax.fori_loop(0, seeds.shape[1], add, total)
