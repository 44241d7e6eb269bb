import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import kernels as nets

from jaxval.execution.options import Execution
from jaxval.execution.parallel import device_mesh
from jaxval.kernels import gradient_engine, layers, readouts, tangent
from jaxval.types import Points

Y = np.arange(nets.ROWS) % nets.CLASSES
READOUTS = {"own": (readouts.true_class_logit,), "trace": readouts.trace(nets.CLASSES)}


FOURS = Execution(batch_size=4)


def points(x, dtype=np.float32):
    return Points(nets.cast(x, dtype), jnp.asarray(Y))


def relative_error(gram, truth):
    return np.abs(np.asarray(gram, np.float64) - truth).max() / np.abs(truth).max()


@pytest.fixture(scope="module")
def truths():
    return {}


def truth_of(truths, name, which):
    """The kernel by its definition."""
    if name not in truths:
        with jax.enable_x64(True):
            fn, params, x = nets.network(name)
            args = nets.cast(params, np.float64), nets.cast(x, np.float64)
            truths[name] = nets.jacobians(fn, *args)
    rows = truths[name]
    if which == "own":
        own = rows[np.arange(nets.ROWS), Y]
        return own @ own.T
    return np.einsum("icp,jcp->ij", rows, rows) / nets.CLASSES


CASES = [(name, "own") for name in nets.NAMES]
CASES += [(name, "trace") for name in ("groups", "words", "recurrent", "nnx")]


@pytest.mark.parametrize(("name", "which"), CASES)
def test_equals_the_float64_jacobian(name, which, truths):
    truth = truth_of(truths, name, which)
    fn, params, x = nets.network(name)
    args = nets.cast(params, np.float32), points(x)
    options = {"readout": READOUTS[which], "self_check": False}
    gram = tangent.gram(fn, *args, **options)
    assert gram.dtype == jnp.float32
    assert relative_error(gram, truth) < 1e-5
    with jax.enable_x64(True):
        args = nets.cast(params, np.float64), points(x, np.float64)
        gram = tangent.gram(fn, *args, **options)
        assert gram.dtype == jnp.float64
        assert relative_error(gram, truth) < 1e-10


@pytest.mark.parametrize("name", ["mlp with bias", "groups", "words"])
def test_blocks_rectangles_and_the_gradient_engine_agree(name, truths):
    truth = truth_of(truths, name, "own")
    fn, params, x = nets.network(name)
    params, x = nets.cast(params, np.float32), np.asarray(nets.cast(x, np.float32))
    rows = Points(x, Y)
    assert relative_error(gradient_engine.gram(fn, params, rows), truth) < 1e-5
    blocks = tangent.gram(fn, params, rows, execution=Execution(batch_size=4))
    assert relative_error(blocks, truth) < 1e-5
    np.testing.assert_array_equal(blocks, blocks.T)
    some, halves = Points(x[1:4], Y[1:4]), Execution(batch_size=2)
    rectangle = tangent.gram(fn, params, rows, some, execution=halves)
    assert relative_error(rectangle, truth[:, 1:4]) < 1e-5


@pytest.mark.parametrize("name", ["recurrent", "average pooling"])
def test_one_device_and_four(name, truths):
    truth = truth_of(truths, name, "own")
    fn, params, x = nets.network(name)
    args = nets.cast(params, np.float32), points(x)
    spread = lambda count: Execution(batch_size=2, mesh=device_mesh(count))
    on = lambda count: tangent.gram(fn, *args, execution=spread(count))
    assert relative_error(on(1), truth) < 1e-5
    np.testing.assert_allclose(on(1), on(4), rtol=1e-5, atol=1e-6 * truth.max())


def test_shared_weights_are_one_weight_with_more_positions():
    fn, params, x = nets.network("recurrent")
    functions = (readouts.true_class_logit,)
    rows = layers.represent(fn, params, functions, *points(x))
    assert sorted(w.sizes.positions for w in rows.weights) == [1, 1]
    # The shared layer's gradient (two positions of 6 by 6) is small, and stored.
    assert rows.features.shape[1] == 6 * 6 + 6 + 6 + 3


def test_what_is_not_a_number_that_has_a_gradient_is_left_alone():
    fn = lambda p, x: jnp.matmul(x, p["w"]) * p["count"]
    params = {"w": jnp.ones((2, 1)), "count": jnp.array(3)}
    gram = tangent.gram(fn, params, jnp.eye(2), readout=readouts.single_output)
    np.testing.assert_allclose(gram, 9 * np.eye(2))


