import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxval.execution.precision import EXACT
from jaxval.kernels.layers import routes
from jaxval.kernels.layers.weights import Sizes, Weight, Window, patches


def compiled(route, *args, **options):
    return jax.jit(lambda args: route(*args, EXACT, **options))(args)


def weight(key, rows, window=None, shape=(4, 5)):
    """A weight with two groups and two readouts, dense or convolved."""
    image_key, out_key = jax.random.split(key)
    if window is None:
        inputs = jax.random.normal(image_key, (rows, 2, *shape))
        positions = shape[1]
    else:
        inputs = jax.random.normal(image_key, (rows, 2, 4, 7, 6))
        positions = patches(inputs, window).shape[3]
    outputs = jax.random.normal(out_key, (rows, 2, positions, 3 * 2))
    return Weight((inputs,), (outputs,), (window,))


def window(kernel, strides, padding, input_dilation, kernel_dilation):
    """With two groups."""
    return Window(
        kernel=kernel,
        strides=strides,
        padding=padding,
        input_dilation=input_dilation,
        kernel_dilation=kernel_dilation,
        groups=2,
    )


WINDOWS = {
    "plain": window((3, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1)),
    "strided": window((3, 3), (2, 1), ((1, 1), (0, 2)), (1, 1), (1, 1)),
    "dilated": window((2, 2), (1, 2), ((2, 1), (0, 0)), (1, 1), (2, 3)),
    "transposed": window((3, 2), (1, 1), ((1, 2), (1, -1)), (2, 3), (1, 1)),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_patches_reproduce_the_convolution(name, key):
    window = WINDOWS[name]
    image = jax.random.normal(key, (3, 4, 7, 6))
    kernel = jax.random.normal(key, (*window.kernel, 2, 6))
    truth = lax.conv_general_dilated(
        image,
        kernel,
        window.strides,
        window.padding,
        window.input_dilation,
        window.kernel_dilation,
        dimension_numbers=("NCHW", "HWIO", "NCHW"),
        feature_group_count=2,
        precision="highest",
    )
    seen = patches(image[:, None], window)
    flat = kernel.reshape(-1, 2, 3)
    ours = jnp.einsum("ngap,ago->ngop", seen, flat, precision="highest")
    np.testing.assert_allclose(ours.reshape(truth.shape), truth, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [None, "plain", "transposed"])
def test_all_routes_agree(name, key):
    window = None if name is None else WINDOWS[name]
    left_key, right_key = jax.random.split(key)
    left, right = weight(left_key, 3, window), weight(right_key, 4, window)
    rows = [compiled(routes.gradient_rows, w) for w in (left, right)]
    truth = np.asarray(rows[0], np.float64) @ np.asarray(rows[1], np.float64).T
    pairs = compiled(routes._pairs, left, right)
    gradients = compiled(routes._gradients, left, right)
    np.testing.assert_allclose(pairs, truth, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(gradients, truth, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("workspace", [1, 2**11, 2**14])
def test_workspaces_change_nothing(workspace, key, monkeypatch):
    left = weight(key, 4, WINDOWS["strided"])
    whole = [compiled(f, left, left) for f in (routes._pairs, routes._gradients)]
    for name in ("_WORKSPACE", "_CACHE", "_PATCHES"):
        monkeypatch.setattr(routes, name, workspace)
    parts = [compiled(f, left, left) for f in (routes._pairs, routes._gradients)]
    np.testing.assert_allclose(whole, parts, rtol=1e-5, atol=1e-4)


def test_halves_are_the_whole(key, x64):
    samples = weight(key, 8, WINDOWS["plain"])
    whole = compiled(routes._pairs, samples, samples)
    halves = compiled(routes._halved, samples, smallest=2)
    np.testing.assert_allclose(halves, whole, rtol=1e-12, atol=1e-10)


def test_the_cheaper_route_is_chosen():
    count = lambda sizes: routes.operations(
        Sizes(*sizes), 64, 64, same=True, table=False
    )
    dense, late, early = (1, 1, 512, 512), (1, 16, 4608, 512), (1, 1024, 576, 64)
    assert count(dense).pairs < count(dense).gradients / 100
    assert count(late).pairs < count(late).gradients
    assert count(early).gradients < count(early).pairs
    # Two products of 64 x 512 x 64, and 64 x 64 products and sums of their entries.
    assert count(dense).best == 2 * 64 * 64 * (512 + 512 + 1)
