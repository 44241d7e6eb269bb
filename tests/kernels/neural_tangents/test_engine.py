"""The neural-tangents engine: right numbers, a clean import, clear refusals."""

import importlib.util
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxval.execution.options import Execution
from jaxval.kernels import gradient_engine, readouts
from jaxval.kernels.neural_tangents import _package, engine
from jaxval.kernels.neural_tangents.engine import Implementation
from jaxval.types import Points

installed = importlib.util.find_spec("neural_tangents") is not None
needs_it = pytest.mark.skipif(not installed, reason="neural-tangents isn't installed")

FOURS = Execution(batch_size=4)


def network(params, x):
    hidden = jax.nn.relu(x.reshape(len(x), -1) @ params["in"] + params["bias"][None])
    return hidden @ params["out"]


@pytest.fixture
def problem(key):
    a, b, c = jax.random.split(key, 3)
    params = {
        "in": jax.random.normal(a, (5, 8)),
        "bias": jnp.ones(8),
        "out": jax.random.normal(b, (8, 3)),
        "steps": jnp.array(3),
    }
    return params, Points(jax.random.normal(c, (7, 5)), jnp.arange(7) % 3)


@needs_it
@pytest.mark.parametrize(
    "implementation",
    [Implementation.JACOBIAN_CONTRACTION, Implementation.NTK_VECTOR_PRODUCTS],
)
@pytest.mark.parametrize(
    "readout", [readouts.true_class_logit, readouts.sum_of_outputs, readouts.trace(3)]
)
def test_agrees_with_explicit_gradients(problem, implementation, readout):
    params, rows = problem
    exact = gradient_engine.gram(network, params, rows, readout=readout)
    ask = {"readout": readout, "implementation": implementation}
    found = engine.gram(network, params, rows, execution=FOURS, **ask)
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-4)


@needs_it
def test_rectangular(problem):
    params, rows = problem
    exact = gradient_engine.gram(network, params, rows)
    found = engine.gram(network, params, rows, Points(rows.x[:2], rows.y[:2]))
    np.testing.assert_allclose(found, exact[:, :2], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("implementation", [0, 3, Implementation.AUTO])
def test_what_cannot_run_is_refused(problem, implementation):
    params, rows = problem
    with pytest.raises(ValueError, match="JACOBIAN_CONTRACTION"):
        engine.gram(network, params, rows, implementation=implementation)


def test_missing_extra_is_named(problem, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in [n for n in sys.modules if n.split(".")[0] == "neural_tangents"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match=r"jaxval\[neural-tangents\]"):
        engine.gram(network, *problem)


@needs_it
def test_import_leaves_no_trace():
    """In a fresh process: no TensorFlow, no stubs left, nothing before it is used."""
    program = """
import sys, warnings
warnings.simplefilter("error")
import jax
from jax.interpreters import ad
import jaxval.kernels.neural_tangents
assert "neural_tangents" not in sys.modules
before = set(vars(jax.core)), set(vars(ad))
from jaxval.kernels.neural_tangents import _package
nt = _package.load()
assert (set(vars(jax.core)), set(vars(ad))) == before
assert "jax.util" not in sys.modules
assert "neural_tangents.experimental" not in sys.modules
assert not hasattr(nt, "experimental")
assert not any(n.split(".")[0] in ("tensorflow", "tf2jax") for n in sys.modules)
assert _package.load() is nt
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@needs_it
def test_a_failed_import_says_so_and_leaves_nothing(monkeypatch):
    names = [n for n in sys.modules if n.split(".")[0] == "neural_tangents"]
    for name in names:
        monkeypatch.delitem(sys.modules, name)

    def broken(name):
        raise AttributeError("module 'jax.core' has no attribute 'gone'")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(ImportError, match="gone"):
        _package.load()
    assert "neural_tangents" not in sys.modules
