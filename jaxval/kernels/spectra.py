r"""Spectra of a Gram matrix, and whether the kernel or the regulariser decides.

The regulariser $\zeta$ is small only relative to the kernel: networks without batch
norm have tangent kernels with diagonals from $10^{-4}$ down to $10^{-7}$, where
$\zeta = 10^{-4}$ is most of $\Theta + \zeta I$ and the score is nearly
$\sqrt{\hat y^\top \hat y / \zeta m}$, whatever the data.
"""

import dataclasses
import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxval._checks import check, positive, symmetric
from jaxval._targets import numbers
from jaxval.execution.precision import double, float64
from jaxval.linalg.regulariser import RegulariserWarning

__all__ = ["RegulariserWarning", "Spectrum", "spectrum"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spectrum:
    r"""What to know of $\Theta$ before believing a score at regulariser $\zeta$.

    Attributes:
      eigenvalues: Eigenvalues of $\Theta$, ascending.
      smallest: Least eigenvalue $\lambda_{\min}(\Theta)$ (the paper's tables hold
        $\lambda_{\min} + \zeta$); rounding may make it slightly negative.
      largest: Largest eigenvalue $\lambda_{\max}(\Theta)$.
      mean: Mean eigenvalue and mean diagonal, $\operatorname{tr}\Theta / N$.
      condition: Condition number of $\Theta + \zeta I$; infinite where it is singular.
      zeta: Regulariser $\zeta$.
      zeta_over_mean: Ratio $\zeta N / \operatorname{tr}\Theta$; the regulariser
        dominates from 1 on.
      effective_dimension: Number of directions in which the kernel outweighs the
        regulariser, $\sum_j \lambda_j / (\lambda_j + \zeta)$.
    """

    eigenvalues: Float[np.ndarray, " n"]
    smallest: float
    largest: float
    mean: float
    condition: float
    zeta: float
    zeta_over_mean: float
    effective_dimension: float


def spectrum(gram: Any, *, zeta: float = 0.0) -> Spectrum:
    r"""Eigenvalues of a Gram matrix in float64, and what they say of $\zeta$.

    Forms at many regularisers are `linalg.forms_for_regularisers`.

    Args:
      gram: Gram matrix $\Theta$, without the regulariser.
      zeta: Regulariser $\zeta$, in the units of the kernel.

    Raises:
      ValueError: If the matrix is not symmetric or not finite, or its trace is not
        positive.

    Warns:
      RegulariserWarning: If $\zeta \ge \operatorname{tr}\Theta / N$.

    Example:
      >>> report = spectrum(np.diag([1.0, 3.0]), zeta=1.0)
      >>> report.condition, report.zeta_over_mean
      (2.0, 0.5)
      >>> report.effective_dimension
      1.25
    """
    positive("zeta", zeta, zero=True)
    gram = numbers("gram", gram)
    symmetric("gram", gram)
    with double():
        values = np.asarray(jnp.linalg.eigvalsh(float64(gram)))
    mean = float(np.mean(values))
    check(mean > 0, f"gram must have a positive trace; its mean eigenvalue is {mean}.")
    if zeta >= mean:
        warnings.warn(
            f"zeta = {zeta:.2g} is {zeta / mean:.2g} times the mean eigenvalue "
            f"{mean:.2g} of the kernel: the score is mostly the regulariser's. Choose "
            "zeta relative to trace(gram) / n, such as 1e-3 of it.",
            RegulariserWarning,
            stacklevel=2,
        )
    low, high = values[0] + zeta, values[-1] + zeta
    values = np.asarray(values, np.float64)
    weights = values / (values + zeta) if zeta > 0 else np.ones_like(values)
    return Spectrum(
        eigenvalues=values,
        smallest=float(values[0]),
        largest=float(values[-1]),
        mean=mean,
        condition=float(high / low) if low > 0 else float("inf"),
        zeta=float(zeta),
        zeta_over_mean=float(zeta / mean),
        # Eigenvalues that rounding made negative count as zero.
        effective_dimension=float(np.sum(np.clip(weights, 0.0, 1.0))),
    )
