"""A training run: its coalition, its epochs, its minibatches, its stop."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxval import models
from jaxval.execution.precision import double
from jaxval.training import (
    Recipe,
    cross_entropy,
    from_module,
    on_cpu,
    predict,
    run_bytes,
    squared_error,
    stateless,
    train,
    until_settled,
)
from jaxval.training.run import epoch_order


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(23, 8, 8, 1)), jnp.float32)
    return x, jnp.asarray(rng.integers(0, 10, 23), jnp.int32)


OPTIMIZERS = {
    "sgd": optax.sgd(0.05),
    "momentum": optax.sgd(0.02, momentum=0.9),
    "adam": optax.adam(1e-3),
}


def run(key, network, x, y, present, recipe):
    variables = network.init(jax.random.key(1))
    return jax.jit(
        lambda x, y, present: train(key, network, variables, x, y, present, recipe)
    )(x, y, present)


def assert_close(a, b, atol=1e-5):
    for left, right in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(left, right, atol=atol, rtol=1e-5)


DENSE, NORMED = models.mlp((16,), 10), models.mlp((16,), 10, norm=True)
CASES = [
    (DENSE, None, "momentum"),
    (DENSE, 5, "sgd"),
    (NORMED, None, "sgd"),
    (NORMED, 5, "momentum"),
    (models.cnn(norm=True, width=0.25), 5, "sgd"),
]


@pytest.mark.parametrize(("module", "batch_size", "optimizer"), CASES)
def test_mask_equals_subset(key, images, module, batch_size, optimizer):
    x, y = images
    network = on_cpu(from_module(module, x))
    recipe = Recipe(optimizer=OPTIMIZERS[optimizer], batch_size=batch_size, epochs=3)
    present = jnp.asarray(np.random.default_rng(2).random(len(y)) < 0.6)
    whole = run(key, network, x, y, present, recipe)
    ones = jnp.ones(int(present.sum()), bool)
    part = run(key, network, x[present], y[present], ones, recipe)
    assert_close(whole, part)


def test_adam_on_few_steps_equals_the_subset(key, images):
    # Adam divides by the size of the gradient, so it blows rounding up: few steps.
    x, y = images
    network = from_module(DENSE, x)
    recipe = Recipe(optimizer=OPTIMIZERS["adam"], batch_size=8, epochs=1)
    present = jnp.arange(len(y)) % 2 == 0
    whole = run(key, network, x, y, present, recipe)
    ones = jnp.ones(int(present.sum()), bool)
    assert_close(whole, run(key, network, x[present], y[present], ones, recipe))


@pytest.mark.parametrize("batch_size", [None, 5])
def test_absent_rows_have_no_influence_at_all(key, images, batch_size):
    x, y = images
    network = from_module(DENSE, x)
    recipe = Recipe(batch_size=batch_size, epochs=3)
    present = jnp.arange(len(y)) < 11
    rest = jnp.full_like(x[11:], jnp.nan)
    clean = run(key, network, x, y, present, recipe)
    dirty = run(key, network, x.at[11:].set(rest), y, present, recipe)
    jax.tree.map(np.testing.assert_array_equal, clean, dirty)


def test_vmapped_equals_one_by_one(key, images):
    x, y = images
    network = from_module(NORMED, x)
    recipe = until_settled(1e-2, epochs=12, min_epochs=2, batch_size=6)
    coalitions = jnp.asarray(np.random.default_rng(3).random((3, len(y))) < 0.5)
    variables = network.init(key)
    one = lambda mask: train(key, network, variables, x, y, mask, recipe)
    together = jax.jit(jax.vmap(one))(coalitions)
    for i, mask in enumerate(coalitions):
        alone = jax.jit(one)(mask)
        assert_close(jax.tree.map(lambda leaf, i=i: leaf[i], together), alone)


def test_one_key_gives_one_result_to_the_bit(key, images):
    x, y = images
    network = from_module(NORMED, x)
    grand = jnp.ones(len(y), bool)
    outs = [run(key, network, x, y, grand, Recipe(epochs=2)) for _ in range(2)]
    jax.tree.map(np.testing.assert_array_equal, *outs)


def scalar_network():
    return stateless(lambda key: jnp.zeros((1, 1)), lambda p, x: x @ p)


def test_a_smaller_coalition_takes_fewer_steps(key):
    # A schedule sees its own step number: the weight then holds the steps taken.
    steps = optax.chain(
        optax.scale(0.0),
        optax.stateless(lambda grads, _: jax.tree.map(lambda g: g * 0 + 1.0, grads)),
    )
    recipe = Recipe(optimizer=steps, loss=squared_error, batch_size=4, epochs=3)
    x, y = jnp.ones((10, 1)), jnp.zeros(10)
    for size, expected in ((10, 9.0), (8, 6.0), (3, 3.0), (0, 0.0)):
        out = run(key, scalar_network(), x, y, jnp.arange(10) < size, recipe)
        assert float(out.variables.params[0, 0]) == expected


def test_an_epoch_uses_each_present_row_once(key):
    rows = jnp.argsort(~jnp.array([True, False, True, True, False]), stable=True)
    order = epoch_order(key, rows, jnp.asarray(3))
    assert sorted(order[:3].tolist()) == [0, 2, 3]
    longer = jnp.concatenate([rows, jnp.arange(5, 9)])
    assert epoch_order(key, longer, jnp.asarray(3))[:3].tolist() == order[:3].tolist()


def test_orders_are_uniform():
    keys = jax.random.split(jax.random.key(0), 6000)
    orders = jax.vmap(lambda k: epoch_order(k, jnp.arange(4), jnp.asarray(3)))(keys)
    code = np.asarray(orders[:, 0] * 3 + orders[:, 1])
    counts = np.unique(code, return_counts=True)[1]
    assert counts.shape == (6,)
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(1000 * 5 / 6)


def test_stops_when_the_loss_settles_but_not_when_it_stands_still(key):
    x, y = jnp.ones((6, 1)), jnp.ones(6)
    recipe = Recipe(
        optimizer=optax.sgd(0.1), loss=squared_error, batch_size=None, epochs=500,
        min_epochs=4, stop_below=1e-4,
    )  # fmt: skip
    grand = jnp.ones(6, bool)
    # The error shrinks by 0.8 a step, its square by 0.64: |change| = 0.36 * 0.64^k.
    out = run(key, scalar_network(), x, y, grand, recipe)
    expected = next(k for k in range(500) if 0.36 * 0.64**k < 1e-4) + 2
    assert int(out.epochs) == expected
    # Targets 0 are met from the first step on: no change at all, so it never stops.
    assert int(run(key, scalar_network(), x, 0 * y, grand, recipe).epochs) == 500


def test_the_empty_coalition_learns_nothing(key, images):
    x, y = images
    network = from_module(NORMED, x)
    out = run(key, network, x, y, jnp.zeros(len(y), bool), Recipe(epochs=2))
    start = network.init(jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, out.variables, start)
    assert int(out.epochs) == 0


def test_learns(key, images):
    x, y = images
    network = from_module(models.mlp((32,), 10), x)
    recipe = Recipe(optimizer=optax.adam(1e-2), epochs=60, batch_size=8)
    out = run(key, network, x, y, jnp.ones(len(y), bool), recipe)
    assert float(out.loss) < 0.1
    outputs = predict(network, out.variables, x, block_size=7)
    np.testing.assert_allclose(outputs, network.apply(out.variables, x), atol=1e-5)
    assert float(cross_entropy(outputs, y).mean()) < 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"epochs": 3, "min_epochs": 5}, "epochs must be at least min_epochs"),
        ({"stop_below": -1.0}, "stop_below must be a non-negative"),
    ],
)
def test_bad_recipes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**arguments)


def test_memory_is_bounded_from_above(key, images):
    x, y = images
    network = on_cpu(from_module(models.cnn(), x))
    recipe = Recipe(batch_size=16)
    bound = run_bytes(network, recipe, x, y, eval_rows=16)
    variables = network.init(key)
    one = lambda mask: train(key, network, variables, x, y, mask, recipe)
    masks = jnp.ones((4, len(y)), bool)
    program = jax.jit(jax.vmap(one)).lower(masks).compile()
    assert program.memory_analysis().temp_size_in_bytes < 4 * bound


def test_double_precision_draws_the_same_order(key):
    """Drivers run in it; with 64 random bits absent rows would come before present."""
    rows, size = jnp.arange(9), jnp.asarray(4)
    expected = epoch_order(key, rows, size)
    with double():
        found = epoch_order(key, rows, size)
    np.testing.assert_array_equal(found, expected)
    assert found[4:].tolist() == [4, 5, 6, 7, 8]


def test_equal_functions_are_equal_networks():
    init, apply_fn = (lambda key: jnp.zeros((1, 1))), (lambda p, x: x @ p)
    assert stateless(init, apply_fn) == stateless(init, apply_fn)
    assert hash(stateless(init, apply_fn)) == hash(stateless(init, apply_fn))
    assert stateless(init, apply_fn) != stateless(init, lambda p, x: x @ p)


def nnx_linear(rngs):
    return nnx.Linear(3, 2, rngs=rngs)


def draw_weights(key, x):
    return jax.random.normal(key, (x.shape[1], 2)) * 0.1


KINDS = {
    "linen": models.mlp([4], 2),
    "nnx": nnx_linear,
    "functions": (draw_weights, lambda w, x: x @ w),
    "record": models.as_network(models.mlp([4], 2)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_network_is_trained(key, kind):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int32)
    network = from_module(KINDS[kind], x)
    assert from_module(KINDS[kind], x) == network
    start = network.init(key)
    recipe = Recipe(epochs=30, batch_size=None, optimizer=optax.adam(0.05))
    present = jnp.ones(40, bool)
    out = jax.jit(train, static_argnums=(1, 6))(
        key, network, start, jnp.asarray(x), jnp.asarray(y), present, recipe
    )
    outputs = np.asarray(network.apply(out.variables, jnp.asarray(x)))
    assert (outputs.argmax(1) == y).mean() > 0.9
