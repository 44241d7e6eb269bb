r"""Influence functions: what leaving rows out would do to a trained model.

With parameters that minimise the mean loss over $n$ training rows, removing row $z$
changes the mean validation loss by

$$\tfrac1n\, s^\top \nabla L(z), \qquad (H + \delta I)\, s = \nabla L_V,$$

$H$ being the Hessian of the mean training loss and $\delta$ a damping. The value of a
row is that increase; the influence of a group is the sum of its members'. It holds for
convex losses at their minimum and degrades on deep networks (Basu et al., 2021).

References:
  Koh and Liang, *Understanding black-box predictions via influence functions*, ICML
  2017; Koh et al., *On the accuracy of influence functions for measuring group
  effects*, NeurIPS 2019; Agarwal et al., *Second-order stochastic optimization for
  machine learning in linear time* (LiSSA), 2017.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, Num

from jaxval._checks import check, groups, positive
from jaxval.games.analytic import additive
from jaxval.types import ApplyFn, Dataset, Game

__all__ = ["conjugate_gradient", "influence", "influence_game", "influences", "lissa"]

LossFn = Callable[[Float[Array, " outputs"], Any], Float[Array, ""]]
"""The loss of one sample's outputs against its target."""

Product = Callable[[Float[Array, " p"]], Float[Array, " p"]]
InverseFn = Callable[[Product, Float[Array, " p"]], Float[Array, " p"]]


def conjugate_gradient(*, tolerance: float = 1e-8, max_steps: int = 100) -> InverseFn:
    """Solve with the damped Hessian by conjugate gradients: exact for convex losses."""

    def solve(product, right):
        return jax.scipy.sparse.linalg.cg(
            product, right, tol=tolerance, maxiter=max_steps
        )[0]

    return solve


def lissa(*, scale: float, steps: int = 5000) -> InverseFn:
    r"""Solve by the Neumann series $u \leftarrow v + u - (H + \delta I) u / \sigma$.

    With the Hessian of all rows in each step, so without the sampling noise of the
    original; the result is $u / \sigma$. It converges where $\sigma$ is over half the
    largest eigenvalue, and diverges to infinity otherwise.

    Args:
      scale: $\sigma$; Koh and Liang take 10 to 25.
      steps: terms of the series.
    """
    positive("scale", scale)
    check(steps >= 1, f"steps must be at least 1; got {steps}.")

    def solve(product, right):
        step = lambda _, u: right + u - product(u) / scale
        return jax.lax.fori_loop(0, steps, step, right) / scale

    return solve


def influences(
    apply_fn: ApplyFn,
    params: Any,
    loss: LossFn,
    dataset: Dataset,
    x_valid: Num[Array, "v ..."] | Num[np.ndarray, "v ..."],
    y_valid: Num[Array, "v ..."] | Num[np.ndarray, "v ..."],
    *,
    damping: float,
    inverse: InverseFn | None = None,
    l2: float = 0.0,
    batch_size: int = 128,
) -> Float[np.ndarray, " n"]:
    r"""The rise of the mean validation loss if each row were left out of training.

    Args:
      apply_fn: the network.
      params: at the minimum of the mean training loss (plus $\tfrac12 \lambda$ times
        their squared norm).
      loss: of one sample.
      dataset: training rows.
      x_valid: validation inputs.
      y_valid: validation targets.
      damping: $\delta$, added to the Hessian's diagonal; 0 for strictly convex losses.
      inverse: `conjugate_gradient()` when left out, or `lissa(...)`.
      l2: $\lambda$.
      batch_size: rows whose gradients are held at once.

    Raises:
      ValueError: if the solver diverged.

    Example:
      >>> apply = lambda w, x: x @ w[:, None]
      >>> square = lambda out, y: 0.5 * (out[0] - y) ** 2
      >>> x, y = jnp.ones((2, 1)), jnp.array([0.0, 2.0])
      >>> data = Dataset(x, y, jnp.array([0, 1]))
      >>> influences(
      ...     apply, jnp.ones(1), square, data, x[:1], jnp.array([3.0]), damping=0.0
      ... ).round(3)
      array([-1.,  1.], dtype=float32)
    """
    positive("damping", damping, zero=True)
    flat, unravel = ravel_pytree(params)
    of_row = lambda p, xi, yi: loss(apply_fn(unravel(p), xi[None])[0], yi)

    def mean_loss(p, x, y):
        return jnp.mean(jax.vmap(loss)(apply_fn(unravel(p), x), y))

    solve = inverse or conjugate_gradient()

    # The data are arguments: XLA would fold constants of their size for minutes.
    @jax.jit
    def all_rows(flat, x, y, x_valid, y_valid):
        def product(vector):
            gradient = lambda p: jax.grad(mean_loss)(p, x, y)
            curved = jax.jvp(gradient, (flat,), (vector,))[1]
            return curved + (l2 + damping) * vector

        target = jax.grad(mean_loss)(flat, x_valid, y_valid)
        direction = solve(product, target)
        own = lambda row: jax.grad(of_row)(flat, *row) @ direction
        return jax.lax.map(own, (x, y), batch_size=batch_size) / len(x)

    rows = map(jnp.asarray, (dataset.x, dataset.y, x_valid, y_valid))
    values = np.asarray(all_rows(flat, *rows))
    check(
        bool(np.isfinite(values).all()),
        "influence functions diverged: raise damping, or the scale of lissa.",
    )
    return values


def influence(
    values: Float[np.ndarray, " n"], owner: Int[Array, " n"] | Int[np.ndarray, " n"]
) -> Float[np.ndarray, " owners"]:
    """The influence of each owner: the sum of its rows'.

    Example:
      >>> influence(np.array([1.0, 2.0, 4.0]), np.array([0, 1, 0]))
      array([5., 2.])
    """
    owner = np.asarray(owner)
    return np.bincount(owner, np.asarray(values, np.float64), groups("owner", owner))


def influence_game(
    values: Float[np.ndarray, " n"], owner: Int[Array, " n"] | Int[np.ndarray, " n"]
) -> Game:
    """The additive game of those sums: every semi-value of it is `influence`."""
    return additive(influence(values, owner))
