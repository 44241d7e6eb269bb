import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxval import models


def leaves(params):
    return {
        "/".join(k.key for k in path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }


def test_pytorch_weights_are_uniform_with_the_fan_in_as_bound(key):
    params = models.init(key, models.cnn(), jnp.zeros((1, 28, 28, 1)))
    for name, fan_in in {"Conv_0": 25, "Conv_1": 400, "Dense_0": 1568}.items():
        kernel = np.asarray(params[name]["kernel"])
        bound, n = fan_in**-0.5, kernel.size
        assert np.abs(kernel).max() <= bound
        assert abs(kernel.mean()) < 5 * bound / np.sqrt(3 * n)
        # The variance of u^2 for u ~ U(-b, b) is 4 b^4 / 45.
        error = np.sqrt(4 / 45 / n) * bound**2
        assert abs((kernel**2).mean() - bound**2 / 3) < 5 * error


def test_pytorch_biases_have_the_weights_bound(key):
    params = models.init(key, models.mlp((400,), 1, bias=True), jnp.zeros((1, 16)))
    bias = np.asarray(params["Dense_0"]["bias"])
    assert 0.24 < np.abs(bias).max() <= 0.25


def test_ntk_weights_are_standard_normal(key):
    module = models.cnn(parametrisation=models.NTK)
    params = models.init(key, module, jnp.zeros((1, 28, 28, 1)))
    for layer in params.values():
        kernel = np.asarray(layer["kernel"])
        n = kernel.size
        assert abs(kernel.mean()) < 5 / np.sqrt(n)
        assert abs(kernel.var() - 1) < 5 * np.sqrt(2 / n)


def test_flat_draws_are_the_shaped_ones(key):
    params = models.init(
        key, models.mlp((8,), 1, parametrisation=models.NTK), jnp.zeros((1, 4))
    )
    kernel = params["Dense_0"]["kernel"]
    other = models.NTK.kernel(4)(key, (4, 8))
    assert kernel.shape == other.shape
    np.testing.assert_array_equal(other, jax.random.normal(key, (4, 8)))


def test_ntk_gradients_carry_the_scale(key):
    """f = W2 relu(W1 x / sqrt(n0)) / sqrt(n1), by hand."""
    module = models.mlp((50,), 1, parametrisation=models.NTK)
    x = jax.random.normal(key, (1, 7))
    params = models.init(key, module, x)
    first, second = (params[n]["kernel"] for n in ("Dense_0", "Dense_1"))
    hidden = jax.nn.relu(x[0] @ first / np.sqrt(7))
    output = models.apply_fn(module)(params, x)[0, 0]
    np.testing.assert_allclose(output, hidden @ second[:, 0] / np.sqrt(50), rtol=1e-5)
    gradient = jax.grad(lambda p: models.apply_fn(module)(p, x)[0, 0])(params)
    np.testing.assert_allclose(
        gradient["Dense_1"]["kernel"][:, 0], hidden / np.sqrt(50), rtol=1e-5
    )


def test_outputs_of_both_parametrisations_have_the_same_law_up_to_scale(key):
    """Uniform weights have variance 1/3n: three layers differ by 3^(-3/2)."""
    x = jnp.ones((1, 20))
    keys = jax.random.split(key, 600)

    def spread(parametrisation):
        module = models.mlp((60, 60), 1, parametrisation=parametrisation)
        draw = lambda k: models.apply_fn(module)(models.init(k, module, x), x)[0, 0]
        return float(jax.jit(jax.vmap(draw))(keys).std())

    ratio = spread(models.PYTORCH) / spread(models.NTK)
    # The relative error of a standard deviation of m draws is about 1/sqrt(2m), and
    # heavier tails than the normal's make it some half as much again.
    assert abs(np.log(ratio * 3**1.5)) < 5 * 1.5 * np.sqrt(2 / (2 * 600))


def batch_norm(x, train, weight=None, state=None):
    layer = models.BatchNorm()
    variables = layer.init(jax.random.key(0), x)
    if state is not None:
        variables = {**variables, "batch_stats": state}
    apply = jax.jit(lambda v, x, w: layer.apply(v, x, train, w, mutable="batch_stats"))
    return apply(variables, x, weight)


def test_batch_norm_is_pytorchs(key):
    x = 3 + 2 * jax.random.normal(key, (6, 5, 4, 2))
    out, changed = batch_norm(x, True)
    plain = np.asarray(x, float)
    mean, var = plain.mean((0, 1, 2)), plain.var((0, 1, 2))
    np.testing.assert_allclose(out, (plain - mean) / np.sqrt(var + 1e-5), atol=1e-5)
    stats = changed["batch_stats"]
    np.testing.assert_allclose(stats["mean"], 0.1 * mean, rtol=1e-5)
    unbiased = plain.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * unbiased, rtol=1e-5)
    out, _ = batch_norm(x, False, state=stats)
    expected = (plain - np.asarray(stats["mean"])) / np.sqrt(
        np.asarray(stats["var"]) + 1e-5
    )
    np.testing.assert_allclose(out, expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(8, 3), (8, 4, 4, 3)])
