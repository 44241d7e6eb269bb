r"""Where a network uses its weights: what the layer engine reads from the trace.

The network is traced for one sample (a batch of one), calls are inlined, and every
weight is followed from its leaf to the equations that use it. Only one thing is looked
for: a weight that meets the data in nothing but matrix products, convolutions or
look-ups. Its gradient is then a sum of outer products $a_p b_p^\top$ of inputs and
cotangents, and need not be formed. All other leaves (biases, scales, whatever else)
have their small gradients taken by plain differentiation, so that an operation which
is not recognised here costs speed and never correctness. Linen, NNX and plain
functions look alike at this level.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core as jex
from jaxtyping import Array

__all__ = [
    "Network",
    "Use",
    "View",
    "bind_equation",
    "evaluate",
    "trace",
    "weight_uses",
]

Network = jex.ClosedJaxpr
"""One sample's outputs from the leaves and its inputs, without inner calls."""

_CALLS = {"jit", "pjit", "closed_call", "core_call", "remat2", "checkpoint", "remat"}
# Each of these only moves a weight's entries about, so the product of two gradients
# does not see it.
_MOVES = {
    "reshape",
    "squeeze",
    "transpose",
    "rev",
    "copy",
    "copy_p",
    "optimization_barrier",
}


class View(NamedTuple):
    """A leaf, moved about and multiplied by scalars.

    Attributes:
      leaf: Number of the leaf.
      moves: What was done to it, in a form that can be compared.
      factors: Scalars it was multiplied by, as `(equation, operand, power)`.
    """

    leaf: int
    moves: tuple[str, ...] = ()
    factors: tuple[tuple[int, int, int], ...] = ()


class Use(NamedTuple):
    """An equation in which a weight meets the data.

    Attributes:
      equation: Number of the equation in the network.
      kind: Name of its primitive.
      side: Which operand is the weight.
      view: The weight as it enters.
    """

    equation: int
    kind: str
    side: int
    view: View

    def layout(self, network: Network) -> tuple[Any, ...]:
        """Equal where gradients of the same leaf have their entries alike."""
        params = network.eqns[self.equation].params
        if self.kind == "dot_general":
            contract, batch = params["dimension_numbers"]
            how = (contract[self.side], batch[self.side])
        elif self.kind == "conv_general_dilated":
            how = (params["dimension_numbers"].rhs_spec, params["feature_group_count"])
        else:
            how = ()
        return (self.kind, how, self.view.moves)


def trace(
    fn: Callable[[list[Array], Array], Array], leaves: list[Array], x: Any
) -> Network:
    """The equations of `fn(leaves, x)` with all calls inlined.

    Args:
      fn: Function of the leaves and one sample to its outputs.
      leaves: Parameters of the network.
      x: One sample, or its shape and dtype.
    """
    outer = jax.make_jaxpr(fn)(leaves, x)
    return jax.make_jaxpr(
        lambda *args: evaluate(outer.jaxpr, outer.consts, args, inline=True)
    )(*leaves, x)


