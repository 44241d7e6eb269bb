r"""The gradient engine: $\Theta_{ij} = \langle g_i, g_j\rangle$ from the gradients.

It takes any pure network, assumes nothing about its layers, and is what the layer
engine is held against. It stores the gradients of two blocks of rows at a time.

A complex parameter $a + bi$ counts as its two real ones, $a$ and $b$.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.tree_util import Partial
from jaxtyping import Array, Float, Num

from jaxval._checks import check
from jaxval.execution.memory import default_limit, rows_that_fit
from jaxval.execution.options import Execution
from jaxval.execution.parallel import require_one_process
from jaxval.kernels import readouts as _readouts
from jaxval.kernels import row_blocks
from jaxval.kernels.readouts import Readout
from jaxval.types import AnyArray, ApplyFn, Params, Points

__all__ = ["check_outputs", "gradients", "gram", "leaf_names", "real_leaves"]


def gradients(
    apply_fn: ApplyFn,
    params: Params,
    rows: Num[AnyArray, "n ..."] | Points,
    *,
    readout: Readout = _readouts.true_class_logit,
) -> list[Float[Array, "n ..."]]:
    r"""Per-sample gradients of the readout, one array of `(n, size)` per leaf.

    A sample is passed through the network alone, as a batch of one. Several readouts
    lie side by side, over the root of their number, so that in every case
    $\Theta_{ij}$ is the sum over arrays of the products of rows $i$ and $j$.

    Args:
      apply_fn: Function of parameters and a batch of inputs to a batch of outputs.
      params: Parameters of the network. A complex leaf counts as two, its real and its
        imaginary part; leaves of other kinds (integers, random keys) are left alone.
      rows: Inputs, one per row, or `Points(x, y)` with the targets that the readout
        asks for.
      readout: Scalar whose gradients are wanted; see `jaxval.kernels.readouts`.

    Returns:
      One array per real leaf, in the order of `real_leaves`.

    Raises:
      ValueError: If `rows` is no array, or the outputs are not of shape (n, outputs).

    Example:
      >>> linear = lambda w, x: x @ w
      >>> x, readout = jnp.array([[1.0, 2.0]]), _readouts.single_output
      >>> gradients(linear, jnp.ones((2, 1)), x, readout=readout)[0].tolist()
      [[1.0, 2.0]]
    """
    leaves, rebuild = real_leaves(params)
    functions = _readouts.as_tuple(readout)

    def one(xi, yi):
        def run(leaves):
            outputs = apply_fn(rebuild(leaves), xi[None])
            check_outputs(outputs)
            return outputs[0]

        outputs, pull = jax.vjp(run, leaves)
        (grads,) = jax.vmap(pull)(_readouts.seeds(functions, outputs, yi))
        return [jnp.ravel(g) for g in grads]

    return jax.vmap(one)(*row_blocks.inputs_and_targets(rows))


def gram(
    apply_fn: ApplyFn,
    params: Params,
    rows: Num[AnyArray, "n ..."] | Points,
    columns: Num[AnyArray, "m ..."] | Points | None = None,
    *,
    readout: Readout = _readouts.true_class_logit,
    execution: Execution = Execution(),  # noqa: B008
) -> Float[Array, "n m"]:
    r"""The empirical NTK $\Theta_{ij} = \langle g_i, g_j\rangle$, gradients formed.

    Args:
      apply_fn: Function of parameters and a batch of inputs to a batch of outputs.
      params: Parameters of the network; see `gradients`.
      rows: Inputs, one per row, or `Points(x, y)`.
      columns: Other inputs, for a rectangular matrix; the rows when `None`.
      readout: Scalar whose gradients are compared; see `jaxval.kernels.readouts`.
      execution: Block size (`batch_size`: rows whose gradients are held) and bytes
        (`memory`, by default those of `execution.memory.default_limit`) that choose it.
        Two blocks take `batch_size` times the number of parameters, twice.

    Returns:
      One row for each input in `rows`, one column for each in `columns` (or in `rows`).

    Raises:
      ValueError: If `rows` is no array, or the outputs are not of shape (n, outputs).

    Example:
      >>> linear = lambda w, x: x @ w
      >>> x = jnp.array([[1.0, 2.0], [3.0, 4.0]])
      >>> readout = _readouts.single_output
      >>> gram(linear, jnp.ones((2, 1)), x, readout=readout).tolist()
      [[5.0, 11.0], [11.0, 25.0]]

    References:
      Jacot, Gabriel and Hongler, *Neural tangent kernel*, 2018.
    """
    require_one_process("gradient_engine.gram")
    left = row_blocks.inputs_and_targets(rows)
    right = None if columns is None else row_blocks.inputs_and_targets(columns)
    row_blocks.check_same_features(left, right)
    functions = tuple(Partial(r) for r in _readouts.as_tuple(readout))
    network = Partial(apply_fn)
    n = len(left[0])
    m = n if right is None else len(right[0])
    # A block's gradients, and as much again while they are made.
    memory = default_limit() if execution.memory is None else execution.memory
    fit = rows_that_fit(4 * _gradient_bytes(params, len(functions)), memory)
    return row_blocks.gram(
        lambda x, y: _gradients(network, params, functions, x, y),
        _contract,
        left,
        right,
        block_size=execution.batch_size or min(fit, max(n, m)),
        keep=n + m <= 2 * fit,
        progress=execution.progress,
    )


def real_leaves(params: Params) -> tuple[list[Array], Callable[[list[Any]], Params]]:
    """The real leaves that have gradients, and the way back to the whole tree.

    A complex leaf is two of them, its real and its imaginary part.

    Args:
      params: Pytree of parameters. What is neither real nor complex stays as it is.

    Example:
      >>> leaves, rebuild = real_leaves({"w": jnp.array([1 + 2j]), "steps": 3})
      >>> [leaf.tolist() for leaf in leaves], rebuild(leaves)["w"].tolist()
      ([[1.0], [2.0]], [(1+2j)])
    """
    leaves, tree = jax.tree.flatten(params)
    parts = [_parts(leaf) for leaf in leaves]

    def rebuild(inner: list[Any]) -> Params:
        rest = iter(inner)
        together = [
            _JOIN[len(part)](*(next(rest) for _ in part)) if part else leaf
            for part, leaf in zip(parts, leaves, strict=True)
        ]
        return jax.tree.unflatten(tree, together)

    return [part for each in parts for part in each], rebuild


def leaf_names(params: Params) -> list[str]:
    """Paths of the leaves that `real_leaves` gives, in their order.

    Example:
      >>> leaf_names({"a": jnp.ones(2), "b": [jnp.ones(1, complex)]})
      ["['a']", "['b'][0].real", "['b'][0].imag"]
    """
    endings = {0: (), 1: ("",), 2: (".real", ".imag")}
    return [
        jax.tree_util.keystr(path) + ending
        for path, leaf in jax.tree.leaves_with_path(params)
        for ending in endings[len(_parts(leaf))]
    ]


def check_outputs(outputs: Any) -> None:
    """Raise unless a batch of one input has come out as real numbers (1, outputs).

    Raises:
      ValueError: If it has not; the message says what came instead.
    """
    shape = getattr(outputs, "shape", None)
    check(
        shape is not None and len(shape) == 2 and shape[0] == 1,
        "apply_fn must map a batch of n inputs to outputs of shape (n, outputs); a "
        f"batch of 1 came out as {shape or type(outputs).__name__}. Pick or flatten "
        "the outputs that the readout reads, in a function around the network.",
    )
    check(
        jnp.issubdtype(outputs.dtype, jnp.floating),
        f"apply_fn must give real outputs; got {outputs.dtype}. Take their real part, "
        "imaginary part or modulus in a function around the network.",
    )


_JOIN = {1: lambda real: real, 2: lax.complex}


def _parts(leaf: Any) -> tuple[Array, ...]:
    """The real arrays that a leaf is made of: one, two if complex, or none."""
    dtype = getattr(leaf, "dtype", None)
    dtype = jnp.result_type(leaf) if dtype is None else dtype
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return jnp.real(leaf), jnp.imag(leaf)
    return (jnp.asarray(leaf),) if jnp.issubdtype(dtype, jnp.floating) else ()


def _gradient_bytes(params: Params, num_readouts: int) -> int:
    leaves, _ = jax.eval_shape(lambda p: (real_leaves(p)[0], None), params)
    sizes = [math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves]
    return num_readouts * sum(sizes)


@jax.jit
def _gradients(network, params, functions, x, y):
    rows = x if y is None else Points(x, y)
    return gradients(network, params, rows, readout=functions)


@jax.jit
def _contract(left, right):
    return sum(row_blocks.inner(a, b) for a, b in zip(left, right, strict=True))
