"""Convolutions as matrix products give the same outputs and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxval import models
from jaxval.training import as_matrix_products, from_module, on_cpu

LAYOUTS = [
    ("NHWC", "HWIO", "NHWC"),
    ("NCHW", "OIHW", "NCHW"),
    ("NHWC", "OIHW", "NCHW"),
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("padding", ["SAME", "VALID", ((1, 2), (0, 3))])
@pytest.mark.parametrize(("strides", "dilation"), [((1, 1), (1, 1)), ((2, 1), (1, 2))])
def test_any_layout_padding_stride_and_dilation(
    key, layout, padding, strides, dilation
):
    x_size, k_size = {"N": 3, "C": 2, "H": 9, "W": 8}, {"H": 3, "W": 2, "I": 2, "O": 4}
    x = jax.random.normal(key, [x_size[axis] for axis in layout[0]])
    kernel = jax.random.normal(key, [k_size[axis] for axis in layout[1]])
    conv = lambda x, k: lax.conv_general_dilated(
        x, k, strides, padding, rhs_dilation=dilation, dimension_numbers=layout
    )
    fast = jax.jit(as_matrix_products(conv))
    np.testing.assert_allclose(fast(x, kernel), conv(x, kernel), atol=1e-5)


def test_grouped_convolutions_are_left_alone(key):
    x, kernel = jax.random.normal(key, (1, 5, 4)), jax.random.normal(key, (3, 2, 4))
    conv = lambda x, k: lax.conv_general_dilated(
        x, k, (1,), "VALID", dimension_numbers=("NWC", "WIO", "NWC"),
        feature_group_count=2,
    )  # fmt: skip
    program = str(jax.make_jaxpr(as_matrix_products(conv))(x, kernel))
    assert "conv_general_dilated" in program
    np.testing.assert_allclose(as_matrix_products(conv)(x, kernel), conv(x, kernel))


def test_a_whole_network_and_its_gradient(key):
    x = jax.random.normal(key, (4, 8, 8, 1))
    network = from_module(models.cnn(norm=True, width=0.25), x)
    fast = on_cpu(network)
    variables = network.init(key)
    weights = jnp.array([1.0, 1.0, 1.0, 0.0])

    def gradient(network):
        loss = lambda params: jnp.sum(
            network.train(variables._replace(params=params), x, weights)[0] ** 2
        )
        return jax.jit(jax.grad(loss))(variables.params)

    program = str(jax.make_jaxpr(fast.apply)(variables, x))
    assert "conv_general_dilated" not in program
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    jax.tree.map(close, gradient(fast), gradient(network))
    close(fast.apply(variables, x), network.apply(variables, x))
    assert on_cpu(from_module(models.cnn(norm=True, width=0.25), x)) == fast
