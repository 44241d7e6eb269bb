"""What a block of samples leaves at each weight: its inputs and its cotangents."""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

__all__ = ["Rows", "Sizes", "Weight", "Window", "operands", "patches"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Window:
    """How a convolution's kernel moves over its input, as in `jax.lax`.

    It is a setting, compared and hashed, and never an array's record.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    input_dilation: tuple[int, ...]
    kernel_dilation: tuple[int, ...]
    groups: int


class Sizes(NamedTuple):
    """Of one weight: groups, positions, and the two sides of its gradient."""

    groups: int
    positions: int
    inputs: int
    outputs: int


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["inputs", "cotangents"],
    meta_fields=["windows", "vocabulary", "leaf"],
)
@dataclasses.dataclass(frozen=True)
class Weight:
    """What a block of samples leaves at one weight, an entry for each of its uses.

    Attributes:
      inputs: `(n, groups, inputs, positions)`; of a convolution the image
        `(n, batch, channels, *space)`; of a table the rows looked up, `(n, positions)`.
      cotangents: `(n, groups, positions, outputs)`; those of several readouts lie
        side by side along the outputs, which makes every route sum over them.
      windows: Window of each use; `None` where it is no convolution.
      vocabulary: Number of the table's rows; `None` where the weight is no table.
      leaf: Number of the leaf of the parameters, for messages.
    """

    inputs: tuple[Any, ...]
    cotangents: tuple[Any, ...]
    windows: tuple[Window | None, ...]
    vocabulary: int | None = None
    leaf: int = -1

    @property
    def num_rows(self) -> int:
        """Samples of the block."""
        return self.cotangents[0].shape[0]

    @property
    def sizes(self) -> Sizes:
        """The sizes that the operation counts depend on."""
        _, groups, _, outputs = self.cotangents[0].shape
        positions = sum(b.shape[2] for b in self.cotangents)
        if self.vocabulary is not None:
            return Sizes(groups, positions, self.vocabulary, outputs)
        window, a = self.windows[0], self.inputs[0]
        if window is None:
            return Sizes(groups, positions, a.shape[2], outputs)
        inputs = math.prod(window.kernel) * a.shape[2] // groups
        return Sizes(groups, positions, inputs, outputs)


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["features", "weights"],
    meta_fields=["widths"],
)
@dataclasses.dataclass(frozen=True)
class Rows:
    """A block of samples, ready to be contracted with another.

    Attributes:
      features: `(n, width)`: gradients that are small enough to be stored, side by
        side; `None` where there are none.
      weights: The other weights, whose gradients are not formed.
      widths: `(leaf, columns)` of each gradient in `features`, in their order.
    """

    features: Any
    weights: tuple[Weight, ...]
    widths: tuple[tuple[int, int], ...] = ()


def operands(weight):
    """Inputs `(n, g, a, p)` and cotangents `(n, g, p, b)`, positions of all uses.

    The inputs of a table are row numbers, `(n, p)`.
    """
    inputs = [
        a if window is None else patches(a, window)
        for a, window in zip(weight.inputs, weight.windows, strict=True)
    ]
    return jnp.concatenate(inputs, -1), jnp.concatenate(weight.cotangents, 2)


def patches(
    image: Float[Array, "n batch channels ..."], window: Window
) -> Float[Array, "n groups inputs positions"]:
    """What the kernel sees at each of its positions."""
    # image: (n, batch, channels, *space); batch is that of one sample's convolution.
    n, batch, channels, *_ = image.shape
    spread = [
        (lo, hi, d - 1)
        for (lo, hi), d in zip(window.padding, window.input_dilation, strict=True)
    ]
    image = lax.pad(image, jnp.zeros((), image.dtype), [(0, 0, 0)] * 3 + spread)
    reach = [
        (k - 1) * d for k, d in zip(window.kernel, window.kernel_dilation, strict=True)
    ]
    space = [
        (size - r - 1) // s + 1
        for size, r, s in zip(image.shape[3:], reach, window.strides, strict=True)
    ]
    views = []
    for offset in _offsets(window.kernel):
        first = [o * d for o, d in zip(offset, window.kernel_dilation, strict=True)]
        last = [
            f + (k - 1) * s + 1
            for f, k, s in zip(first, space, window.strides, strict=True)
        ]
        cut = lax.slice(
            image,
            (0, 0, 0, *first),
            (n, batch, channels, *last),
            (1, 1, 1, *window.strides),
        )
        views.append(
            cut.reshape(n, batch, window.groups, channels // window.groups, -1)
        )
    # (n, batch, groups, offsets, channels / groups, positions), then the batch joins
    # the positions and the offsets join the inputs.
    stacked = jnp.stack(views, 3)
    stacked = jnp.moveaxis(stacked, 1, 4)
    return stacked.reshape(n, window.groups, len(views) * channels // window.groups, -1)


def _offsets(kernel):
    if not kernel:
        return [()]
    return [(i, *rest) for i in range(kernel[0]) for rest in _offsets(kernel[1:])]
