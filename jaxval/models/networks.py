"""The papers' networks: MLP10, CNN, CNN8, VGG and ResNet in their CIFAR form.

All are without bias, as in DAVINZ's experiments. Input channels and sizes come from
the example that `models.init` is shown; hidden channels scale with `width`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from jaxval._checks import check, positive
from jaxval.models.layers import (
    PYTORCH,
    BatchNorm,
    Parametrisation,
    Weight,
    conv,
    dense,
)

__all__ = [
    "MLP",
    "POOL",
    "ConvNet",
    "ResNet",
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

POOL = 0
"""In a plan of channels: a 2x2 maximum pooling."""


class MLP(nn.Module):
    """Dense layers with ReLU between them, on flattened inputs.

    Attributes:
      widths: units of each hidden layer.
      num_outputs: units of the last layer; `None` stops at the last hidden one.
      bias: whether the layers have biases.
      norm: whether batch norm follows each hidden layer.
      parametrisation: how weights are drawn and scaled.
    """

    widths: tuple[int, ...]
    num_outputs: int | None = 1
    bias: bool = False
    norm: bool = False
    parametrisation: Parametrisation = PYTORCH

    @nn.compact
    def __call__(
        self,
        x: Num[Array, "n ..."],
        train: bool = False,
        weight: Weight | None = None,
    ) -> Float[Array, "n outputs"]:
        """Outputs of a batch; see `BatchNorm` for `train` and `weight`."""
        x = x.reshape(x.shape[0], -1)
        for width in self.widths:
            x = dense(x, width, self.parametrisation, bias=self.bias)
            x = nn.relu(_normalised(x, self.norm, train, weight))
        if self.num_outputs is None:
            return x
        return dense(x, self.num_outputs, self.parametrisation, bias=self.bias)


class ConvNet(nn.Module):
    """Convolutions and poolings, then dense layers: CNN, CNN8 and VGG.

    Attributes:
      plan: channels of each convolution, `POOL` where a pooling stands.
      num_outputs: units of the last layer; `None` stops before it.
      size: of the convolutions' kernels.
      linear: units of linear layers between the last pooling and the outputs.
      norm: whether batch norm follows each convolution.
      parametrisation: how weights are drawn and scaled.
    """

    plan: tuple[int, ...]
    num_outputs: int | None = 10
    size: int = 3
    linear: tuple[int, ...] = ()
    norm: bool = False
    parametrisation: Parametrisation = PYTORCH

    @nn.compact
    def __call__(
        self,
        x: Num[Array, "n ..."],
        train: bool = False,
        weight: Weight | None = None,
    ) -> Float[Array, "n outputs"]:
        """Outputs of a batch; see `BatchNorm` for `train` and `weight`."""
        _check_images(x, 2 ** self.plan.count(POOL))
        for channels in self.plan:
            if channels == POOL:
                x = nn.max_pool(x, (2, 2), (2, 2))
            else:
                x = conv(x, channels, self.size, self.parametrisation)
                x = nn.relu(_normalised(x, self.norm, train, weight))
        x = x.reshape(x.shape[0], -1)
        for units in self.linear:
            x = dense(x, units, self.parametrisation)
        if self.num_outputs is None:
            return x
        return dense(x, self.num_outputs, self.parametrisation)


class ResNet(nn.Module):
    """A residual network of basic blocks with the 3x3 stem of CIFAR.

    The last maps are averaged whole: 4x4 maps on images of 25 to 32 pixels, where that
    is the original's average over 4x4, and maps of any other size besides.

    Attributes:
      blocks: in each of the four stages.
      channels: of each stage; all but the first halve the image.
      num_outputs: units of the last layer; `None` stops at the average.
      norm: whether batch norm follows each convolution.
      parametrisation: how weights are drawn and scaled.
    """

    blocks: tuple[int, ...]
    channels: tuple[int, ...] = (64, 128, 256, 512)
    num_outputs: int | None = 10
    norm: bool = False
    parametrisation: Parametrisation = PYTORCH

    @nn.compact
    def __call__(
        self,
        x: Num[Array, "n ..."],
        train: bool = False,
        weight: Weight | None = None,
    ) -> Float[Array, "n outputs"]:
        """Outputs of a batch; see `BatchNorm` for `train` and `weight`."""
        _check_images(x, 1)

        def convolved(x, channels, size, stride=1):
            x = conv(x, channels, size, self.parametrisation, stride=stride)
            return _normalised(x, self.norm, train, weight)

        def block(x, channels, stride):
            out = nn.relu(convolved(x, channels, 3, stride))
            out = convolved(out, channels, 3)
            if stride != 1 or x.shape[-1] != channels:
                x = convolved(x, channels, 1, stride)
            return nn.relu(out + x)

        x = nn.relu(convolved(x, self.channels[0], 3))
        for stage, channels in enumerate(self.channels):
            for index in range(self.blocks[stage]):
                x = block(x, channels, 2 if stage and not index else 1)
        x = x.mean((1, 2))
        if self.num_outputs is None:
            return x
        return dense(x, self.num_outputs, self.parametrisation)


def mlp(
    widths: Sequence[int],
    num_outputs: int = 1,
    *,
    bias: bool = False,
    norm: bool = False,
    parametrisation: Parametrisation = PYTORCH,
) -> MLP:
    """Dense layers of the given hidden widths.

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
      num_outputs: classes, or 1 for regression.
      width: factor on the hidden units, 1 for the paper's.
      norm: whether batch norm follows each hidden layer; off for tangent kernels.
      parametrisation: `PYTORCH` or `NTK`.
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
      num_outputs: classes, or 1 for regression.
      width: factor on the hidden channels, 1 for the paper's.
      norm: whether batch norm follows each convolution; the paper's has none.
      parametrisation: `PYTORCH` or `NTK`.

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
    the released code. For the arguments see `cnn`.
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
    """VGG11 for images from 32x32 on, 9.22 million weights; arguments as in `cnn`."""
    return _vgg((1, 1, 2, 2, 2), num_outputs, width, norm, parametrisation)


