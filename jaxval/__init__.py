"""Data valuation in JAX: games on masks, semi-values with error bars.

Importing the package touches no device and no configuration; its modules are loaded
when they are first used.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_MODULES = (
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
)
_REST = (
    "coalitions",
    "execution",
    "linalg",
    "linear_models",
    "reporting",
    "runner",
    "types",
)
"""Importable as attributes too, but not advertised."""

_NAMES = {
    "Dataset": "types",
    "Game": "coalitions",
    "Points": "types",
    "ValueEstimate": "types",
    "combine": "coalitions",
    "value": "valuation",
}

__all__ = [*_MODULES, *_NAMES]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in _MODULES or name in _REST:
        return importlib.import_module(f"jaxval.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(f"jaxval.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'jaxval' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
