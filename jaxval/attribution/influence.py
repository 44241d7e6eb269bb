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

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, Num

from jaxval._checks import (
    check,
    finite,
    groups,
    positive,
    same_features,
    same_length,
)
from jaxval.coalitions.game import Game
from jaxval.games.analytic import additive
from jaxval.types import ApplyFn, Dataset

__all__ = [
    "Influences",
    "UnsolvedWarning",
    "conjugate_gradient",
    "influence",
    "influence_game",
    "influences",
    "lissa",
    "solved_influences",
]

LossFn = Callable[[Float[Array, " outputs"], Any], Float[Array, ""]]
"""The loss of one sample's outputs against its target."""

Product = Callable[[Float[Array, " p"]], Float[Array, " p"]]
InverseFn = Callable[[Product, Float[Array, " p"]], Float[Array, " p"]]


_TOLERATED = 0.1
"""Share of the gradient that a solve may leave before it is warned of."""

_DIVERGED = 10.0
"""The same, from which it is an error: zero would be a ten times better answer."""


class UnsolvedWarning(UserWarning):
    """The linear system behind influence functions was not solved well."""


class Influences(NamedTuple):
    r"""Influences and how well the system behind them was solved.

    Attributes:
      values: the rise of the mean validation loss without each row.
      residual: $\lVert (H + \delta I) s - g \rVert / \lVert g \rVert$ with
        $g = \nabla L_V$; 0 where the gradient is 0.
    """

    values: Float[np.ndarray, " n"]
    residual: float


