r"""One forward and one backward pass that keep every weight's inputs and cotangents.

The traced network is run with a zero added after each use of a weight, and to each leaf
that is no weight: the gradient with respect to these zeros is the cotangent $b_{ip}$,
or the leaf's own gradient. Samples are mapped over, so they cannot mix.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float, Num

from jaxval._checks import check
from jaxval.execution.precision import EXACT, MatmulPrecision
from jaxval.kernels import readouts as _readouts
from jaxval.kernels.gradient_engine import check_outputs, real_leaves
from jaxval.kernels.layers.pooling import bind_pooling_fast
from jaxval.kernels.layers.routes import gradient_rows, operations
from jaxval.kernels.layers.trace import Network, Use, evaluate, trace, weight_uses
from jaxval.kernels.layers.weights import Rows, Weight, Window
from jaxval.types import ApplyFn, Params, ReadoutFn

__all__ = ["capture", "represent", "sample_network"]

_STORED = 4
"""A gradient is stored where it is at most this many times what it is made of."""


def represent(
    apply_fn: ApplyFn,
    params: Params,
    functions: tuple[ReadoutFn, ...],
    x: Num[Array, "n ..."],
    y: Num[Array, "n ..."] | None,
    matmul_precision: MatmulPrecision = EXACT,
    store: bool | None = None,
) -> Rows:
    """What the Gram matrix needs to know of a block of samples.

    Args:
      apply_fn: Function of parameters and a batch of inputs to a batch of outputs.
      params: Parameters of the network.
      functions: Readouts whose kernels are averaged.
      x: Inputs, one per row.
      y: Targets, one per row, or `None`.
      matmul_precision: Precision of the products that stored gradients are made by.
      store: Whether to store the gradients of weights; where it is the cheaper route
        and takes little memory when `None`.
    """
    gradients, weights = capture(apply_fn, params, functions, x, y)
    stored = {w.leaf: _worth_storing(w) if store is None else store for w in weights}
    columns = [(leaf, g.reshape(len(x), -1)) for leaf, g in gradients]
    columns += [
        (w.leaf, gradient_rows(w, matmul_precision)) for w in weights if stored[w.leaf]
    ]
    return Rows(
        jnp.concatenate([g for _, g in columns], 1) if columns else None,
        tuple(w for w in weights if not stored[w.leaf]),
        tuple((leaf, g.shape[1]) for leaf, g in columns),
    )


def capture(
    apply_fn: ApplyFn,
    params: Params,
    functions: tuple[ReadoutFn, ...],
    x: Num[Array, "n ..."],
    y: Num[Array, "n ..."] | None,
) -> tuple[list[tuple[int, Array]], list[Weight]]:
    """Gradients of the leaves that are no weights, and what is left at the weights.

    For the arguments see `represent`.

    Returns:
      `(leaf, gradients)` of each leaf that is no weight, with one gradient per row,
      and the weights.
    """
    leaves, _ = real_leaves(params)
    network = sample_network(apply_fn, params, x)
    uses = weight_uses(network, len(leaves))
    others = [leaf for leaf, each in enumerate(uses) if each is None]

    def one(xi, yi):
        return _capture(network, leaves, uses, functions, xi, yi)

    gradients, weights = jax.vmap(one)(x, y)
    return list(zip(others, gradients, strict=True)), weights


def sample_network(apply_fn: ApplyFn, params: Params, x: Any) -> Network:
    """The network's equations for one sample of `x`, a batch of one.

    Args:
      apply_fn: Function of parameters and a batch of inputs to a batch of outputs.
      params: Parameters of the network.
      x: Inputs, one per row, or their shape and dtype.
    """
    leaves, rebuild = real_leaves(params)
    check(
        len(leaves) > 0,
        "params has no leaf of real or complex numbers: nothing to differentiate.",
    )
    # One wrapping: a second would hide the arrays that a `Partial` carries.
    network = apply_fn if isinstance(apply_fn, Partial) else Partial(apply_fn)
    return trace(
        lambda leaves, xi: _alone(network, rebuild(leaves), xi),
        leaves,
        jax.ShapeDtypeStruct(x.shape[1:], x.dtype),
    )


# Compiled nowhere: `jit` keeps what it has traced, so that the network's own Python
# runs once for the memory estimate and for all blocks.
@jax.jit
def _alone(network, params, xi):
    outputs = network(params, xi[None])
    check_outputs(outputs)
    return outputs[0]


class _Seen(NamedTuple):
    """Values met on the way: data operands of uses, and factors of weights."""

    data: dict[int, Array]
    factors: dict[tuple[int, int], Array]


def _capture(network, leaves, uses, functions, x, y):
    weights = [each for each in uses if each]
    others = [i for i, each in enumerate(uses) if each is None]
    equations = sorted({use.equation for each in weights for use in each})
    avals = {n: network.eqns[n].outvars[0].aval for n in equations}
    probes = {n: jnp.zeros(aval.shape, aval.dtype) for n, aval in avals.items()}
    nudges = {i: jnp.zeros_like(leaves[i]) for i in others}

    def run(probes, nudges):
        nudged = [p + nudges[i] if i in nudges else p for i, p in enumerate(leaves)]
        return _run(network, weights, [*nudged, x], probes)

    outputs, pull, seen = jax.vjp(run, probes, nudges, has_aux=True)
    seeds = _readouts.seeds(functions, outputs, y)
    cotangents, gradients = _pull_all(pull, seeds)
    captured = [
        _weight(network, each, seen, cotangents, leaf)
        for leaf, each in enumerate(uses)
        if each
    ]
    return [gradients[i] for i in others], captured


def _run(network, weights, args, probes):
    uses = {use.equation: use for each in weights for use in each}
    factors = {f[:2] for use in uses.values() for f in use.view.factors}
    seen = _Seen({}, {})

    def visit(number, inputs, outputs):
        for equation, place in factors:
            if equation == number:
                seen.factors[equation, place] = inputs[place]
        if number not in uses:
            return outputs
        seen.data[number] = inputs[1 - uses[number].side]
        return [outputs[0] + probes[number]]

    (outputs,) = evaluate(
        network.jaxpr, network.consts, args, visit=visit, bind=bind_pooling_fast
    )
    return outputs, seen


def _pull_all(pull, seeds):
    if len(seeds) == 1:
        return jax.tree.map(lambda g: g[None], pull(seeds[0]))
    return jax.vmap(pull)(seeds)


def _weight(network, uses, seen, cotangents, leaf):
    captured = [_one_use(network, use, seen, cotangents[use.equation]) for use in uses]
    inputs, outputs, windows = zip(*captured, strict=True)
    eqn = network.eqns[uses[0].equation]
    is_table = uses[0].kind == "gather"
    vocabulary = eqn.invars[0].aval.shape[0] if is_table else None
    return Weight(inputs, outputs, windows, vocabulary, leaf)


def _one_use(network: Network, use: Use, seen: _Seen, cotangent: Float[Array, "r ..."]):
    eqn, data = network.eqns[use.equation], seen.data[use.equation]
    for equation, place, power in use.view.factors:
        factor = seen.factors[equation, place].reshape(())
        cotangent = cotangent * (factor if power > 0 else 1 / factor)
    as_matrices = {
        "dot_general": _of_dot,
        "conv_general_dilated": _of_convolution,
        "gather": _of_lookup,
    }
    return as_matrices[use.kind](eqn, use.side, data, cotangent)


def _of_dot(eqn, side, data, cotangent):
    contract, batch = eqn.params["dimension_numbers"]
    inner, groups = contract[1 - side], batch[1 - side]
    free = [i for i in range(data.ndim) if i not in {*inner, *groups}]
    shape = tuple(
        math.prod(data.shape[i] for i in axes) for axes in (groups, inner, free)
    )
    inputs = data.transpose(*groups, *inner, *free).reshape(shape)
    readouts = cotangent.shape[0]
    # cotangent: (r, *groups, *free of the left operand, *free of the right one). The
    # data's free axes are the positions, the weight's the outputs: (g, p, r outputs).
    if side == 1:
        b = cotangent.reshape(readouts, shape[0], shape[2], -1)
        b = jnp.moveaxis(b, 0, 2)
    else:
        b = cotangent.reshape(readouts, shape[0], -1, shape[2])
        b = b.transpose(1, 3, 0, 2)
    return inputs, b.reshape(shape[0], shape[2], -1), None


def _of_convolution(eqn, side, data, cotangent):
    del side
    numbers, groups = eqn.params["dimension_numbers"], eqn.params["feature_group_count"]
    kernel = [eqn.invars[1].aval.shape[i] for i in numbers.rhs_spec[2:]]
    window = Window(
        kernel=tuple(kernel),
        strides=tuple(eqn.params["window_strides"]),
        padding=tuple(map(tuple, eqn.params["padding"])),
        input_dilation=tuple(eqn.params["lhs_dilation"]),
        kernel_dilation=tuple(eqn.params["rhs_dilation"]),
        groups=groups,
    )
    # (readouts, batch, outputs, *space) to (groups, batch space, readouts outputs)
    b = cotangent.transpose(0, *(i + 1 for i in numbers.out_spec))
    readouts, batch, channels = b.shape[:3]
    b = b.reshape(readouts, batch, groups, channels // groups, -1)
    b = b.transpose(2, 1, 4, 0, 3)
    b = b.reshape(groups, b.shape[1] * b.shape[2], -1)
    return data.transpose(numbers.lhs_spec), b, window


def _of_lookup(eqn, side, data, cotangent):
    del side
    # (r, *looked up, width) to (1, p, r width)
    rows, last = data.reshape(-1), eqn.invars[0].aval.shape[0] - 1
    inside = (rows >= 0) & (rows <= last)
    b = cotangent.reshape(cotangent.shape[0], rows.shape[0], -1)
    b = jnp.moveaxis(b, 0, 1).reshape(1, rows.shape[0], -1)
    if eqn.params["mode"] == jax.lax.GatherScatterMode.FILL_OR_DROP:
        b = jnp.where(inside[None, :, None], b, 0)
    return jnp.clip(rows, 0, last), b, None


def _worth_storing(weight: Weight) -> bool:
    """Whether the gradient is both the cheaper route and not much to store."""
    sizes, n = weight.sizes, weight.num_rows
    table = weight.vocabulary is not None
    count = operations(sizes, n, n, same=True, table=table)
    made_of = sum(a.size for a in (*weight.inputs, *weight.cotangents)) // n
    small = sizes.groups * sizes.inputs * sizes.outputs <= _STORED * made_of
    return small and count.gradients < count.pairs
