"""Random projections: unbiased, linear, in batches, and every coalition from sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxval.coalitions import masks
from jaxval.execution.options import Execution
from jaxval.kernels import gradient_engine, readouts
from jaxval.kernels.approximations import projection
from jaxval.kernels.approximations.error import deviation
from jaxval.types import Points

SKETCHES = [projection.folded, projection.rademacher]
OWNER = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2])


def network(params, x):
    return jnp.tanh(x @ params["in"]) @ params["out"]


@pytest.fixture
def problem(key):
    a, b, c = jax.random.split(key, 3)
    params = {
        "in": jax.random.normal(a, (6, 20)),
        "out": jax.random.normal(b, (20, 3)),
    }
    return params, jax.random.normal(c, (12, 6)), jnp.asarray(OWNER)


@pytest.mark.parametrize("sketch", SKETCHES)
def test_inner_products_are_unbiased_with_the_stated_error(key, sketch):
    rows = jax.random.normal(key, (3, 200))
    exact = np.asarray(rows @ rows.T)
    draw = jax.jit(lambda key: sketch(key, rows, 32))
    grams = np.stack(
        [(z := np.asarray(draw(jax.random.key(s)))) @ z.T for s in range(200)]
    )
    stderr = grams.std(0, ddof=1) / np.sqrt(len(grams))
    assert (np.abs(grams.mean(0) - exact) < 5 * stderr).all()
    norms = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
    assert (grams.std(0, ddof=1) < 1.3 * norms * np.sqrt(2 / 32)).all()


@pytest.mark.parametrize("sketch", SKETCHES)
def test_one_key_is_one_linear_map(key, sketch):
    rows = jax.random.normal(key, (4, 50))
    both = sketch(key, rows[:1] + 2 * rows[1:2], 16)
    apart = sketch(key, rows, 16)
    np.testing.assert_allclose(both[0], apart[0] + 2 * apart[1], rtol=1e-4, atol=1e-5)


def test_folding_is_exact_where_nothing_collides(key):
    rows = jax.random.normal(key, (4, 10))
    z = projection.folded(key, rows, 16)
    np.testing.assert_allclose(z @ z.T, rows @ rows.T, rtol=1e-5, atol=1e-5)


def test_chunks_of_signs_cover_every_coordinate(key, monkeypatch):
    monkeypatch.setattr(projection, "_CHUNK", 7 * 64)
    rows = jnp.eye(20)
    z = projection.rademacher(key, rows, 64)
    np.testing.assert_allclose(jnp.sum(z**2, axis=1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("sketch", SKETCHES)
@pytest.mark.parametrize("readout", [readouts.true_class_logit, readouts.trace(3)])
def test_features_tend_to_the_tangent_kernel(key, problem, sketch, readout):
    params, x, y = problem
    exact = gradient_engine.gram(network, params, Points(x, y), readout=readout)
    ask = {"readout": readout, "sketch": sketch}
    errors = [
        deviation(
            projection.gram(
                projection.features(
                    key, network, params, Points(x, y), num_features=k, **ask
                )
            ),
            exact,
            np.ones(12),
            1.0,
        ).frobenius
        for k in (32, 4096)
    ]
    assert errors[1] < 0.1 < errors[0]


def test_batches_and_later_samples_share_the_map(key, problem):
    params, x, y = problem
    features = lambda x, y, **kw: projection.features(
        key, network, params, Points(x, y), num_features=8, **kw
    )
    whole = features(x, y)
    seen = []
    tell = lambda done, total: seen.append((done, total))
    blocked = features(x, y, execution=Execution(batch_size=5, progress=tell))
    np.testing.assert_allclose(blocked, whole, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(features(x[7:], y[7:]), whole[7:], rtol=1e-4, atol=1e-5)
    assert seen[-1] == (12, 12)


def test_every_coalition_from_additive_statistics(key, problem):
    params, x, y = problem
    z = projection.features(key, network, params, Points(x, y), num_features=5)
    residual = np.random.default_rng(0).normal(size=12)
    stats = projection.additive_statistics(z, residual, OWNER)
    theta = projection.gram(z)
    for mask in np.asarray(masks.powerset(3)):
        kept = mask[OWNER]
        h = theta[np.ix_(kept, kept)] + 0.3 * np.eye(kept.sum())
        expected = residual[kept] @ np.linalg.solve(h, residual[kept])
        found = projection.quadratic_form(stats, 0.3, jnp.asarray(mask))
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_bad_requests_are_refused(key, problem):
    params, x, y = problem
    with pytest.raises(ValueError, match="num_features"):
        projection.features(key, network, params, Points(x, y), num_features=0)
    empty = Points(x[:0], y[:0])
    with pytest.raises(ValueError, match="empty"):
        projection.features(key, network, params, empty, num_features=2)
    stats = projection.additive_statistics(np.eye(2), np.ones(2), np.array([0, 1]))
    with pytest.raises(ValueError, match="zeta"):
        projection.quadratic_form(stats, 0.0)
