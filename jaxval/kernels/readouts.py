r"""Readouts: the scalar $r(f(x), y)$ whose gradients an empirical NTK compares.

A readout is any function of one sample's outputs and that sample's target. Where a
function takes a `readout`, a tuple of them asks for the *mean* of their kernels, so the
trace kernel of $C$ outputs is `trace(C) = (output(0), ..., output(C - 1))`.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from jaxval._checks import check
from jaxval.types import ReadoutFn, Scalar

__all__ = [
    "Readout",
    "as_tuple",
    "output",
    "single_output",
    "sum_of_outputs",
    "trace",
    "true_class_logit",
]

Readout = ReadoutFn | tuple[ReadoutFn, ...]
"""One readout, or several whose kernels are averaged."""


def true_class_logit(
    outputs: Float[Array, " outputs"], y: Num[Array, ""] | None
) -> Scalar:
    """The logit of the sample's own class, $f(x)_y$.

    A class that the network has no output for gives NaN, and its kernel is refused.

    Args:
      outputs: Outputs for one sample.
      y: Class number of the sample.

    Raises:
      ValueError: If `y` is missing or no integer.

    Example:
      >>> float(true_class_logit(jnp.array([0.5, 2.0]), jnp.array(1)))
      2.0
    """
    if y is None:
        raise ValueError(
            "readouts.true_class_logit needs y, the class of each sample. Pass "
            "Points(x, y), or another readout (`sum_of_outputs`, `single_output`, "
            "`trace`)."
        )
    check(
        jnp.issubdtype(jnp.result_type(y), jnp.integer) and jnp.ndim(y) == 0,
        "readouts.true_class_logit needs y to be class numbers, one integer per "
        f"sample; got {jnp.result_type(y)} of shape {jnp.shape(y)} for a sample. "
        "Convert the labels, or choose another readout (`sum_of_outputs`, "
        "`single_output`, `trace`).",
    )
    own = jnp.equal(jnp.arange(outputs.shape[0]), y)
    # Weights, so that the gradient of an unknown class is NaN like its value.
    weights = jnp.where(own, 1, jnp.where(own.any(), 0, jnp.nan))
    return jnp.sum(outputs * weights.astype(outputs.dtype))


def sum_of_outputs(outputs: Float[Array, " outputs"], y: Any = None) -> Scalar:
    r"""The sum of all outputs, $\sum_c f(x)_c$.

    Args:
      outputs: Outputs for one sample.
      y: Target, not looked at.

    Example:
      >>> float(sum_of_outputs(jnp.array([0.5, 2.0])))
      2.5
    """
    del y
    return outputs.sum()


def single_output(outputs: Float[Array, " outputs"], y: Any = None) -> Scalar:
    """The single output of a network that has one, as in a regression.

    Args:
      outputs: Outputs for one sample.
      y: Target, not looked at.

    Raises:
      ValueError: If the network has several outputs.

    Example:
      >>> float(single_output(jnp.array([0.5])))
      0.5
    """
    del y
    check(
        outputs.shape == (1,),
        "readouts.single_output needs a network with one output; got outputs of shape "
        f"{outputs.shape} for a sample. Choose another readout.",
    )
    return outputs[0]


@dataclasses.dataclass(frozen=True)
class _Output:
    index: int

    def __call__(self, outputs: Float[Array, " outputs"], y: Any = None) -> Scalar:
        del y
        check(
            -outputs.shape[0] <= self.index < outputs.shape[0],
            f"readouts.output({self.index}) needs an output of that number; the "
            f"network has {outputs.shape[0]}.",
        )
        return outputs[self.index]


def output(index: int) -> ReadoutFn:
    """The readout of one output, by its number.

    Args:
      index: Number of the output; from the end if negative.

    Returns:
      A readout, equal to that of any other call with the same number.

    Example:
      >>> float(output(1)(jnp.array([0.5, 2.0]), None))
      2.0
    """
    return _Output(index)


def trace(num_outputs: int) -> tuple[ReadoutFn, ...]:
    r"""Every output: the kernel is the mean over outputs, $\frac1C\sum_c\Theta_c$.

    Args:
      num_outputs: Number of outputs $C$.

    Raises:
      ValueError: If there are none.

    Example:
      >>> len(trace(10))
      10
    """
    check(num_outputs >= 1, f"num_outputs must be at least 1; got {num_outputs}.")
    return tuple(output(index) for index in range(num_outputs))


def as_tuple(readout: Readout) -> tuple[ReadoutFn, ...]:
    """The readouts whose kernels are averaged, also where there is one.

    Args:
      readout: One readout, or a tuple of them.

    Raises:
      ValueError: If it is neither.

    Example:
      >>> len(as_tuple(sum_of_outputs))
      1
    """
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
