"""The kinds of network: dense layers, convolutions with poolings, residual blocks."""

from __future__ import annotations

import flax.linen as nn
from jaxtyping import Array, Float, Num

from jaxval._checks import check
from jaxval.models.layers import (
    PYTORCH,
    BatchNorm,
    Parametrisation,
    Weight,
    conv,
    dense,
)

__all__ = ["MLP", "POOL", "ConvNet", "ResNet"]

POOL = 0
"""In a plan of channels: a 2x2 maximum pooling."""


class MLP(nn.Module):
    """Dense layers with ReLU between them, on flattened inputs.

    Attributes:
      widths: Units of each hidden layer.
      num_outputs: Units of the last layer; `None` stops at the last hidden one.
      bias: Whether the layers have biases.
      norm: Whether batch norm follows each hidden layer.
      parametrisation: How weights are drawn and scaled.

    Example:
      >>> import jax
      >>> x = jax.numpy.ones((2, 4))
      >>> MLP((8,), 3).init_with_output(jax.random.key(0), x)[0].shape
      (2, 3)
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
      plan: Channels of each convolution, `POOL` where a pooling stands.
      num_outputs: Units of the last layer; `None` stops before it.
      size: Height and width of the convolutions' kernels, odd.
      linear: Units of linear layers between the last pooling and the outputs.
      norm: Whether batch norm follows each convolution.
      parametrisation: How weights are drawn and scaled.

    Example:
      >>> import jax
      >>> x = jax.numpy.ones((2, 4, 4, 1))
      >>> ConvNet((8, POOL), 3).init_with_output(jax.random.key(0), x)[0].shape
      (2, 3)
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
      blocks: Number of blocks in each of the four stages.
      channels: Channels of each stage; all but the first halve the image.
      num_outputs: Units of the last layer; `None` stops at the average.
      norm: Whether batch norm follows each convolution.
      parametrisation: How weights are drawn and scaled.

    Example:
      >>> import jax
      >>> net, x = ResNet((1, 1), (4, 8), num_outputs=3), jax.numpy.ones((2, 8, 8, 1))
      >>> net.init_with_output(jax.random.key(0), x)[0].shape
      (2, 3)

    References:
      He et al., *Deep residual learning for image recognition*, CVPR 2016.
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