def vgg13(
    num_outputs: int = 10,
    *,
    width: float = 1.0,
    norm: bool = False,
    parametrisation: Parametrisation = PYTORCH,
) -> ConvNet:
    """VGG13 for images from 32x32 on, 9.41 million weights; arguments as in `cnn`."""
    return _vgg((2, 2, 2, 2, 2), num_outputs, width, norm, parametrisation)


def vgg16(
    num_outputs: int = 10,
    *,
    width: float = 1.0,
    norm: bool = False,
    parametrisation: Parametrisation = PYTORCH,
) -> ConvNet:
    """VGG16 for images from 32x32 on, 14.7 million weights; arguments as in `cnn`."""
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
    """ResNet18, 11.2 million weights; arguments as in `cnn`."""
    return _resnet((2, 2, 2, 2), num_outputs, width, norm, parametrisation)


def resnet21(
    num_outputs: int = 10,
    *,
    width: float = 1.0,
    norm: bool = False,
    parametrisation: Parametrisation = PYTORCH,
) -> ResNet:
    """DAVINZ's "ResNet21", 17.4 million weights; arguments as in `cnn`.

    Blocks 2, 3, 3, 3: the released code's, with 24 weighted layers.
    """
    return _resnet((2, 3, 3, 3), num_outputs, width, norm, parametrisation)


def resnet34(
    num_outputs: int = 10,
    *,
    width: float = 1.0,
    norm: bool = False,
    parametrisation: Parametrisation = PYTORCH,
) -> ResNet:
    """ResNet34, 21.3 million weights; arguments as in `cnn`."""
    return _resnet((3, 4, 6, 3), num_outputs, width, norm, parametrisation)


def resize(
    x: Num[Array, "n height width channels"] | Any, size: int
) -> Float[Array, "n {size} {size} channels"]:
    """Images resized to `size` by `size`, bilinear, as MNIST is for VGG.

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


def _normalised(x, norm, train, weight):
    return BatchNorm()(x, train, weight) if norm else x


def _check_images(x, smallest: int) -> None:
    check(
        x.ndim == 4,
        "x must be images of shape (n, height, width, channels); got shape "
        f"{x.shape}. Grey images need a last axis of 1: x[..., None].",
    )
    check(
        min(x.shape[1:3]) >= smallest,
        f"the network halves its images down from at least {smallest}x{smallest}; got "
        f"{x.shape[1]}x{x.shape[2]}. Enlarge them: models.resize(x, {smallest}).",
    )
