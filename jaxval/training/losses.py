"""Losses of single samples, and what a trained network is judged by."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from jaxval.types import Scalar

__all__ = [
    "LossFn",
    "MetricFn",
    "accuracy",
    "cross_entropy",
    "negative",
    "squared_error",
]

LossFn = Callable[[Float[Array, "n outputs"], Num[Array, "n ..."]], Float[Array, " n"]]
"""Outputs and targets to one loss a sample; the run takes their mean."""

MetricFn = Callable[[Float[Array, "n outputs"], Num[Array, "n ..."]], Scalar]
"""Outputs and targets of the validation set to one number, the larger the better."""


Labels = Int[Array, " n"] | Int[np.ndarray, " n"]


def cross_entropy(
    outputs: Float[Array, "n outputs"], labels: Labels
) -> Float[Array, " n"]:
    r"""$-\log \mathrm{softmax}(f(x_i))_{y_i}$ of each sample.

    Example:
      >>> cross_entropy(jnp.zeros((1, 2)), jnp.array([1])).round(4).tolist()
      [0.6930999755859375]
    """
    chosen = jnp.take_along_axis(outputs, jnp.asarray(labels)[:, None], axis=1)[:, 0]
    return jax.nn.logsumexp(outputs, axis=1) - chosen


def squared_error(
    outputs: Float[Array, "n outputs"],
    targets: Num[Array, "n ..."] | Num[np.ndarray, "n ..."],
) -> Float[Array, " n"]:
    r"""$\tfrac1c \lVert f(x_i) - y_i \rVert^2$ of each sample, $c$ outputs each.

    Example:
      >>> squared_error(jnp.array([[1.0], [3.0]]), jnp.array([0.0, 1.0])).tolist()
      [1.0, 4.0]
    """
    return jnp.mean((outputs - targets.reshape(outputs.shape)) ** 2, axis=1)


def accuracy(outputs: Float[Array, "n outputs"], labels: Labels) -> Scalar:
    """The share of samples whose largest output is that of their class.

    Example:
      >>> float(accuracy(jnp.eye(2), jnp.array([0, 0])))
      0.5
    """
    # argmax can't be traced in double precision and lowered in single, as games are.
    classes = jnp.arange(outputs.shape[1], dtype=jnp.int32)[None, :]
    is_largest = outputs == outputs.max(axis=1, keepdims=True)
    named = jnp.min(jnp.where(is_largest, classes, outputs.shape[1]), axis=1)
    return jnp.mean(named == jnp.asarray(labels))


def negative(loss: LossFn) -> MetricFn:
    """The metric that is minus the mean of `loss`.

    Example:
      >>> float(negative(squared_error)(jnp.array([[2.0]]), jnp.array([0.0])))
      -4.0
    """
    return lambda outputs, targets: -jnp.mean(loss(outputs, targets))
