r"""Parametrisations, and the layers that use them: dense, convolution, batch norm.

A parametrisation says how the weights of a layer are drawn and by what factor its
*input* is scaled. Scaling the input instead of the weight leaves `nn.Dense` and
`nn.Conv` as they are, so that gradients, and engines that walk Flax layers, carry the
factor without a rule of its own.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

__all__ = ["NTK", "PYTORCH", "BatchNorm", "Parametrisation", "conv", "dense"]

Initializer = Callable[..., Array]
Weight = Bool[Array, " n"] | Num[Array, " n"]


@dataclasses.dataclass(frozen=True)
class Parametrisation:
    r"""How the weights of a layer with $n$ inputs a unit are drawn and scaled.

    Attributes:
      kernel: Function of $n$ to the initialiser of the weights.
      bias: Function of $n$ to the initialiser of the bias, where a layer has one.
      input_scale: Function of $n$ to the factor on the layer's input.

    Example:
      >>> PYTORCH.input_scale(4), NTK.input_scale(4)
      (1.0, 0.5)
    """

    kernel: Callable[[int], Initializer]
    bias: Callable[[int], Initializer]
    input_scale: Callable[[int], float]


def _uniform(fan_in: int) -> Initializer:
    bound = 1.0 / math.sqrt(fan_in)

    def draw(key, shape, dtype=jnp.float32):
        # Flat and then shaped: the same numbers, and a third of the compile time.
        flat = jax.random.uniform(key, (math.prod(shape),), dtype, -bound, bound)
        return flat.reshape(shape)

    return draw


def _standard_normal(fan_in: int) -> Initializer:
    del fan_in

    def draw(key, shape, dtype=jnp.float32):
        return jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)

    return draw


def _one(fan_in: int) -> float:
    del fan_in
    return 1.0


def _inverse_root(fan_in: int) -> float:
    return 1.0 / math.sqrt(fan_in)


PYTORCH = Parametrisation(_uniform, _uniform, _one)
r"""PyTorch's default: $W_{ij} \sim U(-1/\sqrt n, 1/\sqrt n)$, of variance $1/3n$."""

NTK = Parametrisation(_standard_normal, _standard_normal, _inverse_root)
r"""The theory's: $W_{ij} \sim N(0, 1)$, applied as $Wx/\sqrt n$ (Jacot et al. 2018)."""


def dense(
    x: Num[Array, "n inputs"],
    features: int,
    parametrisation: Parametrisation,
    *,
    bias: bool = False,
) -> Float[Array, "n features"]:
    """A dense layer of the module whose compact method calls this.

    Args:
      x: Inputs, one per row.
      features: Units of the layer.
      parametrisation: How weights are drawn and scaled.
      bias: Whether the layer has biases.

    Example:
      >>> class Linear(nn.Module):
      ...     @nn.compact
      ...     def __call__(self, x):
      ...         return dense(x, 3, NTK)
      >>> Linear().init_with_output(jax.random.key(0), jnp.ones((2, 4)))[0].shape
      (2, 3)
    """
    fan_in = x.shape[-1]
    layer = nn.Dense(
        features,
        use_bias=bias,
        kernel_init=parametrisation.kernel(fan_in),
        bias_init=parametrisation.bias(fan_in),
    )
    return layer(_scaled(x, parametrisation, fan_in))


