"""Every network of the zoo, by every engine, against its Jacobian in float64."""

import contextlib
import functools
import importlib.util

import jax
import numpy as np
import pytest
from oracles import kernels as nets

from hostile import zoo
from jaxval.execution.options import Execution
from jaxval.kernels import gradient_engine, layers, readouts, row_blocks, tangent
from jaxval.kernels.neural_tangents import engine as neural_tangents_engine
from jaxval.types import Points

ROWS = 5
ENGINES = {
    "layers": tangent.gram,
    "gradients": gradient_engine.gram,
    "neural-tangents": neural_tangents_engine.gram,
}
READOUTS = {
    "class": readouts.true_class_logit,
    "sum": readouts.sum_of_outputs,
    "trace": readouts.trace(zoo.OUTPUTS),
}
installed = importlib.util.find_spec("neural_tangents") is not None
COUNTED = {"entries": 0, "matrices": 0}


@pytest.fixture(scope="module")
def truths():
    return {}


@pytest.fixture(scope="module", autouse=True)
def counts(request):
    yield
    print(  # noqa: T201
        f"\nzoo: {len(zoo.NETWORKS)} networks, {COUNTED['matrices']} matrices, "
        f"{COUNTED['entries']} entries against the float64 Jacobian"
    )


@contextlib.contextmanager
def hasty():
    """A scope in which XLA optimises little."""
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", False)


def jacobian(truths, name, rows, columns):
    """Of the rows and of other columns, `(rows, outputs, parameters)` each.

    They are differentiated in one program, compiled once per network and size.
    """
    if (name, rows) not in truths:
        net = zoo.NETWORKS[name]
        both = [zoo.inputs(net.inputs, *each) for each in ((rows, 0), (columns, 1))]
        # Compiling costs the most here, and the oracle runs once.
        with jax.enable_x64(True), hasty():
            params = nets.cast(net.params, np.float64)
            double = nets.cast(np.concatenate(both), np.float64)
            together = nets.jacobians(net.fn, params, double)
        truths[name, rows] = together[:rows], together[rows:]
    return truths[name, rows]


def classes(rows):
    return np.arange(rows) % zoo.OUTPUTS


def read(jacobian, readout):
    """The gradients whose products are the kernel, `(rows, size)`."""
    rows = len(jacobian)
    if readout == "class":
        return jacobian[np.arange(rows), classes(rows)]
    if readout == "sum":
        return jacobian.sum(1)
    return jacobian.reshape(rows, -1) / np.sqrt(zoo.OUTPUTS)


def compare(name, engine, truths, rows, columns, readout="class"):
    """The square and the rectangle, and that in blocks if it is long."""
    net = zoo.NETWORKS[name]
    left, right = (read(j, readout) for j in jacobian(truths, name, rows, columns))
    points = Points(zoo.inputs(net.inputs, rows, 0), classes(rows))
    other = Points(zoo.inputs(net.inputs, columns, 1), classes(columns))
    blocks = Execution(batch_size=4)
    gram = functools.partial(
        ENGINES[engine], net.fn, net.params, points, readout=READOUTS[readout]
    )
    close(gram(), left, left, net.tolerance)
    # Once is enough for the self-check, which must stay silent.
    unchecked = {"self_check": False} if engine == "layers" else {}
    close(gram(other, **unchecked), left, right, net.tolerance)
    if rows > 4 * columns:
        close(gram(other, execution=blocks), left, right, net.tolerance)


def close(gram, left, right, tolerance):
    truth = left @ right.T
    scale = np.sqrt(np.outer((left**2).sum(1), (right**2).sum(1)))
    error = np.abs(np.asarray(gram, np.float64) - truth) / scale.max()
    assert error.max() < tolerance
    COUNTED["entries"] += truth.size
    COUNTED["matrices"] += 1


@pytest.mark.parametrize("name", zoo.NETWORKS)
@pytest.mark.parametrize("engine", ["layers", "gradients"])
def test_every_network_by_every_engine(name, engine, truths):
    compare(name, engine, truths, ROWS, ROWS)


FAST = {
    "transformer": {"q", "k", "v", "o", "table", "up", "down", "out"},
    "bfloat16": {"w", "out"},
    "mixed precision": {"w", "out"},
    "vocabulary of 3000": {"table", "out"},
    "depthwise": {"k", "mix", "out"},
}


@pytest.mark.parametrize("name", FAST)
def test_weights_are_seen_as_weights(name):
    """Whatever the precision: none is left to plain differentiation."""
    net = zoo.NETWORKS[name]
    x = zoo.inputs(net.inputs, 2)
    capture = lambda params, x: layers.represent(
        net.fn, params, (readouts.sum_of_outputs,), x, None, store=False
    )
    rows = jax.eval_shape(capture, net.params, x)
    names = gradient_engine.leaf_names(net.params)
    assert {names[w.leaf][2:-2] for w in rows.weights} == FAST[name]


def test_inputs_and_outputs_of_other_shapes_are_refused():
    net = zoo.NETWORKS["plain"]
    x = zoo.inputs("vectors", 3)
    tokens = lambda p, x: net.fn(p, x)[:, None, :] * np.ones((1, 2, 1), np.float32)
    several = lambda p, x: {"logits": net.fn(p, x)}
    unreal = lambda p, x: net.fn(p, x) * 1j
    for gram in (tangent.gram, gradient_engine.gram):
        ask = lambda fn, x, gram=gram: gram(
            fn, net.params, x, readout=readouts.sum_of_outputs
        )
        for fn in (tokens, several):
            with pytest.raises(ValueError, match=r"outputs of shape \(n, outputs\)"):
                ask(fn, x)
        with pytest.raises(ValueError, match="real outputs"):
            ask(unreal, x)
        with pytest.raises(ValueError, match="y must be an array with one target"):
            ask(net.fn, Points(x, np.arange(2)))
    # What the engines ask first, of inputs that a type checker would stop before.
    for inputs in ((x, x), {"x": x}, [[1.0]], np.float32(1)):
        with pytest.raises(ValueError, match="rows must be an array"):
            row_blocks.inputs_and_targets(inputs)


GRID = [(1, "class"), (2, "class"), (31, "class"), (65, "class")]
GRID += [(31, "sum"), (31, "trace")]


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "readout"), GRID)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_the_full_grid(name, engine, rows, readout, truths):
    if engine == "neural-tangents" and not installed:
        pytest.skip("neural-tangents isn't installed")
    compare(name, engine, truths, rows, 7, readout)
