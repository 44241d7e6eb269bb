"""One memory policy: bytes that there are, and rows that fit into them.

Everything is counted in bytes. A limit that the user sets is `Execution.memory`; where
none is set, what may be filled altogether is `default_limit`, and what a single step
of a loop works on is `WORKSPACE`.
"""

import contextlib
import os
import sys

import jax

__all__ = [
    "WORKSPACE",
    "available_memory",
    "default_limit",
    "gibibytes",
    "num_parallel",
    "rows_that_fit",
]

WORKSPACE = 2**27
"""Bytes that one step of a blocked computation works on where no limit is set."""

_UNKNOWN = 8 * 10**9
"""Bytes assumed of an accelerator that does not tell its own."""


def default_limit() -> int:
    """Three quarters of the device's memory, or of the machine's.

    Returns:
      Bytes that a computation may take, its result included.

    Example:
      >>> default_limit() > 2**20
      True
    """
    total = _device_stats().get("bytes_limit")
    if total is None:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(0.75 * total)


def available_memory() -> int | None:
    """Bytes the device (or the host, where that is the device) can still give.

    Returns:
      Bytes; `None` where the system doesn't tell.

    Example:
      >>> available_memory() is None or available_memory() > 0
      True
    """
    stats = _device_stats()
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    with contextlib.suppress(OSError):
        with open("/proc/meminfo", encoding="ascii") as lines:
            sizes = dict(line.split(":", 1) for line in lines)
        return min(_cgroup_room(), int(sizes["MemAvailable"].split()[0]) * 1024)
    return None


def rows_that_fit(bytes_each: int, memory: int | None = None) -> int:
    """Rows (coalitions, samples) that one step works on at once.

    Args:
      bytes_each: Bytes that one row takes.
      memory: Bytes of the step; `WORKSPACE` when `None`.

    Returns:
      `memory // bytes_each`, and at least one.

    Example:
      >>> rows_that_fit(2**20, 2**23), rows_that_fit(2**24, 2**23)
      (8, 1)
    """
    room = WORKSPACE if memory is None else memory
    return max(1, int(room // max(1, bytes_each)))


def num_parallel(
    bytes_each: int, *, platform: str | None = None, memory: int | None = None
) -> int:
    """Whole runs (of training, say) side by side on each device.

    On a CPU one run fills the cores, so there is one unless `memory` asks for more;
    elsewhere as many as fit half of the device.

    Args:
      bytes_each: Bytes that one run takes.
      platform: Platform of the device, such as `"cpu"`; that of JAX's default when
        `None`.
      memory: Bytes that all runs of a device may take together; half of the device's
        memory when `None`.

    Returns:
      The number of runs, at least one.

    Example:
      >>> num_parallel(2**20, memory=2**22)
      4
    """
    platform = jax.default_backend() if platform is None else platform
    if memory is None:
        if platform == "cpu":
            return 1
        memory = int(0.5 * _device_stats().get("bytes_limit", _UNKNOWN))
    return rows_that_fit(bytes_each, memory)


def gibibytes(count: int | float) -> str:
    """Bytes as a message says them.

    Args:
      count: Number of bytes.

    Example:
      >>> gibibytes(3 * 2**29)
      '1.5 GiB'
    """
    return f"{count / 2**30:.3g} GiB"


def _device_stats() -> dict[str, int]:
    return jax.devices()[0].memory_stats() or {}


def _cgroup_room() -> int:
    """Bytes left under a container's limit; as good as endless without one."""
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            limit = int(file.read())
        with open("/sys/fs/cgroup/memory.current", encoding="ascii") as file:
            return limit - int(file.read())
    except (OSError, ValueError):
        return sys.maxsize
