"""Every public factory, once under each of JAX's own flags."""

import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from hostile import everything
from jaxval.execution.precision import double, in_double

TESTS = pathlib.Path(__file__).parents[1]
STRICT = "jax_numpy_dtype_promotion=strict"
FLAGS = [
    "jax_debug_nans", STRICT, "jax_debug_infs", "jax_enable_x64",
    "jax_check_tracer_leaks",
    pytest.param(
        "jax_debug_key_reuse",
        marks=pytest.mark.xfail(reason="retraining maps over keys that it used before"),
    ),
]  # fmt: skip


def run_under(flag, *part):
    """The factories in a process of their own, since flags are global."""
    path = [str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", "hostile.everything", flag, *part],
        capture_output=True,
        text=True,
        env=os.environ
        | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(filter(None, path))},
    )
    print(f"{flag}: {done.stdout.strip()}")  # noqa: T201
    assert done.returncode == 0, done.stderr[-6000:]


@pytest.mark.parametrize("flag", ["jax_debug_nans", STRICT])
def test_the_factories_run_under_the_flag(flag):
    run_under(flag, "light")


@pytest.mark.slow
@pytest.mark.parametrize("flag", FLAGS)
def test_every_factory_runs_under_the_flag(flag):
    run_under(flag)


def test_what_is_left_out_has_a_name():
    assert set(everything.CASES) >= everything.DEAR


def test_counts_and_floats_add_up_under_strict_promotion():
    add = lambda: jnp.arange(2) * jnp.ones(2, jnp.float32)
    with jax.numpy_dtype_promotion("strict"):
        with pytest.raises(Exception, match="promotion path"):
            add()
        with double():
            assert add().tolist() == [0.0, 1.0]
        assert in_double(add)().tolist() == [0.0, 1.0]
        assert jax.config.jax_numpy_dtype_promotion == "strict"
