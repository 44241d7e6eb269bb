"""What a run ran on, and what it took."""

import contextlib
import importlib.metadata
import platform
import sys
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.monitoring

import jaxval

__all__ = ["Stopwatch", "peak_memory", "versions"]

_PACKAGES = ("jax", "jaxlib", "flax", "numpy")
_COMPILING = "/jax/core/compile/"
"""Prefix of the durations JAX reports for tracing, lowering and compiling."""


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    packages = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {
        "python": platform.python_version(),
        "jaxval": jaxval.__version__,
        **packages,
    }


def devices() -> str:
    """What JAX computes on, as in "2 x cpu"."""
    kinds = [device.device_kind for device in jax.devices()]
    names = [f"{kinds.count(kind)} x {kind}" for kind in sorted(set(kinds))]
    return ", ".join(names)


def peak_memory() -> dict[str, int]:
    """The most bytes this process has held, on the host and on the first device."""
    memory = {}
    with contextlib.suppress(ImportError):  # not on Windows
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        unit = 1 if sys.platform == "darwin" else 1024
        memory["host_bytes"] = int(peak) * unit
    stats = jax.devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        memory["device_bytes"] = int(stats["peak_bytes_in_use"])
    return memory


class Stopwatch:
    """Wall time of a block, and how much of it went into compiling.

    Example:
      >>> with Stopwatch() as watch:
      ...     pass
      >>> watch.metrics()["compile_seconds"]
      0.0
    """

    def __init__(self):
        self.wall = self.compiling = 0.0

    def __enter__(self) -> "Stopwatch":
        """Start."""
        self._start = time.perf_counter()
        jax.monitoring.register_event_duration_secs_listener(self._hear)
        return self

    def __exit__(self, *error: object) -> None:
        """Stop."""
        self.wall = time.perf_counter() - self._start
        jax.monitoring.unregister_event_duration_listener(self._hear)

    def _hear(self, event: str, duration_secs: float, **_: Any) -> None:
        if event.startswith(_COMPILING):
            self.compiling += duration_secs

    def metrics(self) -> dict[str, float]:
        """Seconds for `metrics.json`."""
        return {
            "wall_seconds": round(self.wall, 3),
            "compile_seconds": round(self.compiling, 3),
        }


@contextlib.contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Adds the seconds of a block to `seconds[name]`."""
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start
