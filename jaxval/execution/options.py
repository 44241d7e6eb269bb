"""What only makes a computation fast or watched, in one record."""

import dataclasses
from collections.abc import Callable

from jax.sharding import Mesh

from jaxval._checks import check, positive

__all__ = ["Execution", "Progress"]

Progress = Callable[[int, int], None]
"""Called with (pieces of work done, pieces in all)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Execution:
    """How something is computed; no field changes what comes out.

    Attributes:
      memory: Bytes the computation may take; the device's own limit when `None`
        (`execution.memory.default_limit`).
      mesh: Devices to spread the work over (its first axis); one device when `None`.
      batch_size: Rows, coalitions or steps worked on at once per device; as many as
        suit the device and fit the memory when `None`.
      progress: Called with (pieces of work done, pieces in all).

    Raises:
      ValueError: If `memory` or `batch_size` is not positive.

    Example:
      >>> Execution(batch_size=256).batch_size
      256
    """

    memory: int | None = None
    mesh: Mesh | None = None
    batch_size: int | None = None
    progress: Progress | None = None

    def __post_init__(self):
        """Validates the settings eagerly."""
        if self.memory is not None:
            positive("memory", self.memory)
        if self.batch_size is not None:
            check(
                self.batch_size >= 1,
                f"batch_size must be at least 1; got {self.batch_size}.",
            )

    @property
    def num_devices(self) -> int:
        """Devices that share the work."""
        return 1 if self.mesh is None else self.mesh.devices.size