def test_absent_samples_have_exactly_no_influence(key, shape):
    x = jax.random.normal(key, shape)
    mask = jnp.arange(8) < 5
    garbage = jnp.where(mask.reshape(8, *[1] * (len(shape) - 1)), x, 1e30)
    infinite = jnp.where(mask.reshape(8, *[1] * (len(shape) - 1)), x, jnp.inf)
    out, changed = batch_norm(x, True, mask)
    for other in (garbage, infinite):
        again, state = batch_norm(other, True, mask)
        np.testing.assert_array_equal(out[:5], again[:5])
        jax.tree.map(np.testing.assert_array_equal, changed, state)


@pytest.mark.parametrize("shape", [(8, 3), (8, 4, 4, 3)])
def test_a_masked_batch_equals_the_subset(key, shape):
    x = jax.random.normal(key, shape)
    mask = jnp.array([1, 0, 1, 1, 0, 1, 1, 0], bool)
    out, changed = batch_norm(x, True, mask)
    alone, state = batch_norm(x[mask], True)
    np.testing.assert_allclose(out[mask], alone, atol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), changed, state
    )


def test_integer_weights_are_repetitions(key):
    x = jax.random.normal(key, (4, 3))
    counts = jnp.array([2, 0, 1, 3])
    out, _ = batch_norm(x, True, counts)
    repeated, _ = batch_norm(jnp.repeat(x, counts, axis=0), True)
    np.testing.assert_allclose(jnp.repeat(out, counts, axis=0), repeated, atol=1e-5)


def test_an_empty_batch_leaves_the_statistics_alone(key):
    x = jax.random.normal(key, (4, 3))
    out, changed = batch_norm(x, True, jnp.zeros(4, bool))
    assert jnp.isfinite(out).all()
    np.testing.assert_array_equal(changed["batch_stats"]["mean"], 0.0)
    np.testing.assert_array_equal(changed["batch_stats"]["var"], 1.0)


def test_gradients_through_batch_norm_ignore_absent_samples(key):
    module = models.ConvNet((3, models.POOL), 2, norm=True)
    x = jax.random.uniform(key, (6, 4, 4, 1))
    params, state = models.init_with_state(key, module, x)
    mask = jnp.array([True, True, False, True, False, True])

    def loss(params, x):
        out, _ = models.apply_with_state(module)(params, state, x, True, mask)
        return (jnp.where(mask[:, None], out, 0.0) ** 2).sum()

    gradient = jax.jit(jax.grad(loss))(params, x)
    other = jax.jit(jax.grad(loss))(
        params, jnp.where(mask[:, None, None, None], x, 9.0)
    )
    for name, leaf in leaves(gradient).items():
        np.testing.assert_array_equal(leaf, leaves(other)[name], err_msg=name)
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 0
