r"""Solvers of $(H + \delta I) s = g$ that need Hessian-vector products alone."""

import dataclasses
from collections.abc import Callable

import jax
from jaxtyping import Array, Float

from jaxval._checks import check, positive

__all__ = ["InverseFn", "conjugate_gradient", "lissa"]

Product = Callable[[Float[Array, " p"]], Float[Array, " p"]]
InverseFn = Callable[[Product, Float[Array, " p"]], Float[Array, " p"]]
"""Product with the damped Hessian and the right side to the solution."""


def conjugate_gradient(*, tolerance: float = 1e-8, max_steps: int = 100) -> InverseFn:
    """Solve with the damped Hessian by conjugate gradients: exact for convex losses.

    Args:
      tolerance: Residual to stop at, relative to the right side.
      max_steps: Hessian-vector products at most.

    Raises:
      ValueError: If `tolerance` is negative or `max_steps` below 1.

    Example:
      >>> import jax.numpy as jnp
      >>> solve = conjugate_gradient()
      >>> solve(lambda v: 2.0 * v, jnp.array([2.0, 4.0])).tolist()
      [1.0, 2.0]

    References:
      Martens, *Deep learning via Hessian-free optimization*, ICML 2010.
    """
    positive("tolerance", tolerance, zero=True)
    check(max_steps >= 1, f"max_steps must be at least 1; got {max_steps}.")
    return _ConjugateGradient(tolerance, max_steps)


def lissa(*, scale: float, steps: int = 5000) -> InverseFn:
    r"""Solve by the Neumann series $u \leftarrow v + u - (H + \delta I) u / \sigma$.

    With the Hessian of all rows in each step, so without the sampling noise of the
    original; the result is $u / \sigma$. It converges where $\sigma$ is over half the
    largest eigenvalue, and diverges to infinity otherwise.

    Args:
      scale: Scale $\sigma$; Koh and Liang take 10 to 25.
      steps: Terms of the series.

    Raises:
      ValueError: If `scale` is not positive or `steps` below 1.

    Example:
      >>> import jax.numpy as jnp
      >>> solve = lissa(scale=4.0, steps=50)
      >>> solve(lambda v: 2.0 * v, jnp.array([2.0, 4.0])).round(4).tolist()
      [1.0, 2.0]

    References:
      Agarwal, Bullins and Hazan, *Second-order stochastic optimization for machine
      learning in linear time*, JMLR 2017.
    """
    positive("scale", scale)
    check(steps >= 1, f"steps must be at least 1; got {steps}.")
    return _Lissa(scale, steps)


@dataclasses.dataclass(frozen=True)
class _ConjugateGradient:
    # Equal settings are equal functions, and so one compiled program.
    tolerance: float
    max_steps: int

    def __call__(self, product, right):
        solve = jax.scipy.sparse.linalg.cg
        return solve(product, right, tol=self.tolerance, maxiter=self.max_steps)[0]


@dataclasses.dataclass(frozen=True)
class _Lissa:
    scale: float
    steps: int

    def __call__(self, product, right):
        def step(_, u):
            return right + u - product(u) / self.scale

        return jax.lax.fori_loop(0, self.steps, step, right) / self.scale
