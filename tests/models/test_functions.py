import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxval import models


class Plain(nn.Module):
    """Somebody else's network: neither `train` nor `weight`."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(x)


class Leaky(nn.Module):
    """Somebody else's batch norm, which knows no weights."""

    @nn.compact
    def __call__(self, x, train=False):
        return nn.BatchNorm(use_running_average=not train)(nn.Dense(2)(x))


def test_equal_modules_are_compiled_once(key):
    x = jnp.ones((2, 8, 8, 1))
    traces = []

    def run(apply_fn, params):
        traces.append(1)
        return apply_fn(params, x)

    compiled = jax.jit(run, static_argnums=0)
    params = models.init(key, models.cnn(width=0.1), x)
    for _ in range(2):
        compiled(models.apply_fn(models.cnn(width=0.1)), params)
    assert len(traces) == 1


def test_only_shape_and_dtype_of_the_example_matter(key):
    module = models.cnn(width=0.1)
    ones = models.init(key, module, np.ones((7, 8, 8, 1), np.float32))
    spec = models.init(key, module, jax.ShapeDtypeStruct((2, 8, 8, 1), jnp.float32))
    jax.tree.map(np.testing.assert_array_equal, ones, spec)


def test_keys_are_mapped_over(key):
    module, x = models.cnn(width=0.1), jnp.ones((2, 8, 8, 1))
    keys = jax.random.split(key, 3)
    many = jax.vmap(lambda k: models.init(k, module, x))(keys)
    one = models.init(keys[1], module, x)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[1], b), many, one)


def test_batch_norm_needs_state(key):
    module, x = models.mlp((5,), 2, norm=True), jnp.ones((2, 3))
    with pytest.raises(ValueError, match="init_with_state"):
        models.init(key, module, x)
    params, state = models.init_with_state(key, module, x)
    with pytest.raises(ValueError, match="norm=False for a tangent kernel"):
        models.apply_fn(module)(params, x)
    outputs, new = models.apply_with_state(module)(params, state, x, True)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    same, old = models.apply_with_state(module)(params, new, x)
    assert outputs.shape == same.shape
    assert old is new


def test_state_changes_in_training_alone(key):
    module, x = models.mlp((5,), 2, norm=True), jax.random.uniform(key, (4, 3))
    params, state = models.init_with_state(key, module, x)
    apply = jax.jit(models.apply_with_state(module), static_argnums=3)
    _, new = apply(params, state, x, True)
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), state, new)
    assert all(step > 0 for step in jax.tree.leaves(moved))


def test_networks_without_state_pass_through(key):
    for module in (Plain(), models.mlp((3,), 2)):
        x = jnp.ones((4, 5))
        params, state = models.init_with_state(key, module, x)
        assert state == {}
        outputs, new = models.apply_with_state(module)(
            params, state, x, True, jnp.ones(4)
        )
        assert new == {}
        np.testing.assert_array_equal(outputs, models.apply_fn(module)(params, x))


def test_a_norm_that_ignores_weights_is_refused(key):
    x = jnp.ones((4, 5))
    params, state = models.init_with_state(key, Leaky(), x)
    apply = models.apply_with_state(Leaky())
    assert apply(params, state, x, True)[0].shape == (4, 2)
    with pytest.raises(ValueError, match="Leaky has state but takes no `weight`"):
        apply(params, state, x, True, jnp.ones(4))


@pytest.mark.parametrize(
    ("module", "features"),
    [
        (models.mlp((5, 3), 2), 3),
        (models.cnn(width=0.25), 4 * 8),
        (models.cnn8(width=0.1), 1),
        (models.ResNet((1, 1), (2, 3)), 3),
    ],
)
def test_the_head_reads_the_features(key, module, features):
    x = jax.random.uniform(key, (3, 8, 8, 1))
    params = models.init(key, module, x)
    hidden = models.apply_fn(models.headless(module))(params, x)
    assert hidden.shape == (3, features)
    head = params[sorted(name for name in params if "Dense" in name)[-1]]["kernel"]
    np.testing.assert_allclose(
        hidden @ head, models.apply_fn(module)(params, x), rtol=1e-5, atol=1e-7
    )


def test_headless_wants_one_of_ours():
    with pytest.raises(ValueError, match="num_outputs to leave out; got Plain"):
        models.headless(Plain())


def test_double_precision_flows_through(key):
    module, x = models.mlp((5,), 2, norm=True), jnp.ones((2, 3))
    params, state = models.init_with_state(key, module, x)
    with jax.enable_x64(True):
        double = lambda tree: jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), tree)
        apply = jax.jit(models.apply_with_state(module), static_argnums=3)
        outputs, new = apply(double(params), double(state), double(x), True)
        assert outputs.dtype == jnp.float64
        assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(new))
