"""Losses and metrics: one shape, one accuracy, the precision of the outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxval.execution.precision import double
from jaxval.training import losses

RNG = np.random.default_rng(0)
OUTPUTS, LABELS = RNG.normal(size=(1000, 4)), RNG.integers(0, 4, 1000)
ONE_HOT = np.eye(4)[LABELS]


def slow_accuracy(outputs, labels):
    best = outputs == outputs.max(axis=1, keepdims=True)
    return best[np.arange(len(labels)), labels] / best.sum(axis=1)


def slow_cross_entropy(outputs, labels):
    probs = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    return -np.log(probs[np.arange(len(labels)), labels])


def slow_margin(outputs, labels):
    rest = [
        np.delete(row, label).max() for row, label in zip(outputs, labels, strict=True)
    ]
    return outputs[np.arange(len(labels)), labels] - rest


OF_CLASSES = {
    losses.accuracy: slow_accuracy,
    losses.cross_entropy: slow_cross_entropy,
    losses.margin: slow_margin,
}


@pytest.mark.parametrize("metric", OF_CLASSES, ids=lambda fn: fn.__name__)
@pytest.mark.parametrize("targets", [LABELS, ONE_HOT], ids=["numbers", "one-hot"])
def test_metrics_of_classes_are_their_definitions_row_by_row(metric, targets):
    with double():
        found = jax.jit(metric)(jnp.asarray(OUTPUTS), jnp.asarray(targets))
    assert found.shape == (1000,)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, OF_CLASSES[metric](OUTPUTS, LABELS), rtol=1e-12)
    weights = RNG.dirichlet(np.ones(1000))
    with double():
        mean = losses.mean_metric(metric, jnp.asarray(OUTPUTS), targets, weights)
    np.testing.assert_allclose(mean, np.asarray(found) @ weights, rtol=1e-12)


def test_accuracy_shares_ties():
    outputs = jnp.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [2.0, 2.0, 2.0]])
    found = losses.accuracy(outputs, jnp.array([0, 2, 1]))
    np.testing.assert_allclose(found, [0.5, 0.0, 1 / 3], rtol=1e-6)
    assert np.isnan(losses.accuracy(outputs * jnp.nan, jnp.array([0, 2, 1]))).all()


def test_accuracy_survives_outputs_that_are_computed_twice():
    """Fused into what makes the outputs, a maximum may be rounded unlike its entry."""
    rng = np.random.default_rng(0)
    base, a = rng.normal(size=(50, 3)), rng.normal(size=(4, 50))
    b = rng.normal(size=(4, 3))
    labels = rng.integers(0, 3, 50)

    @jax.jit
    def fused(base, a, b):
        one = lambda a, b: losses.accuracy(base + a[:, None] * b[None, :], labels)
        return jax.vmap(one)(a, b)

    with double():
        found = fused(*map(jnp.asarray, (base, a, b)))
    outputs = base + a[:, :, None] * b[:, None, :]
    np.testing.assert_array_equal(found, outputs.argmax(-1) == labels)


@pytest.mark.parametrize("hits", [842, 1, 999])
def test_accuracy_is_as_precise_as_the_outputs(hits):
    labels = (np.arange(1000) >= hits).astype(int)
    with double():
        outputs = jnp.asarray(np.tile([1.0, 0.0], (1000, 1)))
        found = jax.jit(losses.mean_metric, static_argnums=0)(
            losses.accuracy, outputs, jnp.asarray(labels)
        )
    assert float(found) == hits / 1000


def test_squared_errors_of_numbers_and_vectors():
    outputs = jnp.asarray(OUTPUTS, jnp.float32)
    np.testing.assert_allclose(
        losses.squared_error(outputs, outputs + 2.0), np.full(1000, 4.0), rtol=1e-5
    )
    found = losses.negative(losses.squared_error)(outputs[:, :1], outputs[:, 0] + 1)
    np.testing.assert_allclose(found, np.full(1000, -1.0), rtol=1e-5)


@pytest.mark.parametrize(
    ("metric", "targets"),
    [
        (losses.accuracy, LABELS[:, None]),
        (losses.accuracy, LABELS * 1.0),
        (losses.margin, ONE_HOT[:, :3]),
        (losses.squared_error, LABELS * 1.0),
        (losses.negative(losses.squared_error), ONE_HOT[:, :3]),
        (lambda outputs, targets: outputs.mean(), LABELS),
    ],
)
def test_other_shapes_are_refused(metric, targets):
    with pytest.raises(ValueError, match="targets must|one score for each"):
        losses.mean_metric(metric, jnp.asarray(OUTPUTS), jnp.asarray(targets))
