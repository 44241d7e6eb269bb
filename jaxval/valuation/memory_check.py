"""The memory that a valuation will take, checked before it is begun."""

from typing import Any

import jax
import numpy as np

from jaxval import models
from jaxval.execution.memory import available_memory
from jaxval.execution.options import Execution
from jaxval.games.at_initialisation import is_classes
from jaxval.kernels import readouts, tangent
from jaxval.types import Dataset, Points
from jaxval.valuation.factory import MemoryLimit

__all__ = ["GIB", "check_fits", "memory_limit"]

GIB = 2**30

_PER_ENTRY = 56
"""Bytes per pair of rows at the peak of a factorisation, as measured: the matrix in
single precision, its double, a permuted copy, the factor, the solver's work."""

_PER_ENTRY_OF_ALL = 112
"""The same where all coalitions are enumerated along the lattice of subsets."""

_SPARE = 0.8
"""Share of the memory that a block size is proposed for."""


def memory_limit(gib: float | None) -> MemoryLimit:
    """The memory to stay below: as given, or what the machine has free.

    Args:
      gib: GiB that the user gave.

    Raises:
      ValueError: If that isn't positive.
    """
    if gib is None:
        return MemoryLimit(available_memory())
    if not gib > 0:
        raise ValueError(f"--memory must be positive, in GiB; got {gib}.")
    return MemoryLimit(int(gib * GIB), is_given=True)


def check_fits(
    module: Any,
    data: Dataset,
    *,
    num_valid: int = 0,
    block: int | None = None,
    enumerated: bool = False,
    limit: int | None,
) -> None:
    """Raise `ValueError` if the kernel of `data` would take more than `limit`.

    Args:
      module: Network whose tangent kernel it is.
      data: Rows of the kernel.
      num_valid: Number of further rows that the kernel is taken to.
      block: Rows of the blocks that are kept of it; all of it when `None`.
      enumerated: Whether all coalitions will be scored.
      limit: Bytes; nothing is checked when `None`.
    """
    if limit is None:
        return
    each = _PER_ENTRY_OF_ALL if enumerated and block is None else _PER_ENTRY
    rows = len(data.x)
    width = min(block or rows, rows)
    need = each * rows * width + 24 * rows * num_valid + 4 * num_valid**2
    need = max(need, _engine(module, data, width, limit))
    if need <= limit:
        return
    fits = int(_SPARE * limit / (_PER_ENTRY * rows))
    advice = (
        f"--block {fits} would fit (it keeps the kernel inside blocks of {fits} rows "
        "of one owner each)"
        if fits >= 1 and num_valid == 0
        else "take fewer rows, or a machine with more memory"
    )
    kernel = f"{rows} x {rows}" if width == rows else f"{rows} x {width}"
    raise ValueError(
        f"the {kernel} kernel matrix and its factorisation need about "
        f"{need / GIB:.2g} GiB, and {limit / GIB:.2g} GiB are there: {advice}. Raise "
        "the limit with --memory if you know better."
    )


def _engine(module: Any, data: Dataset, rows: int, limit: int) -> int:
    """Bytes that the kernel's engine needs, at least, for that many rows."""
    x: Any = jax.ShapeDtypeStruct((rows, *np.shape(data.x)[1:]), np.float32)
    classes = is_classes(data.y)
    y: Any = jax.ShapeDtypeStruct((rows,), np.int32) if classes else None
    params = jax.eval_shape(
        lambda: models.init(jax.random.key(0), module, np.asarray(data.x[:1]))
    )
    plan = tangent.memory_estimate(
        models.apply_fn(module),
        params,
        x if y is None else Points(x, y),
        readout=readouts.true_class_logit if classes else readouts.single_output,
        execution=Execution(memory=limit),
    )
    return int(plan.peak)
