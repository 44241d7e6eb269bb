"""Infinite width: the closed form, neural-tangents, and wide finite networks agree."""

import importlib.util
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxval.execution.options import Execution
from jaxval.kernels import readouts, tangent
from jaxval.kernels.neural_tangents import infinite_width

installed = importlib.util.find_spec("neural_tangents") is not None
needs_it = pytest.mark.skipif(not installed, reason="neural-tangents isn't installed")


def wide_network(layers, weight_std, bias_std):
    def apply_fn(params, x):
        h = x
        for number, (w, b) in enumerate(params):
            h = h @ w * (weight_std / math.sqrt(w.shape[0])) + bias_std * b[None]
            h = jax.nn.relu(h) if number < layers else h
        return h

    return apply_fn


def gaussian_params(key, widths):
    keys = jax.random.split(key, 2 * len(widths))
    pairs = zip(widths[:-1], widths[1:], strict=True)
    return [
        (jax.random.normal(keys[2 * i], (a, b)), jax.random.normal(keys[2 * i + 1], b))
        for i, (a, b) in enumerate(pairs)
    ]


@pytest.mark.parametrize(("layers", "bias_std"), [(1, 0.0), (2, 0.3)])
def test_wide_networks_tend_to_the_closed_form(key, layers, bias_std):
    x = jax.random.normal(key, (4, 6))
    limit = infinite_width.relu_gram(x, hidden_layers=layers, bias_std=bias_std)
    network = wide_network(layers, math.sqrt(2), bias_std)

    def at(width):
        widths = (6, *[width] * layers, 1)
        draw = lambda seed: tangent.gram(
            network,
            gaussian_params(jax.random.key(seed), widths),
            x,
            readout=readouts.single_output,
        )
        draws = np.stack([draw(seed) for seed in range(6)])
        return draws.mean(0), draws.std(0, ddof=1) / math.sqrt(6)

    mean, stderr = at(512)
    # The mean has a bias of order 1/width besides, a tenth of this standard error.
    assert (np.abs(mean - np.asarray(limit)) < 5 * stderr + 0.005 * mean.max()).all()


@needs_it
@pytest.mark.parametrize("bias_std", [None, 0.4])
def test_closed_form_is_that_of_neural_tangents(key, x64, bias_std):
    x = jax.random.normal(key, (6, 5))
    kernel_fn = infinite_width.dense(4, weight_std=1.3, bias_std=bias_std)
    theirs = infinite_width.gram(kernel_fn, x)
    settings = {"hidden_layers": 4, "weight_std": 1.3, "bias_std": bias_std or 0.0}
    ours = infinite_width.relu_gram(x, **settings)
    # They take the arc cosine of a correlation of 1, and lose digits there.
    np.testing.assert_allclose(ours, theirs, rtol=2e-7)


def test_closed_form_in_blocks_and_rectangles(key):
    x = jax.random.normal(key, (7, 2, 3))
    whole = infinite_width.relu_gram(x, hidden_layers=3)
    blocked = infinite_width.relu_gram(
        x, hidden_layers=3, execution=Execution(batch_size=3)
    )
    part = infinite_width.relu_gram(x, x[:2], hidden_layers=3)
    np.testing.assert_allclose(blocked, whole, rtol=1e-6)
    np.testing.assert_allclose(part, whole[:, :2], rtol=1e-6)
    assert whole.dtype == jnp.float32


def test_no_hidden_layer_is_the_linear_kernel(key):
    x = jax.random.normal(key, (3, 4))
    found = infinite_width.relu_gram(x, hidden_layers=0, weight_std=1.0)
    np.testing.assert_allclose(found, x @ x.T / 4, rtol=1e-5, atol=1e-6)


def test_an_input_of_zeros_is_finite():
    x = jnp.zeros((2, 3)).at[0].set(1.0)
    assert np.isfinite(infinite_width.relu_gram(x, hidden_layers=2)).all()


@needs_it
@pytest.mark.parametrize("pooling", ["average", None])
def test_convolutional(key, pooling):
    x = jax.random.normal(key, (5, 8, 8, 1))
    kernel_fn = infinite_width.convolutional(pooling=pooling)
    whole = infinite_width.gram(kernel_fn, x)
    blocked = infinite_width.gram(kernel_fn, x, execution=Execution(memory=1))
    part = infinite_width.gram(kernel_fn, x, x[:2], execution=Execution(batch_size=2))
    np.testing.assert_allclose(blocked, whole, rtol=2e-3)
    np.testing.assert_allclose(part, whole[:, :2], rtol=2e-3)
    assert np.linalg.eigvalsh(whole)[0] > 0


def test_max_pooling_is_refused():
    with pytest.raises(ValueError, match="Max pooling has no"):
        infinite_width.convolutional(pooling="max")


@pytest.mark.parametrize("settings", [{"hidden_layers": -1}, {"weight_std": 0.0}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        infinite_width.relu_gram(jnp.eye(2), **{"hidden_layers": 1, **settings})


def test_blocks_shrink_with_the_square_of_the_positions():
    assert infinite_width._block_size((9, 28, 28, 1), 2**30) == 10
    assert infinite_width._block_size((9, 64), 2**30) == 8192