def conjugate_gradient(*, tolerance: float = 1e-8, max_steps: int = 100) -> InverseFn:
    """Solve with the damped Hessian by conjugate gradients: exact for convex losses.

    Args:
      tolerance: of the residual, relative to the right side.
      max_steps: Hessian-vector products at most.

    Example:
      >>> solve = conjugate_gradient()
      >>> solve(lambda v: 2.0 * v, jnp.array([2.0, 4.0])).tolist()
      [1.0, 2.0]

    References:
      Martens, *Deep learning via Hessian-free optimization*, ICML 2010.
    """
    positive("tolerance", tolerance, zero=True)
    check(max_steps >= 1, f"max_steps must be at least 1; got {max_steps}.")

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

    Example:
      >>> solve = lissa(scale=4.0, steps=50)
      >>> solve(lambda v: 2.0 * v, jnp.array([2.0, 4.0])).round(4).tolist()
      [1.0, 2.0]

    References:
      Agarwal, Bullins and Hazan, *Second-order stochastic optimization for machine
      learning in linear time*, JMLR 2017.
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
      ValueError: if the data don't fit together, a number is not finite, a label is no
        class of the network, or the solver diverged.

    Warns:
      UnsolvedWarning: if the solver stopped with over a tenth of the gradient left.
        `solved_influences` says how much.

    Example:
      >>> apply = lambda w, x: x @ w[:, None]
      >>> square = lambda out, y: 0.5 * (out[0] - y) ** 2
      >>> x, y = jnp.ones((2, 1)), jnp.array([0.0, 2.0])
      >>> data = Dataset(x, y, jnp.array([0, 1]))
      >>> influences(
      ...     apply, jnp.ones(1), square, data, x[:1], jnp.array([3.0]), damping=0.0
      ... ).round(3)
      array([-1.,  1.], dtype=float32)

    References:
      Koh and Liang, ICML 2017, Eq. 2.
    """
    found = solved_influences(
        apply_fn, params, loss, dataset, x_valid, y_valid, damping=damping,
        inverse=inverse, l2=l2, batch_size=batch_size,
    )  # fmt: skip
    if found.residual > _TOLERATED:
        warnings.warn(
            f"influence functions: the solver left {found.residual:.0%} of the "
            "validation gradient; the values are approximate. Allow more steps, or "
            "raise damping.",
            UnsolvedWarning,
            stacklevel=2,
        )
    return found.values


def solved_influences(
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
) -> Influences:
    r"""`influences`, with what the solver left, and no warning about it.

    Conjugate gradients that are stopped early, or meet the negative curvature of a deep
    network, give values that look like any others; only the residual tells.

    Args:
      apply_fn: the network.
      params: as of `influences`, and so on.
      loss: of one sample.
      dataset: training rows.
      x_valid: validation inputs.
      y_valid: validation targets.
      damping: $\delta$.
      inverse: the solver.
      l2: $\lambda$.
      batch_size: rows whose gradients are held at once.

    Raises:
      ValueError: as of `influences`.

    Example:
      >>> apply = lambda w, x: x @ w[:, None]
      >>> square = lambda out, y: 0.5 * (out[0] - y) ** 2
      >>> x, y = jnp.ones((2, 1)), jnp.array([0.0, 2.0])
      >>> data = Dataset(x, y, jnp.array([0, 1]))
      >>> found = solved_influences(
      ...     apply, jnp.ones(1), square, data, x[:1], jnp.array([3.0]), damping=0.0
      ... )
      >>> found.residual < 1e-6
      True

    References:
      Koh and Liang, ICML 2017, Eq. 2; Basu, Pope and Feizi, *Influence functions in
      deep learning are fragile*, ICLR 2021.
    """
    positive("damping", damping, zero=True)
    positive("l2", l2, zero=True)
    check(batch_size >= 1, f"batch_size must be at least 1; got {batch_size}.")
    _check_data(apply_fn, params, dataset, x_valid, y_valid)
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
        left = jnp.linalg.norm(product(direction) - target)
        scale = jnp.linalg.norm(target)
        own = lambda row: jax.grad(of_row)(flat, *row) @ direction
        values = jax.lax.map(own, (x, y), batch_size=batch_size) / len(x)
        return values, jnp.where(scale > 0, left / jnp.where(scale > 0, scale, 1), 0.0)

    rows = map(jnp.asarray, (dataset.x, dataset.y, x_valid, y_valid))
    values, residual = jax.tree.map(np.asarray, all_rows(flat, *rows))
    check(
        bool(np.isfinite(values).all() and residual < _DIVERGED),
        "influence functions diverged: the solver ended further from a solution than "
        f"it began (relative residual {residual:.2g}). Raise damping, or the scale of "
        "lissa.",
    )
    return Influences(values, float(residual))


def _check_data(apply_fn, params, dataset, x_valid, y_valid) -> None:
    same_length(x=dataset.x, y=dataset.y)
    same_length(x_valid=x_valid, y_valid=y_valid)
    check(len(dataset.x) > 0, "x is empty: there are no rows to value.")
    check(len(y_valid) > 0, "y_valid is empty: there is no loss to change.")
    same_features(x=dataset.x, x_valid=x_valid)
    same_features(y=dataset.y, y_valid=y_valid)
    arrays = {"x": dataset.x, "y": dataset.y, "x_valid": x_valid, "y_valid": y_valid}
    for name, array in arrays.items():
        finite(name, array)
    for leaf in jax.tree.leaves(params):
        finite("params", leaf)
    one = jnp.asarray(x_valid[:1])
    outputs = jax.eval_shape(apply_fn, params, one).shape[1]
    for name in ("y", "y_valid"):
        labels = np.asarray(arrays[name])
        # Whole numbers for several outputs are classes, which nothing else would check.
        if outputs < 2 or labels.ndim > 1 or labels.dtype.kind not in "iu":
            continue
        check(
            bool(labels.min() >= 0 and labels.max() < outputs),
            f"{name} must hold class numbers 0 to {outputs - 1}, one for each output "
            f"of the network; got {labels.min()} to {labels.max()}.",
        )


def influence(
    values: Float[np.ndarray, " n"], owner: Int[Array, " n"] | Int[np.ndarray, " n"]
) -> Float[np.ndarray, " owners"]:
    """The influence of each owner: the sum of its rows'.

    Args:
      values: of the rows, `influences`.
      owner: 0 to K-1, who contributed each row.

    Raises:
      ValueError: if the lengths differ, or an owner has no rows.

    Example:
      >>> influence(np.array([1.0, 2.0, 4.0]), np.array([0, 1, 0]))
      array([5., 2.])

    References:
      Koh et al., *On the accuracy of influence functions for measuring group effects*,
      NeurIPS 2019.
    """
    same_length(values=values, owner=owner)
    owner = np.asarray(owner)
    return np.bincount(owner, np.asarray(values, np.float64), groups("owner", owner))


def influence_game(
    values: Float[np.ndarray, " n"], owner: Int[Array, " n"] | Int[np.ndarray, " n"]
) -> Game:
    """The additive game of those sums: every semi-value of it is `influence`.

    Args:
      values: of the rows, `influences`.
      owner: 0 to K-1, who contributed each row.

    Example:
      >>> game = influence_game(np.array([1.0, 2.0, 4.0]), np.array([0, 1, 0]))
      >>> game.powerset_scores().tolist()
      [0.0, 5.0, 2.0, 7.0]

    References:
      Koh et al., NeurIPS 2019, section 2.
    """
    return additive(influence(values, owner))
