import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxval import models

X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


class Dense(nnx.Module):
    def __init__(self, rngs, norm=False):
        self.first = nnx.Linear(3, 4, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.last = nnx.Linear(4, 2, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs) if norm else None

    def __call__(self, x):
        x = nnx.relu(self.first(x))
        return self.last(self.dropout(x))


def plain(module):
    """The two layers by hand."""
    first, last = module.first, module.last
    hidden = np.maximum(X @ np.asarray(first.kernel[...]), 0.0)
    return hidden @ np.asarray(last.kernel[...])


def test_a_linen_module_is_its_functions(key):
    module = models.mlp([4], 2)
    network = models.as_network(module)
    params = network.init(key, X)
    expected = models.apply_fn(module)(models.init(key, module, X), X)
    np.testing.assert_array_equal(network.apply(params, X), expected)
    assert network.num_outputs(params, X) == 2
    assert network == models.as_network(models.mlp([4], 2))
    assert hash(network) == hash(models.as_network(models.mlp([4], 2)))


def test_an_nnx_module_keeps_its_parameters_and_drops_its_dropout(key):
    module = Dense(nnx.Rngs(0))
    network = models.as_network(module)
    params = network.init(key, X)
    np.testing.assert_allclose(network.apply(params, X), plain(module), rtol=1e-5)
    assert all(
        jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(params)
    )
    gradient = jax.grad(lambda p: network.apply(p, X).sum())(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_a_maker_of_nnx_modules_draws_anew_for_each_key():
    def make(rngs):
        return Dense(rngs)

    network = models.as_network(make)
    one, two = (network.init(jax.random.key(seed), X) for seed in (0, 1))
    assert not np.allclose(network.apply(one, X), network.apply(two, X))
    assert network == models.as_network(make)
    np.testing.assert_allclose(
        network.apply(one, X), plain(make(nnx.Rngs(jax.random.key(0)))), rtol=1e-5
    )


def test_functions_and_networks_are_taken_as_they_are(key):
    network = models.as_network((lambda key, x: 2.0, lambda p, x: p * x))
    assert models.as_network(network) is network
    np.testing.assert_array_equal(network.apply(network.init(key, X), X), 2 * X)
    given = models.fixed(network.apply, 3.0)
    np.testing.assert_array_equal(given.apply(given.init(key, X), X), 3 * X)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (3, "network must be a Network, .* got int"),
        ((lambda key, x: 1.0,), "network must be"),
        (print, "network must be"),
    ],
)
def test_what_is_no_network_is_refused(module, message):
    with pytest.raises(ValueError, match=message):
        models.as_network(module)


def test_running_statistics_are_refused(key):
    with pytest.raises(ValueError, match="running statistics"):
        models.as_network(Dense(nnx.Rngs(0), norm=True))
    with pytest.raises(ValueError, match="has state besides"):
        models.as_network(models.mlp([4], 2, norm=True)).init(key, X)


def test_outputs_of_no_matrix_are_named():
    network = models.as_network((lambda key, x: 1.0, lambda p, x: p * x[:, 0]))
    with pytest.raises(ValueError, match="one row of outputs per sample"):
        network.num_outputs(1.0, X)


class Bare(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(x)


def test_any_linen_module_will_do(key):
    network = models.as_network(Bare())
    assert network.apply(network.init(key, X), X).shape == (5, 2)
