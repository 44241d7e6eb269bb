"""Importing neural-tangents on a JAX that has moved on since its last release.

Version 0.6.5 (December 2023) asks for names that newer JAX keeps elsewhere, and its
`experimental` package drags in TensorFlow. Both are needed only while it is being
imported, so both are supplied for just that long.
"""

import contextlib
import importlib
import importlib.util
import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any

import jax
import jax.extend.core
from jax.interpreters import ad

__all__ = ["load", "quietly"]

_MISSING = object()
_STUB = "neural_tangents.experimental"


def load() -> Any:
    """The `neural_tangents` module; imports it at the first call.

    Raises:
      ImportError: if it is not installed, or does not work with this JAX.
    """
    if "neural_tangents" in sys.modules:
        return sys.modules["neural_tangents"]
    if importlib.util.find_spec("neural_tangents") is None:
        raise ImportError(
            "this function needs neural-tangents, which is not installed: pip install "
            "'jaxval[neural-tangents]'. Without it, kernels.tangent.gram gives the "
            "same finite-width kernel, faster, and infinite_width.relu_gram the "
            "infinite-width kernel of dense ReLU networks."
        )
    try:
        with _names_of_old():
            return importlib.import_module("neural_tangents")
    except Exception as error:
        for name in [n for n in sys.modules if n.split(".")[0] == "neural_tangents"]:
            del sys.modules[name]
        raise ImportError(
            f"neural-tangents could not be imported on jax {jax.__version__}: {error}. "
            "kernels.tangent.gram gives the same finite-width kernel without it."
        ) from error


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """A scope without the deprecation warnings of neural-tangents' own calls."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield


@contextlib.contextmanager
def _names_of_old() -> Iterator[None]:
    moved = {name: getattr(jax.extend.core, name) for name in _MOVED}
    with (
        quietly(),
        _attributes(jax.core, moved),
        # A primitive that is never bound: only its rule is registered under the name.
        _attributes(ad, {"zeros_like_p": jax.extend.core.Primitive("zeros_like")}),
        _module("jax.util", {"safe_map": _safe_map, "safe_zip": _safe_zip}),
        _module(_STUB, {}),
    ):
        yield
        vars(sys.modules["neural_tangents"]).pop("experimental", None)


_MOVED = ("Jaxpr", "JaxprEqn", "Literal", "Primitive", "Var")


@contextlib.contextmanager
def _attributes(module: types.ModuleType, values: dict[str, Any]) -> Iterator[None]:
    # Looked up in `vars`, for `hasattr` would warn of names about to go.
    before = {name: vars(module).get(name, _MISSING) for name in values}
    added = {name: v for name, v in values.items() if before[name] is _MISSING}
    vars(module).update(added)
    try:
        yield
    finally:
        for name in added:
            del vars(module)[name]


@contextlib.contextmanager
def _module(name: str, values: dict[str, Any]) -> Iterator[None]:
    if name in sys.modules:
        yield
        return
    module = types.ModuleType(name)
    vars(module).update(values)
    sys.modules[name] = module
    try:
        yield
    finally:
        sys.modules.pop(name, None)


def _safe_map(fn, *sequences):
    return [fn(*items) for items in zip(*sequences, strict=True)]


def _safe_zip(*sequences):
    return list(zip(*sequences, strict=True))
