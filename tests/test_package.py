"""Importing the package is cheap and has no side effects."""

import subprocess
import sys

PROBE = """
import sys, time
start = time.perf_counter()
import jaxval
seconds = time.perf_counter() - start
heavy = {"jax", "numpy", "sklearn", "tyro", "rich", "flax", "tensorflow", "optax"}
print(seconds, sorted(heavy & set(sys.modules)))
jaxval.value
from jax._src import xla_bridge
import jax
print(len(xla_bridge._backends), jax.config.jax_enable_x64)
"""


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()


def test_import_is_fast_and_touches_nothing():
    seconds, loaded, backends, x64 = run(PROBE)
    assert float(seconds) < 0.2
    assert loaded == "[]"
    assert backends == "0"
    assert x64 == "False"


def test_the_advertised_names():
    code = "import jaxval; print(*jaxval.__all__)"
    rooms = [
        "attribution",
        "datasets",
        "distributional",
        "ecoval",
        "evaluation",
        "games",
        "kernels",
        "models",
        "semivalues",
        "training",
        "valuation",
    ]
    names = ["Dataset", "Game", "Points", "ValueEstimate", "combine", "value"]
    assert sorted(run(code)) == sorted([*rooms, *names])


def test_the_program_lists_its_commands_without_loading_them():
    code = """
import sys
from jaxval import __main__
assert __main__.main([]) == 0
print("heavy" if "jax" in sys.modules else "light")
"""
    out = run(code)
    assert {"value", "quickstart", "jaxval"} < set(out)
    assert out[-1] == "light"


def test_every_public_name_is_there():
    code = """
import jaxval
for name in jaxval.__all__:
    getattr(jaxval, name)
print("all", len(jaxval.__all__))
"""
    assert run(code)[0] == "all"


def test_every_module_imports_without_a_device():
    code = """
import importlib, pkgutil, jaxval
from jax._src import xla_bridge
for module in pkgutil.walk_packages(jaxval.__path__, "jaxval."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
        assert not xla_bridge._backends, module.name
print("none")
"""
    assert run(code) == ["none"]


def test_unknown_name_is_an_attribute_error():
    code = """
import jaxval
try:
    jaxval.nothing
except AttributeError as error:
    print(error)
"""
    assert "nothing" in " ".join(run(code))