def evaluate(
    jaxpr: jex.Jaxpr,
    consts: list[Any],
    args: tuple[Any, ...] | list[Any],
    *,
    inline: bool = False,
    visit: Callable[[int, list[Any], list[Any]], list[Any]] | None = None,
    bind: Callable[[Any, list[Any]], list[Any]] | None = None,
) -> list[Any]:
    """Run a jaxpr; `visit(number, inputs, outputs)` may replace what comes out.

    Args:
      jaxpr: The equations.
      consts: Values of its constants.
      args: Values of its inputs.
      inline: Whether to run inner calls as part of this one.
      visit: Function called after each equation.
      bind: Function that computes one equation from its inputs; JAX's own way when
        `None`.
    """
    bind = bind_equation if bind is None else bind
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

    def read(atom):
        return atom.val if isinstance(atom, jex.Literal) else values[atom]

    for number, eqn in enumerate(jaxpr.eqns):
        inputs = [read(atom) for atom in eqn.invars]
        inner = _inner(eqn) if inline else None
        if inner is not None:
            outputs = evaluate(inner.jaxpr, inner.consts, inputs, inline=True)
        else:
            outputs = bind(eqn, inputs)
        if visit is not None:
            outputs = visit(number, inputs, outputs)
        values.update(zip(eqn.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def weight_uses(network: Network, num_leaves: int) -> list[list[Use] | None]:
    """The uses of each leaf that is used as a weight only; `None` for other leaves.

    A leaf used several times is a weight where its gradients have their entries alike:
    their sum is then the sum over the positions of all the uses together.
    """
    uses: list[list[Any]] = [[] for _ in range(num_leaves)]
    for leaf, use in _meetings(network, num_leaves):
        uses[leaf].append(use)
    return [each if _is_weight(network, each) else None for each in uses]


def _is_weight(network: Network, uses: list[Any]) -> bool:
    """Whether all uses are understood and have the entries of their gradients alike."""
    return None not in uses and len({use.layout(network) for use in uses}) <= 1


def _meetings(network: Network, num_leaves: int) -> Iterator[tuple[int, Any]]:
    """Each use of each leaf; `None` for one that is not understood."""
    views = {var: View(i) for i, var in enumerate(network.jaxpr.invars[:num_leaves])}
    view_of = lambda a: None if isinstance(a, jex.Literal) else views.get(a)
    for number, eqn in enumerate(network.eqns):
        incoming = [view_of(atom) for atom in eqn.invars]
        if not any(incoming):
            continue
        moved = _moved(number, eqn, incoming)
        if moved is not None:
            views[eqn.outvars[0]] = moved
            continue
        side = _weight_side(eqn, incoming)
        for place, view in enumerate(incoming):
            if view is not None:
                use = Use(number, eqn.primitive.name, place, view)
                yield view.leaf, use if place == side else None
    for atom in network.jaxpr.outvars:
        view = view_of(atom)
        if view is not None:
            yield view.leaf, None


def _moved(number: int, eqn: Any, incoming: list[View | None]) -> View | None:
    """The view that comes out where the weight was only moved or scaled."""
    name = eqn.primitive.name
    place = next(i for i, v in enumerate(incoming) if v is not None)
    view = incoming[place]
    assert view is not None
    before, after = eqn.invars[place].aval, eqn.outvars[0].aval
    if before.size != after.size or sum(v is not None for v in incoming) != 1:
        return None
    if name in _MOVES | {"broadcast_in_dim"} and len(eqn.invars) == 1:
        note = f"{name} {before.shape} {after.shape} {eqn.params}"
        return view._replace(moves=(*view.moves, note))
    if name == "convert_element_type" and jnp.issubdtype(after.dtype, jnp.floating):
        return view
    if name in {"mul", "div"} and before.shape == after.shape:
        scalar = eqn.invars[1 - place]
        if scalar.aval.size == 1 and (name == "mul" or place == 0):
            power = 1 if name == "mul" else -1
            return view._replace(factors=(*view.factors, (number, 1 - place, power)))
    return None


def _weight_side(eqn: Any, incoming: list[View | None]) -> int | None:
    """Which operand is a weight that meets data; `None` where none does."""
    name = eqn.primitive.name
    places = [i for i, view in enumerate(incoming) if view is not None]
    # Through `jnp`: NumPy holds that bfloat16 is no floating-point type.
    if len(places) != 1 or not jnp.issubdtype(eqn.outvars[0].aval.dtype, jnp.floating):
        return None
    if name == "dot_general":
        return places[0]
    if name == "conv_general_dilated" and eqn.params["batch_group_count"] == 1:
        return 1 if places == [1] else None
    if name == "gather" and _is_row_lookup(eqn):
        return 0 if places == [0] else None
    return None


def _is_row_lookup(eqn: Any) -> bool:
    numbers, table = eqn.params["dimension_numbers"], eqn.invars[0].aval
    indices, out = eqn.invars[1].aval, eqn.outvars[0].aval
    return (
        table.ndim == 2
        and eqn.params["slice_sizes"] == (1, table.shape[1])
        and numbers.collapsed_slice_dims == (0,)
        and numbers.start_index_map == (0,)
        and not numbers.operand_batching_dims
        and numbers.offset_dims == (out.ndim - 1,)
        and indices.shape[-1] == 1
    )


def _inner(eqn: Any) -> jex.ClosedJaxpr | None:
    if eqn.primitive.name not in _CALLS:
        return None
    inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
    return jex.ClosedJaxpr(inner, ()) if isinstance(inner, jex.Jaxpr) else inner


def bind_equation(eqn: Any, inputs: list[Any]) -> list[Any]:
    """Compute one equation as JAX would."""
    params = eqn.primitive.get_bind_params(eqn.params)
    functions, params = params if isinstance(params, tuple) else ((), params)
    with eqn.ctx.manager:
        out = eqn.primitive.bind(*functions, *inputs, **params)
    return list(out) if eqn.primitive.multiple_results else [out]
