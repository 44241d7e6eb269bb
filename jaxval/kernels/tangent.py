r"""The empirical neural tangent kernel, $\Theta_{ij} = \langle g_i, g_j\rangle$."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Array, Float, Num

from jaxval.kernels import gradient_engine
from jaxval.kernels import readouts as _readouts
from jaxval.kernels.readouts import Readout
from jaxval.types import ApplyFn, Params

__all__ = ["gram"]


def gram(
    apply_fn: ApplyFn,
    params: Params,
    x: Num[Array, "n ..."] | Num[np.ndarray, "n ..."],
    y: Num[Array, "n ..."] | Num[np.ndarray, "n ..."] | None = None,
    x_other: Num[Array, "m ..."] | Num[np.ndarray, "m ..."] | None = None,
    y_other: Num[Array, "m ..."] | Num[np.ndarray, "m ..."] | None = None,
    *,
    readout: Readout = _readouts.own_logit,
    block_size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Float[Array, "n m"]:
    r"""$\Theta_{ij} = \langle\nabla_\theta r(f(x_i), y_i),
    \nabla_\theta r(f(x_j), y_j)\rangle$.

    Args:
      apply_fn: parameters and a batch of inputs to a batch of outputs.
      params: the parameters.
      x: inputs, one a row.
      y: targets, one a row; `None` where the readout asks for none.
      x_other: other inputs, for a rectangular matrix.
      y_other: their targets.
      readout: see `jaxval.kernels.readouts`.
      block_size: samples worked on at once.
      progress: called with (tiles done, tiles in all).

    Returns:
      One row for each input in `x`, one column for each in `x_other` (or in `x`).
    """  # noqa: D205
    return gradient_engine.gram(
        apply_fn,
        params,
        x,
        y,
        x_other,
        y_other,
        readout=readout,
        block_size=block_size,
        progress=progress,
    )
