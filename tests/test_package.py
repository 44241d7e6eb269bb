"""Importing the package is cheap and has no side effects."""

import subprocess
import sys

PROBE = """
import sys, time
start = time.perf_counter()
import jaxval
seconds = time.perf_counter() - start
import jax
from jax._src import xla_bridge
print(seconds, len(xla_bridge._backends), jax.config.jax_enable_x64,
      "flax" in sys.modules, "sklearn" in sys.modules, "tensorflow" in sys.modules)
"""


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()


def test_import_is_fast_and_touches_nothing():
    seconds, backends, x64, *loaded = run(PROBE)
    assert float(seconds) < 1.5
    assert backends == "0"
    assert x64 == "False"
    assert loaded == ["False"] * 3


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
