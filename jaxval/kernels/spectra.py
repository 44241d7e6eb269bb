r"""Spectra of a Gram matrix, and whether the kernel or the regulariser speaks.

The regulariser $\zeta$ is small only relative to the kernel: networks without batch
norm have tangent kernels with diagonals from $10^{-4}$ down to $10^{-7}$, where
$\zeta = 10^{-4}$ is most of $\Theta + \zeta I$ and the score is nearly
$\sqrt{\hat y^\top \hat y / \zeta m}$, whatever the data.
"""

import warnings
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxval._checks import check, finite, positive
from jaxval.execution.precision import double, float64
from jaxval.linalg.regulariser import RegulariserWarning

__all__ = [
    "Eigensystem",
    "RegulariserWarning",
    "Spectrum",
    "eigensystem",
    "quadratic_forms",
    "spectrum",
]

Gram = Float[Array, "n n"] | Float[np.ndarray, "n n"]


class Spectrum(NamedTuple):
    r"""What to know of $\Theta$ before believing a score at regulariser $\zeta$.

    Attributes:
      eigenvalues: of $\Theta$, ascending.
      smallest: $\lambda_{\min}(\Theta)$ (the paper's tables hold
        $\lambda_{\min} + \zeta$); rounding may make it slightly negative.
      largest: $\lambda_{\max}(\Theta)$.
      mean: $\operatorname{tr}\Theta / N$, the mean eigenvalue and mean diagonal.
      condition: of $\Theta + \zeta I$; infinite where that is singular.
      zeta: the regulariser.
      zeta_over_mean: $\zeta N / \operatorname{tr}\Theta$; the regulariser dominates
        from 1 on.
      effective_dimension: $\sum_j \lambda_j / (\lambda_j + \zeta)$, the directions in
        which the kernel outweighs the regulariser.
    """

    eigenvalues: Float[np.ndarray, " n"]
    smallest: float
    largest: float
    mean: float
    condition: float
    zeta: float
    zeta_over_mean: float
    effective_dimension: float


class Eigensystem(NamedTuple):
    r"""$\Theta = U \operatorname{diag}(\lambda) U^\top$, in float64.

    Attributes:
      values: $\lambda$, ascending.
      vectors: $U$, one eigenvector a column.
    """

    values: Float[Array, " n"]
    vectors: Float[Array, "n n"]


def spectrum(gram: Gram, *, zeta: float = 0.0) -> Spectrum:
    r"""Eigenvalues of a Gram matrix in float64, and what they say of $\zeta$.

    Args:
      gram: $\Theta$, without the regulariser.
      zeta: the regulariser.

    Warns:
      RegulariserWarning: if $\zeta \ge \operatorname{tr}\Theta / N$.

    Example:
      >>> report = spectrum(np.diag([1.0, 3.0]), zeta=1.0)
      >>> report.condition, report.zeta_over_mean
      (2.0, 0.5)
      >>> report.effective_dimension
      1.25
    """
    positive("zeta", zeta, zero=True)
    finite("gram", gram)
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
    weights = values / (values + zeta) if zeta > 0 else np.ones_like(values)
    return Spectrum(
        values,
        float(values[0]),
        float(values[-1]),
        mean,
        float(high / low) if low > 0 else float("inf"),
        float(zeta),
        float(zeta / mean),
        # Eigenvalues that rounding made negative count as zero.
        float(np.sum(np.clip(weights, 0.0, 1.0))),
    )


def eigensystem(gram: Gram) -> Eigensystem:
    """One eigendecomposition in float64, for `quadratic_forms` at every regulariser.

    Example:
      >>> eigensystem(np.diag([2.0, 1.0])).values.tolist()
      [1.0, 2.0]
    """
    finite("gram", gram)
    with double():
        return Eigensystem(*jnp.linalg.eigh(float64(gram)))


def quadratic_forms(
    system: Eigensystem,
    y: Float[Array, " n"] | Float[np.ndarray, " n"],
    zetas: Float[Array, " m"] | Float[np.ndarray, " m"],
) -> Float[np.ndarray, " m"]:
    r"""$q = y^\top(\Theta + \zeta I)^{-1} y$ for every regulariser (identity C2).

    $$q(\zeta) = \sum_j (u_j^\top y)^2 / (\lambda_j + \zeta)$$

    Args:
      system: from `eigensystem`; any number of targets share it.
      y: residuals.
      zetas: regularisers.

    Raises:
      ValueError: if a regulariser leaves the matrix singular.

    Example:
      >>> quadratic_forms(eigensystem(np.eye(2)), np.ones(2), np.array([0.0, 1.0]))
      array([2., 1.])
    """
    zetas = np.asarray(zetas, np.float64)
    values = np.asarray(system.values)
    lowest = values[0] + zetas.min(initial=np.inf)
    check(
        bool(lowest > 0),
        f"zetas must keep gram + zeta I positive definite; the smallest eigenvalue "
        f"is {values[0]:.3g} and the smallest zeta {zetas.min(initial=np.inf):.3g}.",
    )
    energy = (np.asarray(system.vectors).T @ np.asarray(y, np.float64)) ** 2
    return np.sum(energy[None, :] / (values[None, :] + zetas[:, None]), axis=1)
