r"""Kernels of infinitely wide networks: no initialisation, no parameters at all.

As the widths grow, the empirical NTK of a network in NTK parametrisation (weights from
$\mathcal N(0, \sigma_w^2/\text{fan-in})$, biases from $\mathcal N(0, \sigma_b^2)$)
tends to a fixed kernel. `relu_gram` is the closed form of dense ReLU networks and needs
nothing but JAX; `dense` and `convolutional` describe networks to neural-tangents, whose
kernels `gram` evaluates in blocks.

Max pooling has no infinite-width kernel in closed form (the maximum of correlated
Gaussians); average pooling has one.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxval._checks import check, positive
from jaxval.execution.options import Execution
from jaxval.execution.precision import in_double
from jaxval.kernels import row_blocks
from jaxval.kernels.neural_tangents import _package as _neural_tangents
from jaxval.types import AnyArray

__all__ = ["convolutional", "dense", "gram", "relu_gram"]

_BLOCK = 2**30
"""Bytes of a block of pairs of inputs where no limit is set."""

InfiniteKernelFn = Callable[..., Any]
"""`kernel_fn(rows, columns, "ntk")` of `neural_tangents.stax`."""


def relu_gram(
    rows: Float[AnyArray, "n ..."],
    columns: Float[AnyArray, "m ..."] | None = None,
    *,
    hidden_layers: int,
    weight_std: float = math.sqrt(2.0),
    bias_std: float = 0.0,
    execution: Execution = Execution(),  # noqa: B008
) -> Float[Array, "n m"]:
    r"""The infinite-width NTK of a dense ReLU network, in closed form.

    Starting from $\Sigma = \sigma_w^2 x^\top x' / d + \sigma_b^2$ and
    $\Theta = \Sigma$, each hidden layer does, with $\cos\alpha$ the correlation under
    $\Sigma$ and $s$ the product of the two standard deviations,

    $$\Theta \leftarrow \Sigma' + \sigma_w^2\,\Theta\,\frac{\pi - \alpha}{2\pi},
    \qquad \Sigma' = \sigma_w^2\,\frac{s}{2\pi}
    \bigl(\sin\alpha + (\pi - \alpha)\cos\alpha\bigr) + \sigma_b^2 .$$

    Args:
      rows: Inputs, one per row; they are flattened.
      columns: Other inputs, for a rectangular matrix; the rows when `None`.
      hidden_layers: Number of ReLU layers before the output: 10 for MLP10, whatever
        its widths.
      weight_std: $\sigma_w$; the default keeps the scale of a signal from layer to
        layer.
      bias_std: Standard deviation $\sigma_b$ of the biases.
      execution: Rows at once (`batch_size`, all when `None`), which bound the memory
        beyond the result, and `progress`, called with (tiles done, tiles in all).

    Returns:
      One row for each input in `rows`, one column for each in `columns` (or in `rows`).

    Raises:
      ValueError: If a setting is out of range, or the inputs are no arrays.

    Example:
      >>> gram = relu_gram(jnp.eye(2), hidden_layers=1)
      >>> np.asarray(gram, np.float64).round(4).tolist()
      [[2.0, 0.3183], [0.3183, 2.0]]

    References:
      Cho and Saul, *Kernel methods for deep learning*, 2009; Jacot, Gabriel and
      Hongler, *Neural tangent kernel*, 2018.
    """
    check(
        hidden_layers >= 0, f"hidden_layers must not be negative; got {hidden_layers}"
    )
    positive("weight_std", weight_std)
    positive("bias_std", bias_std, zero=True)
    settings = (float(weight_std) ** 2, float(bias_std) ** 2)
    left = row_blocks.inputs_and_targets(rows)
    right = None if columns is None else row_blocks.inputs_and_targets(columns)
    row_blocks.check_same_features(left, right)
    dtype = jnp.promote_types(jnp.asarray(rows).dtype, jnp.float32)
    longest = max(len(rows), 0 if columns is None else len(columns))
    tile = functools.partial(_relu_tile, hidden_layers, *settings, dtype)
    return row_blocks.gram(
        lambda x, _: x,
        tile,
        _flat(left),
        None if right is None else _flat(right),
        block_size=execution.batch_size or longest,
        progress=execution.progress,
    )


def _flat(pair):
    return jnp.asarray(pair[0]).reshape(len(pair[0]), -1), None


@in_double
@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _relu_tile(hidden_layers, weight, bias, dtype, x, z):
    # In double precision: the angle of two nearly equal inputs is the root of what
    # rounding leaves of one minus their correlation.
    x = x.astype(jnp.float64)
    z = x if z is None else z.astype(jnp.float64)

    def scale(a):
        return weight * a / x.shape[1] + bias

    va, vb = scale(jnp.sum(x**2, axis=1)), scale(jnp.sum(z**2, axis=1))
    cov = ntk = scale(row_blocks.inner(x, z))
    for _ in range(hidden_layers):
        s = jnp.sqrt(va[:, None] * vb[None, :])
        cosine = jnp.clip(cov / jnp.where(s > 0, s, 1.0), -1.0, 1.0)
        sine = jnp.sqrt((1 - cosine) * (1 + cosine))
        rest = jnp.pi - jnp.arctan2(sine, cosine)
        cov = weight * s * (sine + rest * cosine) / (2 * jnp.pi) + bias
        ntk = cov + weight * ntk * rest / (2 * jnp.pi)
        va, vb = weight * va / 2 + bias, weight * vb / 2 + bias
    return ntk.astype(dtype)


def dense(
    hidden_layers: int,
    *,
    weight_std: float = math.sqrt(2.0),
    bias_std: float | None = None,
) -> InfiniteKernelFn:
    """The kernel of a dense ReLU network, from `neural_tangents.stax`.

    Args:
      hidden_layers: Number of ReLU layers before the output: 10 for MLP10.
      weight_std: Standard deviation of the weights, times the root of the fan-in.
      bias_std: Standard deviation of the biases; no biases when `None`.

    Returns:
      A `kernel_fn` for `gram`.
    """
    check(
        hidden_layers >= 0, f"hidden_layers must not be negative; got {hidden_layers}"
    )
    stax = _neural_tangents.load().stax
    layer = functools.partial(stax.Dense, W_std=weight_std, b_std=bias_std)
    hidden = [part for _ in range(hidden_layers) for part in (layer(1), stax.Relu())]
    return stax.serial(stax.Flatten(), *hidden, layer(1))[2]


def convolutional(
    conv_layers: int = 2,
    *,
    kernel_size: int = 5,
    pooling: str | None = "average",
    weight_std: float = math.sqrt(2.0),
    bias_std: float | None = None,
) -> InfiniteKernelFn:
    r"""The kernel of conv-ReLU-pool layers and a dense output (the CNN of DAVINZ).

    Average pooling correlates every pair of positions, so each pair of images costs
    $(h w)^2$ numbers: 2.5 MB for two images of 28 x 28. Without pooling only equal
    positions matter, $h w$ numbers per pair.

    Args:
      conv_layers: Number of convolutions, each followed by ReLU and the pooling; 2 in
        the CNN.
      kernel_size: Size of each convolution, padded to keep the size of the image.
      pooling: `"average"` over 2 x 2, or `None`. The CNN of the paper takes the
        maximum, which has no infinite-width kernel.
      weight_std: Standard deviation of the weights, times the root of the fan-in.
      bias_std: Standard deviation of the biases; no biases when `None`.

    Returns:
      A `kernel_fn` for `gram`, of images `(n, height, width, channels)`.

    Raises:
      ValueError: If `pooling` is the maximum or unknown.
    """
    check(conv_layers >= 1, f"conv_layers must be at least 1; got {conv_layers}.")
    check(
        pooling in ("average", None),
        f"pooling must be 'average' or None; got {pooling!r}. Max pooling has no "
        "infinite-width kernel (the maximum of correlated Gaussians has no closed "
        "form): use average pooling, or the finite network with kernels.tangent.gram.",
    )
    stax = _neural_tangents.load().stax
    conv = functools.partial(
        stax.Conv, 1, (kernel_size,) * 2, None, "SAME", weight_std, bias_std
    )
    pool = [stax.AvgPool((2, 2), (2, 2))] if pooling else []
    layers = [p for _ in range(conv_layers) for p in (conv(), stax.Relu(), *pool)]
    output = stax.Dense(1, W_std=weight_std, b_std=bias_std)
    return stax.serial(*layers, stax.Flatten(), output)[2]


def gram(
    kernel_fn: InfiniteKernelFn,
    rows: Float[AnyArray, "n ..."],
    columns: Float[AnyArray, "m ..."] | None = None,
    *,
    execution: Execution = Execution(),  # noqa: B008
) -> Float[Array, "n m"]:
    """The infinite-width NTK of a `neural_tangents.stax` network, in blocks.

    Args:
      kernel_fn: Kernel from `dense`, `convolutional`, or any `stax.serial(...)[2]`.
      rows: Inputs, one per row.
      columns: Other inputs, for a rectangular matrix; the rows when `None`.
      execution: Inputs at once (`batch_size`), or the bytes that a block of them may
        take, roughly (`memory`; a GiB when neither is set), and `progress`, called with
        (tiles done, tiles in all).

    Returns:
      One row for each input in `rows`, one column for each in `columns` (or in `rows`).

    Raises:
      ImportError: If neural-tangents is not installed.
      ValueError: If the inputs are no arrays of one shape.
    """
    _neural_tangents.load()
    left = row_blocks.inputs_and_targets(rows)
    right = None if columns is None else row_blocks.inputs_and_targets(columns)
    row_blocks.check_same_features(left, right)
    memory = execution.memory or _BLOCK
    return row_blocks.gram(
        lambda x, _: x,
        functools.partial(_tile, kernel_fn),
        (jnp.asarray(left[0]), None),
        None if right is None else (jnp.asarray(right[0]), None),
        block_size=execution.batch_size or _block_size(np.shape(rows), memory),
        progress=execution.progress,
    )


@functools.partial(jax.jit, static_argnums=0)
def _tile(kernel_fn, left, right):
    with _neural_tangents.quietly(), jax.default_matmul_precision("highest"):
        return kernel_fn(left, right, "ntk")


def _block_size(shape, memory):
    # A pair of images has a number for each pair of positions, in four arrays or so.
    positions = math.prod(shape[1:-1]) if len(shape) > 2 else 1
    return max(1, math.isqrt(memory // (16 * positions**2)))
