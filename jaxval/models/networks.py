"""The papers' networks: MLP10, CNN, CNN8, VGG and ResNet in their CIFAR form.

All are without bias, as in DAVINZ's experiments. Input channels and sizes come from
the example given to `models.init`; hidden channels scale with `width`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from jaxval._checks import positive
from jaxval.models.layers import PYTORCH, Parametrisation
from jaxval.models.modules import MLP, POOL, ConvNet, ResNet

__all__ = [
    "cnn",
    "cnn8",
    "mlp",
    "mlp10",
    "resize",
    "resnet18",
    "resnet21",
    "resnet34",
    "vgg11",
    "vgg13",
    "vgg16",
]


def mlp(
    widths: Sequence[int],
    num_outputs: int = 1,
    *,
    bias: bool = False,
    norm: bool = False,
    parametrisation: Parametrisation = PYTORCH,
) -> MLP:
    """Dense layers of the given hidden widths.

    Args:
      widths: Units of each hidden layer.
      num_outputs: Number of classes, or 1 for regression.
      bias: Whether the layers have biases.
      norm: Whether batch norm follows each hidden layer; off for tangent kernels.
      parametrisation: How weights are drawn, `PYTORCH` or `NTK`.

    Raises:
      ValueError: If a number of units is not positive.

    Example:
      >>> mlp([32, 32], 3, bias=True).widths
      (32, 32)
    """
    positive("num_outputs", num_outputs)
    for width in widths:
        positive("widths", width)
    return MLP(tuple(widths), num_outputs, bias, norm, parametrisation)


def mlp10(
    num_outputs: int = 1,
    *,
    width: float = 1.0,
    norm: bool = False,
    parametrisation: Parametrisation = PYTORCH,
) -> MLP:
    """DAVINZ's network of ten dense layers for the Ising data, 215,722 weights.

    Args:
      num_outputs: Number of classes, or 1 for regression.
      width: Factor on the hidden units, 1 for the paper's.
      norm: Whether batch norm follows each hidden layer; off for tangent kernels.
      parametrisation: How weights are drawn, `PYTORCH` or `NTK`.

    Example:
      >>> mlp10(width=0.5).widths
      (64, 128, 128, 128, 64, 32, 16, 8, 5)

    References:
      Wu, Shu and Low, *DAVINZ*, ICML 2022.
    """
    widths = _scaled((128, 256, 256, 256, 128, 64, 32, 16, 10), width)
    return MLP(widths, num_outputs, False, norm, parametrisation)


def cnn(
    num_outputs: int = 10,
    *,
    width: float = 1.0,
    norm: bool = False,
    parametrisation: Parametrisation = PYTORCH,
) -> ConvNet:
    """DAVINZ's small network: two 5x5 convolutions and a dense layer.

    It has 28,880 weights on 28x28 grey images and takes any size from 4x4 on.

    Args:
      num_outputs: Number of classes, or 1 for regression.
      width: Factor on the hidden channels, 1 for the paper's.
      norm: Whether batch norm follows each convolution; the paper's has none.
      parametrisation: How weights are drawn, `PYTORCH` or `NTK`.

    Example:
      >>> x = jnp.zeros((1, 28, 28, 1))
      >>> params = cnn().init(jax.random.key(0), x)["params"]
      >>> sum(leaf.size for leaf in jax.tree.leaves(params))
      28880
    """
    plan = _scaled((16, POOL, 32, POOL), width)
    return ConvNet(plan, num_outputs, 5, (), norm, parametrisation)


def cnn8(
    num_outputs: int = 1,
    *,
    width: float = 1.0,
    norm: bool = False,
    parametrisation: Parametrisation = PYTORCH,
) -> ConvNet:
    """DAVINZ's six 5x5 convolutions and two dense layers for 8x8 Ising configurations.

    It has 2,536,090 weights; there is no activation between the dense layers, as in
    the released code.

    Args:
      num_outputs: Number of classes, or 1 for regression.
      width: Factor on the hidden channels, 1 for the original's.
      norm: Whether batch norm follows each convolution; off for tangent kernels.
      parametrisation: How weights are drawn, `PYTORCH` or `NTK`.

    Example:
      >>> cnn8(width=0.25).linear
      (2,)
    """
    plan = _scaled((16, POOL, 64, 256, 256, 64, 32, POOL), width)
    linear = _scaled((10,), width)
    return ConvNet(plan, num_outputs, 5, linear, norm, parametrisation)


def _vgg(repeats, num_outputs, width, norm, parametrisation):
    channels = (64, 128, 256, 512, 512)
    plan: list[int] = []
    for number, channel in zip(repeats, channels, strict=True):
        plan += [channel] * number + [POOL]
    return ConvNet(_scaled(plan, width), num_outputs, 3, (), norm, parametrisation)


def vgg11(
    num_outputs: int = 10,
    *,
    width: float = 1.0,
    norm: bool = False,
    parametrisation: Parametrisation = PYTORCH,
) -> ConvNet:
    """VGG11 for images from 32x32 on, 9.22 million weights.

    Args:
      num_outputs: Number of classes, or 1 for regression.
      width: Factor on the hidden channels, 1 for the original's.
      norm: Whether batch norm follows each convolution; off for tangent kernels.
      parametrisation: How weights are drawn, `PYTORCH` or `NTK`.

    Example:
      >>> vgg11().plan.count(POOL)
      5

    References:
      Simonyan and Zisserman, *Very deep convolutional networks*, ICLR 2015.
    """
    return _vgg((1, 1, 2, 2, 2), num_outputs, width, norm, parametrisation)


def vgg13(
    num_outputs: int = 10,
    *,
    width: float = 1.0,
    norm: bool = False,
    parametrisation: Parametrisation = PYTORCH,
) -> ConvNet:
    """VGG13 for images from 32x32 on, 9.41 million weights.

    Args:
      num_outputs: Number of classes, or 1 for regression.
      width: Factor on the hidden channels, 1 for the original's.
      norm: Whether batch norm follows each convolution; off for tangent kernels.
      parametrisation: How weights are drawn, `PYTORCH` or `NTK`.

    Example:
      >>> vgg13().plan.count(POOL)
      5

    References:
      Simonyan and Zisserman, *Very deep convolutional networks*, ICLR 2015.
    """
    return _vgg((2, 2, 2, 2, 2), num_outputs, width, norm, parametrisation)


def vgg16(
    num_outputs: int = 10,
    *,
    width: float = 1.0,
    norm: bool = False,
    parametrisation: Parametrisation = PYTORCH,
) -> ConvNet:
    """VGG16 for images from 32x32 on, 14.7 million weights.

    Args:
      num_outputs: Number of classes, or 1 for regression.
      width: Factor on the hidden channels, 1 for the original's.
      norm: Whether batch norm follows each convolution; off for tangent kernels.
      parametrisation: How weights are drawn, `PYTORCH` or `NTK`.

    Example:
      >>> vgg16().plan.count(POOL)
      5

    References:
      Simonyan and Zisserman, *Very deep convolutional networks*, ICLR 2015.
    """
    return _vgg((2, 2, 3, 3, 3), num_outputs, width, norm, parametrisation)


def _resnet(blocks, num_outputs, width, norm, parametrisation):
    channels = _scaled((64, 128, 256, 512), width)
    return ResNet(blocks, channels, num_outputs, norm, parametrisation)


def resnet18(
    num_outputs: int = 10,
    *,
    width: float = 1.0,
    norm: bool = False,
    parametrisation: Parametrisation = PYTORCH,
) -> ResNet:
    """ResNet18, 11.2 million weights.

    Args:
      num_outputs: Number of classes, or 1 for regression.
      width: Factor on the hidden channels, 1 for the original's.
      norm: Whether batch norm follows each convolution; off for tangent kernels.
      parametrisation: How weights are drawn, `PYTORCH` or `NTK`.

    Example:
      >>> resnet18().blocks
      (2, 2, 2, 2)

    References:
      He et al., *Deep residual learning for image recognition*, CVPR 2016.
    """
    return _resnet((2, 2, 2, 2), num_outputs, width, norm, parametrisation)


def resnet21(
    num_outputs: int = 10,
    *,
    width: float = 1.0,
    norm: bool = False,
    parametrisation: Parametrisation = PYTORCH,
) -> ResNet:
    """DAVINZ's "ResNet21", 17.4 million weights.

    Blocks 2, 3, 3, 3: the released code's, with 24 weighted layers.

    Args:
      num_outputs: Number of classes, or 1 for regression.
      width: Factor on the hidden channels, 1 for the original's.
      norm: Whether batch norm follows each convolution; off for tangent kernels.
      parametrisation: How weights are drawn, `PYTORCH` or `NTK`.

    Example:
      >>> resnet21().blocks
      (2, 3, 3, 3)
    """
    return _resnet((2, 3, 3, 3), num_outputs, width, norm, parametrisation)


def resnet34(
    num_outputs: int = 10,
    *,
    width: float = 1.0,
    norm: bool = False,
    parametrisation: Parametrisation = PYTORCH,
) -> ResNet:
    """ResNet34, 21.3 million weights.

    Args:
      num_outputs: Number of classes, or 1 for regression.
      width: Factor on the hidden channels, 1 for the original's.
      norm: Whether batch norm follows each convolution; off for tangent kernels.
      parametrisation: How weights are drawn, `PYTORCH` or `NTK`.

    Example:
      >>> resnet34().blocks
      (3, 4, 6, 3)

    References:
      He et al., *Deep residual learning for image recognition*, CVPR 2016.
    """
    return _resnet((3, 4, 6, 3), num_outputs, width, norm, parametrisation)


def resize(
    x: Num[Array, "n height width channels"] | Any, size: int
) -> Float[Array, "n {size} {size} channels"]:
    """Images resized to `size` by `size`, bilinear, as MNIST is for VGG.

    Args:
      x: Images, channels last.
      size: Height and width of the result, in pixels.

    Raises:
      ValueError: If the size is not positive.

    Example:
      >>> resize(jnp.ones((2, 28, 28, 1)), 32).shape
      (2, 32, 32, 1)
    """
    positive("size", size)
    x = jnp.asarray(x)
    shape = (x.shape[0], size, size, x.shape[-1])
    return jax.image.resize(x.astype(jnp.result_type(x, jnp.float32)), shape, "linear")


def _scaled(channels: Sequence[int], width: float) -> tuple[int, ...]:
    positive("width", width)
    return tuple(c if c == POOL else max(1, round(width * c)) for c in channels)
