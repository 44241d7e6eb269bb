r"""Readouts: the scalar $r(f(x), y)$ whose gradients an empirical NTK compares.

A readout is any function of one sample's outputs and that sample's target. Where a
function takes a `readout`, a tuple of them asks for the *mean* of their kernels, so the
trace kernel of $C$ outputs is `trace(C) = (output(0), ..., output(C - 1))`.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from jaxval._checks import check
from jaxval.types import ReadoutFn, Scalar

__all__ = ["Readout", "as_tuple", "only", "output", "own_logit", "total", "trace"]

Readout = ReadoutFn | tuple[ReadoutFn, ...]
"""One readout, or several whose kernels are averaged."""


def own_logit(outputs: Float[Array, " outputs"], y: Num[Array, ""] | None) -> Scalar:
    """The logit of the sample's own class.

    A class that the network has no output for gives NaN.

    Example:
      >>> float(own_logit(jnp.array([0.5, 2.0]), jnp.array(1)))
      2.0
    """
    if y is None:
        raise ValueError(
            "readouts.own_logit needs y, the class of each sample. Pass y, or another "
            "readout (`total`, `only`, `trace`)."
        )
    check(
        jnp.issubdtype(jnp.result_type(y), jnp.integer) and jnp.ndim(y) == 0,
        "readouts.own_logit needs y to be class numbers, one integer a sample; got "
        f"{jnp.result_type(y)} of shape {jnp.shape(y)} for a sample. Convert the "
        "labels, or choose another readout (`total`, `only`, `trace`).",
    )
    own = jnp.equal(jnp.arange(outputs.shape[0]), y)
    # Weights, so that the gradient of an unknown class is NaN like its value.
    weights = jnp.where(own, 1, jnp.where(own.any(), 0, jnp.nan))
    return jnp.sum(outputs * weights.astype(outputs.dtype))


def total(outputs: Float[Array, " outputs"], y: Any = None) -> Scalar:
    """The sum of all outputs.

    Example:
      >>> float(total(jnp.array([0.5, 2.0])))
      2.5
    """
    del y
    return outputs.sum()


def only(outputs: Float[Array, " outputs"], y: Any = None) -> Scalar:
    """The single output of a network that has one, as in a regression.

    Example:
      >>> float(only(jnp.array([0.5])))
      0.5
    """
    del y
    check(
        outputs.shape == (1,),
        "readouts.only needs a network with one output; got outputs of shape "
        f"{outputs.shape} for a sample. Choose another readout.",
    )
    return outputs[0]


@functools.cache
def output(index: int) -> ReadoutFn:
    """The readout of one output, by its number.

    Example:
      >>> float(output(1)(jnp.array([0.5, 2.0]), None))
      2.0
    """

    def readout(outputs, y):
        del y
        check(
            -outputs.shape[0] <= index < outputs.shape[0],
            f"readouts.output({index}) needs an output of that number; the network "
            f"has {outputs.shape[0]}.",
        )
        return outputs[index]

    return readout


def trace(num_outputs: int) -> tuple[ReadoutFn, ...]:
    r"""Every output: the kernel is the mean over outputs, $\frac1C\sum_c\Theta_c$.

    Example:
      >>> len(trace(10))
      10
    """
    check(num_outputs >= 1, f"num_outputs must be at least 1; got {num_outputs}.")
    return tuple(output(index) for index in range(num_outputs))


def as_tuple(readout: Readout) -> tuple[ReadoutFn, ...]:
    """The readouts whose kernels are averaged, also where there is one."""
    readouts = readout if isinstance(readout, tuple) else (readout,)
    check(
        len(readouts) > 0 and all(callable(each) for each in readouts),
        "readout must be a function of one sample's outputs and target, or a tuple of "
        f"such functions; got {readout!r}. See jaxval.kernels.readouts.",
    )
    return readouts


def seeds(
    readouts: tuple[ReadoutFn, ...], outputs: Float[Array, " outputs"], y: Any
) -> Float[Array, "readouts outputs"]:
    r"""Cotangents $\partial r_c / \partial f$ of one sample, over $\sqrt C$.

    With the root, the sum over $c$ of the products of gradients is the mean kernel.
    """
    rows = jnp.stack([jax.grad(lambda f, r=r: r(f, y))(outputs) for r in readouts])
    return rows / jnp.sqrt(jnp.asarray(len(readouts), rows.dtype))