def conv(
    x: Num[Array, "n height width channels"],
    features: int,
    size: int,
    parametrisation: Parametrisation,
    *,
    stride: int = 1,
) -> Float[Array, "n rows columns features"]:
    """A square convolution of odd `size` without bias, padded equally on all sides.

    Flax's `"SAME"` pads one side more when the stride is 2; PyTorch, whose networks
    these are, does not. To be called in a module's compact method.

    Args:
      x: Images, channels last.
      features: Channels of the result.
      size: Height and width of the kernel, odd.
      parametrisation: How weights are drawn and scaled.
      stride: Step between the kernel's positions.

    Example:
      >>> class Halved(nn.Module):
      ...     @nn.compact
      ...     def __call__(self, x):
      ...         return conv(x, 5, 3, PYTORCH, stride=2)
      >>> x = jnp.ones((2, 8, 8, 1))
      >>> Halved().init_with_output(jax.random.key(0), x)[0].shape
      (2, 4, 4, 5)
    """
    fan_in = size * size * x.shape[-1]
    layer = nn.Conv(
        features,
        (size, size),
        strides=(stride, stride),
        padding=((size // 2, size // 2),) * 2,
        use_bias=False,
        kernel_init=parametrisation.kernel(fan_in),
    )
    return layer(_scaled(x, parametrisation, fan_in))


def _scaled(x, parametrisation, fan_in):
    scale = parametrisation.input_scale(fan_in)
    return x if scale == 1.0 else x * scale


class BatchNorm(nn.Module):
    r"""Batch normalisation in which an absent sample has exactly no influence.

    With weights $w_i$, zero for absent samples, the batch mean and variance are

    $$\mu = \frac{\sum_i w_i x_i}{\sum_i w_i}, \qquad
    \sigma^2 = \frac{\sum_i w_i (x_i - \mu)^2}{\sum_i w_i}$$

    over samples and positions. The running variance gathers the unbiased
    $\sigma^2 n/(n-1)$, $n = \sum_i w_i$ times the number of positions, as PyTorch does;
    a batch with no sample present leaves the running statistics as they were.

    Attributes:
      momentum: Share of the old running statistics that a batch leaves.
      epsilon: Number added to the variance.

    Example:
      >>> x = jnp.array([[1.0], [3.0], [99.0]])
      >>> norm, present = BatchNorm(), jnp.array([True, True, False])
      >>> variables = norm.init(jax.random.key(0), x)
      >>> train = {"train": True, "weight": present, "mutable": "batch_stats"}
      >>> outputs, _ = norm.apply(variables, x, **train)
      >>> outputs[:2, 0].round(3).tolist()
      [-1.0, 1.0]

    References:
      Ioffe and Szegedy, *Batch normalization*, ICML 2015.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "n ..."],
        train: bool = False,
        weight: Weight | None = None,
    ) -> Float[Array, "n ..."]:
        """Normalise by the batch when training, by the running statistics otherwise.

        Args:
          x: Activations, channels last.
          train: Whether to use, and gather, the batch's statistics.
          weight: Weight of each sample, zero if absent; all one when `None`.
        """
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,))
        shift = self.param("bias", nn.initializers.zeros, (channels,))
        moments = functools.partial(self.variable, "batch_stats")
        running_mean = moments("mean", jnp.zeros, channels, jnp.float32)
        running_var = moments("var", jnp.ones, channels, jnp.float32)
        mean, var = running_mean.value, running_var.value
        if train:
            mean, var, count = _moments(x, weight)
            if not self.is_initializing():
                rate = jnp.where(count > 0, 1.0 - self.momentum, 0.0)
                unbiased = var * count / jnp.maximum(count - 1.0, 1.0)
                running_mean.value += rate * (mean - running_mean.value)
                running_var.value += rate * (unbiased - running_var.value)
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
        return (x - _as_channels(mean, x)) * _as_channels(factor, x) + _as_channels(
            shift, x
        )


def _moments(x, weight) -> tuple[Any, Any, Any]:
    axes = tuple(range(x.ndim - 1))
    if weight is None:
        weight = jnp.ones(x.shape[0], x.dtype)
    weight = weight.astype(x.dtype).reshape((-1,) + (1,) * (x.ndim - 1))
    count = weight.sum() * math.prod(x.shape[1:-1])
    # `where` and not a product alone: zero times an overflow would be NaN.
    present = jnp.where(weight > 0, x, 0.0)
    total = jnp.maximum(count, jnp.finfo(x.dtype).tiny)
    mean = (weight * present).sum(axes) / total
    centred = jnp.where(weight > 0, present - _as_channels(mean, x), 0.0)
    var = (weight * centred**2).sum(axes) / total
    return mean, var, count


def _as_channels(vector, x):
    return vector.reshape((1,) * (x.ndim - 1) + (-1,))
