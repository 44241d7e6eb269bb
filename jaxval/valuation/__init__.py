"""Values of a user-supplied table, from Python and from the command line."""

import importlib
from typing import Any

_NAMES = {"Settings": "settings", "Valuation": "result", "value": "api"}

__all__ = ["Settings", "Valuation", "value"]  # noqa: F822


def __getattr__(name: str) -> Any:
    # Loaded when first used: the list of commands reads this package's docstrings.
    if name in _NAMES:
        return getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
