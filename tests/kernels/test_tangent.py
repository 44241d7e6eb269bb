import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import kernels as nets

from jaxval.execution.parallel import device_mesh
from jaxval.kernels import gradient_engine, readouts, tangent
from jaxval.kernels.layers import capture as layer_capture

Y = np.arange(nets.ROWS) % nets.CLASSES
READOUTS = {"own": (readouts.own_logit,), "trace": readouts.trace(nets.CLASSES)}


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
    args = nets.cast(params, np.float32), nets.cast(x, np.float32), jnp.asarray(Y)
    options = {"readout": READOUTS[which], "self_check": False}
    gram = tangent.gram(fn, *args, **options)
    assert gram.dtype == jnp.float32
    assert relative_error(gram, truth) < 1e-5
    with jax.enable_x64(True):
        args = nets.cast(params, np.float64), nets.cast(x, np.float64), jnp.asarray(Y)
        gram = tangent.gram(fn, *args, **options)
        assert gram.dtype == jnp.float64
        assert relative_error(gram, truth) < 1e-10


@pytest.mark.parametrize("name", ["mlp with bias", "groups", "words"])
def test_blocks_rectangles_and_the_gradient_engine_agree(name, truths):
    truth = truth_of(truths, name, "own")
    fn, params, x = nets.network(name)
    params, x = nets.cast(params, np.float32), np.asarray(nets.cast(x, np.float32))
    assert relative_error(gradient_engine.gram(fn, params, x, Y), truth) < 1e-5
    blocks = tangent.gram(fn, params, x, Y, block_size=4)
    assert relative_error(blocks, truth) < 1e-5
    np.testing.assert_array_equal(blocks, blocks.T)
    rectangle = tangent.gram(fn, params, x, Y, x[1:4], Y[1:4], block_size=2)
    assert relative_error(rectangle, truth[:, 1:4]) < 1e-5


@pytest.mark.parametrize("name", ["recurrent", "average pooling"])
def test_one_device_and_four(name, truths):
    truth = truth_of(truths, name, "own")
    fn, params, x = nets.network(name)
    args = nets.cast(params, np.float32), nets.cast(x, np.float32), jnp.asarray(Y)
    on = lambda count: tangent.gram(fn, *args, block_size=5, mesh=device_mesh(count))
    assert relative_error(on(1), truth) < 1e-5
    np.testing.assert_allclose(on(1), on(4), rtol=1e-5, atol=1e-6 * truth.max())


def test_shared_weights_are_one_weight_with_more_positions():
    fn, params, x = nets.network("recurrent")
    functions = (readouts.own_logit,)
    rows = layer_capture.represent(
        fn, params, functions, nets.cast(x, np.float32), jnp.asarray(Y)
    )
    assert sorted(w.sizes.positions for w in rows.weights) == [1, 1]
    # The shared layer's gradient (two positions of 6 by 6) is small, and stored.
    assert rows.features.shape[1] == 6 * 6 + 6 + 6 + 3


def test_what_is_not_a_number_that_has_a_gradient_is_left_alone():
    fn = lambda p, x: jnp.matmul(x, p["w"]) * p["count"]
    params = {"w": jnp.ones((2, 1)), "count": jnp.array(3)}
    gram = tangent.gram(fn, params, jnp.eye(2), readout=readouts.only)
    np.testing.assert_allclose(gram, 9 * np.eye(2))


def test_inside_jit():
    fn, params, x = nets.network("max pooling")
    args = nets.cast(params, np.float32), nets.cast(x, np.float32), jnp.asarray(Y)
    inside = jax.jit(lambda *args: tangent.gram(fn, *args, block_size=4))(*args)
    outside = tangent.gram(fn, *args, block_size=4)
    np.testing.assert_allclose(inside, outside, rtol=1e-5, atol=1e-6)


def mixing(params, x):
    return jnp.matmul(x - x.mean(0, keepdims=True), params)


def test_a_network_that_mixes_samples_is_refused():
    x, w = jax.random.normal(jax.random.key(0), (5, 3)), jnp.ones((3, 1))
    with pytest.raises(ValueError, match="mixes samples"):
        tangent.gram(mixing, w, x, readout=readouts.only)
    inside = jax.jit(lambda w: tangent.gram(mixing, w, x, readout=readouts.only))
    assert np.isnan(inside(w)).all()


def test_refusals():
    linear = lambda w, x: jnp.matmul(x, w)
    x, w = jnp.ones((4, 3)), jnp.ones((3, 2))
    with pytest.raises(ValueError, match="class numbers that the network has"):
        tangent.gram(linear, w, x, jnp.array([0, 1, 2, 1]))
    with pytest.raises(ValueError, match="own_logit needs y"):
        tangent.gram(linear, w, x)
    with pytest.raises(ValueError, match="one output"):
        tangent.gram(linear, w, x, readout=readouts.only)
    with pytest.raises(ValueError, match="memory_limit"):
        tangent.gram(linear, w, x, readout=readouts.total, memory_limit=10)
    with pytest.raises(ValueError, match="outputs"):
        tangent.gram(lambda w, x: jnp.matmul(x, w).sum(1), w, x, readout=readouts.total)
    with pytest.raises(ValueError, match="x_other"):
        tangent.gram(linear, w, x, None, jnp.ones((2, 2)), readout=readouts.total)
    with pytest.raises(ValueError, match="nothing to differentiate"):
        tangent.gram(lambda w, x: x, {}, x, readout=readouts.total)


def test_memory_estimate_and_progress():
    fn, params, x = nets.network("max pooling")
    args = nets.cast(params, np.float32), nets.cast(x, np.float32), jnp.asarray(Y)
    roomy = tangent.memory_estimate(fn, *args)
    assert roomy.block_size == nets.ROWS
    assert roomy.gram == 4 * nets.ROWS**2
    tight = tangent.memory_estimate(fn, *args, memory_limit=roomy.peak // 2)
    assert tight.block_size < nets.ROWS
    assert tight.peak <= roomy.peak // 2
    calls = []
    limit = roomy.peak // 2
    gram = tangent.gram(
        fn, *args, memory_limit=limit, progress=lambda *c: calls.append(c)
    )
    np.testing.assert_allclose(gram, tangent.gram(fn, *args), rtol=1e-5, atol=1e-6)
    assert calls[-1][0] == calls[-1][1] == len(calls) > 1


def test_rounding_is_measured():
    fn, params, x = nets.network("nnx")
    args = nets.cast(params, np.float32), nets.cast(x, np.float32), jnp.asarray(Y)
    rounded = tangent.rounded_gram(fn, *args, sample_size=nets.ROWS)
    exact = np.asarray(tangent.gram(fn, *args), np.float64)
    scale = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
    measured = (np.abs(np.asarray(rounded.gram) - exact) / scale).max()
    assert 1e-5 < rounded.error < 3e-2
    assert measured == pytest.approx(rounded.error, rel=1e-3)


def test_compiled_once_a_network():
    fn, params, x = nets.network("mlp")
    args = nets.cast(params, np.float32), nets.cast(x, np.float32), jnp.asarray(Y)
    traces = []

    def counted(params, x):
        traces.append(x.shape)
        return fn(params, x)

    tangent.gram(counted, *args)
    first = len(traces)
    tangent.gram(counted, *args)
    assert len(traces) == first