def test_inside_jit():
    fn, params, x = nets.network("max pooling")
    args = nets.cast(params, np.float32), points(x)
    inside = jax.jit(lambda *args: tangent.gram(fn, *args, execution=FOURS))(*args)
    outside = tangent.gram(fn, *args, execution=FOURS)
    np.testing.assert_allclose(inside, outside, rtol=1e-5, atol=1e-6)


def mixing(params, x):
    return jnp.matmul(x - x.mean(0, keepdims=True), params)


def test_a_network_that_mixes_samples_is_refused():
    x, w = jax.random.normal(jax.random.key(0), (5, 3)), jnp.ones((3, 1))
    with pytest.raises(ValueError, match="mixes samples"):
        tangent.gram(mixing, w, x, readout=readouts.single_output)
    inside = jax.jit(
        lambda w: tangent.gram(mixing, w, x, readout=readouts.single_output)
    )
    assert np.isnan(inside(w)).all()


def test_refusals():
    linear = lambda w, x: jnp.matmul(x, w)
    x, w = jnp.ones((4, 3)), jnp.ones((3, 2))
    total = readouts.sum_of_outputs
    with pytest.raises(ValueError, match="class numbers that the network has"):
        tangent.gram(linear, w, Points(x, jnp.array([0, 1, 2, 1])))
    with pytest.raises(ValueError, match="true_class_logit needs y"):
        tangent.gram(linear, w, x)
    with pytest.raises(ValueError, match="one output"):
        tangent.gram(linear, w, x, readout=readouts.single_output)
    with pytest.raises(ValueError, match=r"execution\.memory"):
        tangent.gram(linear, w, x, readout=total, execution=Execution(memory=10))
    with pytest.raises(ValueError, match="outputs"):
        tangent.gram(
            lambda w, x: jnp.matmul(x, w).sum(1), w, x, readout=readouts.sum_of_outputs
        )
    with pytest.raises(ValueError, match="columns"):
        tangent.gram(linear, w, x, jnp.ones((2, 2)), readout=total)
    with pytest.raises(ValueError, match="nothing to differentiate"):
        tangent.gram(lambda w, x: x, {}, x, readout=readouts.sum_of_outputs)


def test_memory_estimate_and_progress():
    fn, params, x = nets.network("max pooling")
    args = nets.cast(params, np.float32), points(x)
    roomy = tangent.memory_estimate(fn, *args)
    assert roomy.block_size == nets.ROWS
    assert roomy.gram == 4 * nets.ROWS**2
    half = Execution(memory=roomy.peak // 2)
    tight = tangent.memory_estimate(fn, *args, execution=half)
    assert tight.block_size < nets.ROWS
    assert tight.peak <= roomy.peak // 2
    calls = []
    watched = dataclasses.replace(half, progress=lambda *c: calls.append(c))
    gram = tangent.gram(fn, *args, execution=watched)
    np.testing.assert_allclose(gram, tangent.gram(fn, *args), rtol=1e-5, atol=1e-6)
    assert calls[-1][0] == calls[-1][1] == len(calls) > 1


def test_rounding_is_measured():
    fn, params, x = nets.network("nnx")
    args = nets.cast(params, np.float32), points(x)
    rounded = tangent.gram_reduced_precision(fn, *args, sample_size=nets.ROWS)
    exact = np.asarray(tangent.gram(fn, *args), np.float64)
    scale = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
    measured = (np.abs(np.asarray(rounded.gram) - exact) / scale).max()
    assert 1e-5 < rounded.error < 3e-2
    assert measured == pytest.approx(rounded.error, rel=1e-3)


def test_compiled_once_a_network():
    fn, params, x = nets.network("mlp")
    args = nets.cast(params, np.float32), points(x)
    traces: list[tuple[int, ...]] = []

    def counted(params, x):
        traces.append(x.shape)
        return fn(params, x)

    tangent.gram(counted, *args)
    # Once for one sample, which the estimate and all blocks share, and once for the
    # pairs of samples of the self-check.
    assert traces == [(1, 5), (2, 5)]
    tangent.gram(counted, *args)
    assert len(traces) == 2
