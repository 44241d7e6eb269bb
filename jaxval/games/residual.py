r"""$\hat y$: what a network at initialisation still has to learn."""

from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from jaxval._checks import check, one_of, same_length
from jaxval._targets import class_targets, numbers, real_targets

__all__ = ["residual"]


def residual(
    outputs: Any, y: Any, target: Literal["true_class_logit", "difference"]
) -> Float[np.ndarray, " n"] | Float[np.ndarray, "n outputs"]:
    r"""$\hat y$, what the network at initialisation still has to learn.

    Args:
      outputs: Outputs of the network, one row per sample.
      y: Targets, one per row: class numbers (or labels), real numbers or vectors.
      target: `"true_class_logit"` is the released code's $1 - f(x)_{y}$ for classes
        (with the true-class-logit kernel); `"difference"` is the paper's $y - f(x)$:
        with one output the plain difference, with several and classes the one-hot
        target's, one column per output, whose forms `complexity` sums.

    Returns:
      One number per row, or one column per output, in float64.

    Raises:
      ValueError: If lengths or outputs differ, a class has no output, an entry is not
        finite, or `target` is neither of the two.

    Example:
      >>> residual(np.array([[0.5, 0.0]]), np.array([0]), "true_class_logit").tolist()
      [0.5]

    References:
      Wu, Shu and Low, DAVINZ, ICML 2022, section 3.
    """
    one_of("target", target, ("true_class_logit", "difference"))
    outputs = numbers("outputs", outputs, ndim=2)
    same_length(outputs=outputs, y=y)
    width = outputs.shape[1]
    check(
        width > 0 and len(outputs) > 0,
        f"outputs must have a row and a column at least; got shape {outputs.shape}.",
    )
    if target == "true_class_logit":
        (labels,), _ = class_targets(width, y=y)
        return 1.0 - np.take_along_axis(outputs, labels[:, None], axis=1)[:, 0]
    if width == 1:
        (real,) = real_targets(y=y)
        _check_outputs(real, outputs)
        return real[:, 0] - outputs[:, 0]
    if np.ndim(y) == 1 or np.shape(y)[1:] == (1,):
        (labels,), _ = class_targets(width, y=y)
        return np.eye(width)[labels] - outputs
    (real,) = real_targets(y=y)
    _check_outputs(real, outputs)
    return real - outputs


def _check_outputs(y, outputs):
    check(
        y.shape == outputs.shape,
        "y must have one target per output of the network; got "
        f"{y.shape[1]} for {outputs.shape[1]}.",
    )
