r"""Models with one optimum: multinomial logistic regression and ridge, in float64.

Both take the coalition as weights of rows, so that all coalitions share one matrix of
inputs and a batch of them costs large matrix products. Inputs are centred, and turned
onto the principal axes of the whole data set, once and for all: neither changes the
optimum (the penalty is the same in any rotated frame, and the intercept, which takes
the centring up, isn't penalised), but on these axes the Hessian is nearly diagonal.

The penalty acts on the weights of the features as they were given, as scikit-learn's
does: standardise features whose units should not matter.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num

from jaxval._checks import check
from jaxval._targets import feature_rows
from jaxval.execution.precision import float64, in_double
from jaxval.types import AnyArray, Scalar

__all__ = ["Design", "LogisticFit", "design", "fit_logistic", "fit_ridge", "rotate"]


# Newton steps after which a fit may also pass by its gradient in units of standardised
# features. Data on scales near 1 take fewer, and stop by the plain gradient.
_PATIENCE = 100


class Design(NamedTuple):
    """Inputs on their principal axes with a column of ones, and how to get there.

    Attributes:
      x: Rotated inputs; the last column is 1.
      center: Means, subtracted from raw inputs.
      axes: Principal axes, one per column, onto which centred inputs are turned.
    """

    x: Float[Array, "n p"]
    center: Float[Array, " d"]
    axes: Float[Array, "d r"]


def design(x: Num[AnyArray, "n ..."]) -> Design:
    """Centre and rotate inputs; axes along which nothing varies are dropped.

    Args:
      x: Inputs, one per row; axes behind the first are flattened.

    Raises:
      ValueError: If `x` is no array with one row per sample.

    Example:
      >>> design(np.array([[0.0, 5.0], [2.0, 5.0]])).x.tolist()
      [[-1.0, 1.0], [1.0, 1.0]]
    """
    flat = _flat("x", x)
    center = flat.mean(axis=0)
    _, scales, axes = np.linalg.svd(flat - center, full_matrices=False)
    kept = axes[scales > 1e-10 * scales.max(initial=1e-300)]
    # The sign of an axis is arbitrary: make its largest entry positive.
    kept = (
        kept * np.sign(kept[np.arange(len(kept)), np.abs(kept).argmax(axis=1)])[:, None]
    )
    start = Design(float64(np.zeros((0, 1))), float64(center), float64(kept.T))
    return start._replace(x=rotate(start, flat))


@in_double
def rotate(frame: Design, x: Num[AnyArray, "v ..."]) -> Float[Array, "v p"]:
    """Other inputs on the axes of a design, with their column of ones.

    Args:
      frame: Design made of the training inputs.
      x: Inputs of the same features.

    Raises:
      ValueError: If `x` is no array with one row per sample, or has other features.

    Example:
      >>> frame = design(np.array([[0.0, 5.0], [2.0, 5.0]]))
      >>> rotate(frame, np.array([[4.0, 7.0]])).tolist()
      [[3.0, 1.0]]
    """
    flat = float64(_flat("x", x))
    check(
        flat.shape[1] == frame.center.shape[0],
        f"x must have the {frame.center.shape[0]} features of the design; got "
        f"{flat.shape[1]}.",
    )
    turned = (flat - frame.center[None]) @ frame.axes
    return jnp.concatenate([turned, jnp.ones((len(flat), 1))], axis=1)


def _flat(name, x):
    check(
        not isinstance(x, dict | tuple) and np.ndim(x) >= 1,
        f"{name} must be one array with a row per sample; got {type(x).__name__}. Join "
        "several inputs along their features first.",
    )
    return feature_rows(name, x)


class LogisticFit(NamedTuple):
    """Where the solver ended.

    Attributes:
      weights: Weights, one column per class; the last row is the intercepts.
      gradient: Largest entry of the gradient of the mean loss with penalty.
      steps: Newton steps taken.
      products: Hessian-vector products taken.
      converged: Whether the gradient is within the tolerance; always for fewer than two
        classes, which have nothing to fit.
    """

    weights: Float[Array, "p classes"]
    gradient: Scalar
    steps: Int[Array, ""]
    products: Int[Array, ""]
    converged: Bool[Array, ""]


class _Newton(NamedTuple):
    weights: Float[Array, "p classes"]
    logits: Float[Array, "n classes"]
    probs: Float[Array, "n classes"]
    slope: Float[Array, "p classes"]
    steps: Int[Array, ""]
    products: Int[Array, ""]


@in_double
def fit_logistic(
    x: Float[Array, "n p"],
    targets: Float[Array, "n classes"],
    present: Bool[Array, " n"],
    penalty: Scalar,
    start: Float[Array, "p classes"],
    *,
    tolerance: float = 1e-5,
    max_steps: int = 1000,
) -> LogisticFit:
    r"""Multinomial logistic regression on the rows that are present.

    $$\min_W \sum_{i \in S} -\log \mathrm{softmax}(W^\top x_i)_{y_i}
    + \frac{\lambda}{2} \lVert W \rVert^2$$

    without a penalty on the intercepts, over the classes of the coalition only: others
    keep zero columns. It is scikit-learn's `LogisticRegression(C=1 / penalty)`; as
    there, where *one* column is fitted to two classes, their penalty counts twice (one
    column $w$ is the two columns $\pm w/2$).

    Each Newton direction comes from conjugate gradients, preconditioned by the
    diagonal of the Hessian. The length of a step follows from the bound
    $|\varphi'''| \le s\,\varphi''$ along it, $s$ being the widest range of a sample's
    change in logits: $\ln(1+s)/s$ always descends, tends to 1, and needs no search.

    Args:
      x: Inputs of a `Design`.
      targets: One-hot classes.
      present: Mask of the coalition's rows, $m$ of them.
      penalty: Multiplier $\lambda$, on the weights of the features as they were given.
      start: Weights of a similar coalition, or zeros.
      tolerance: Largest entry of the gradient of the objective over $m$ that passes.
        From the hundredth step on it is enough that the gradient for features of unit
        mean square is as small, as raw features of large scale make gradients large.
      max_steps: Newton steps at most.

    Returns:
      The weights, and whether they are the optimum's to the tolerance: look at
      `converged`.

    Raises:
      ValueError: If the shapes don't fit together.

    Example:
      >>> frame = design(np.array([[0.0], [1.0], [2.0], [3.0]]))
      >>> with jax.enable_x64(True):
      ...     fit = fit_logistic(
      ...         frame.x, jnp.eye(2)[jnp.array([0, 0, 1, 1])], jnp.ones(4, bool),
      ...         jnp.asarray(1.0), jnp.zeros((2, 2)),
      ...     )
      >>> bool(fit.converged), [round(w, 3) for w in fit.weights[0].tolist()]
      (True, [-0.479, 0.479])

    References:
      Sun and Tran-Dinh, *Generalized self-concordant functions*, 2019.
    """
    _check_shapes(x, targets, present, start)
    seen = present.astype(x.dtype)  # (n,)
    size = jnp.maximum(seen.sum(), 1.0)
    classes = (seen @ targets) > 0  # (classes,)
    penalty = jnp.where(classes.sum() == 2, 2.0, 1.0) * penalty
    ridge = (penalty * jnp.ones(x.shape[1]).at[-1].set(0.0))[:, None]  # (p, 1)
    targets = seen[:, None] * targets
    squares = x**2
    scale = jnp.sqrt(jnp.maximum(seen @ squares / size, 1.0))[:, None]  # (p, 1)

    def look(weights, logits, steps, products):
        shown = jnp.where(classes[None, :], logits, -jnp.inf)
        shown = jnp.where(classes.any(), shown, 0.0)
        probs = jax.nn.softmax(shown, axis=1) * seen[:, None]
        slope = x.T @ (probs - targets) + ridge * weights
        return _Newton(weights, logits, probs, slope, steps, products)

    def flat(at):
        level = jnp.max(jnp.abs(at.slope)) <= tolerance * size
        scaled = jnp.max(jnp.abs(at.slope / scale)) <= tolerance * size
        return level | (scaled & (at.steps >= _PATIENCE)) | (classes.sum() <= 1)

    def step(at):
        def curve(v):
            change = at.probs * (x @ v)
            return x.T @ (change - at.probs * change.sum(1, keepdims=True)) + ridge * v

        diagonal = squares.T @ (at.probs * (1 - at.probs)) + ridge + 1e-8
        direction, products = _conjugate_gradients(curve, -at.slope, diagonal)
        change = x @ direction
        # A direction sums to 0 over classes, so absent ones, at 0, widen nothing.
        spread = jnp.max(change, axis=1) - jnp.min(change, axis=1)
        s = jnp.max(spread * seen) + 1e-12
        length = jnp.log1p(s) / s
        weights = at.weights + length * direction
        logits = at.logits + length * change
        return look(weights, logits, at.steps + 1, at.products + products)

    zero = jnp.zeros((), jnp.int32)

    def goes_on(at):
        return ~flat(at) & (at.steps < max_steps)

    end = jax.lax.while_loop(goes_on, step, look(start, x @ start, zero, zero))
    gradient = jnp.max(jnp.abs(end.slope)) / size
    return LogisticFit(end.weights, gradient, end.steps, end.products, flat(end))


def _check_shapes(x, targets, present, start):
    arrays = {"x": x, "targets": targets, "present": present, "start": start}
    for name, array in arrays.items():
        check(
            hasattr(array, "ndim") and array.ndim == (1 if name == "present" else 2),
            f"{name} must be one array, x (rows, features), targets (rows, classes), "
            f"present (rows,), start (features, classes); got {type(array).__name__} "
            f"of shape {getattr(array, 'shape', None)}. See `design`.",
        )
    check(
        x.shape[0] == targets.shape[0] == present.shape[0]
        and start.shape == (x.shape[1], targets.shape[1]),
        "x, targets, present and start must fit together: (rows, features), (rows, "
        "classes), (rows,), (features, classes); got "
        f"{[array.shape for array in arrays.values()]}.",
    )


class _Conjugate(NamedTuple):
    solution: Array
    residual: Array
    scaled: Array
    direction: Array
    rho: Scalar
    count: Int[Array, ""]


def _conjugate_gradients(curve, target, diagonal, accuracy=0.3, most=100):
    """`curve(v) = target`, to a share of the residual that Newton's method needs."""
    goal = accuracy**2 * jnp.sum(target**2 / diagonal)

    def step(at):
        curved = curve(at.direction)
        length = at.rho / jnp.sum(at.direction * curved)
        residual = at.residual - length * curved
        scaled = residual / diagonal
        rho = jnp.sum(residual * scaled)
        return _Conjugate(
            at.solution + length * at.direction,
            residual,
            scaled,
            scaled + rho / at.rho * at.direction,
            rho,
            at.count + 1,
        )

    scaled = target / diagonal
    start = _Conjugate(
        jnp.zeros_like(target), target, scaled, scaled, jnp.sum(target * scaled),
        jnp.zeros((), jnp.int32),
    )  # fmt: skip

    def goes_on(at):
        return (at.rho > goal) & (at.count < most)

    end = jax.lax.while_loop(goes_on, step, start)
    return end.solution, end.count


@in_double
def fit_ridge(
    scatter: Float[Array, "p p"],
    cross: Float[Array, "p outputs"],
    penalty: Scalar,
) -> Float[Array, "p outputs"]:
    r"""Ridge regression from the coalition's sums of products.

    $$\min_W \lVert X_S W - Y_S \rVert^2 + \lambda \lVert W \rVert^2,$$

    scikit-learn's `Ridge(alpha=penalty)`. The last column of $X$ is the intercept's and
    isn't penalised; the model of the empty coalition is 0.

    Args:
      scatter: Products $X_S^\top X_S$.
      cross: Products $X_S^\top Y_S$.
      penalty: Multiplier $\lambda$, against the *sum* of squared errors.

    Returns:
      Weights, one column per output.

    Example:
      >>> x, y = jnp.array([[1.0, 1.0], [-1.0, 1.0]]), jnp.array([[3.0], [1.0]])
      >>> fit_ridge(x.T @ x, x.T @ y, jnp.asarray(2.0)).round(6).tolist()
      [[0.5], [2.0]]

    References:
      Hoerl and Kennard, *Ridge regression: biased estimation for nonorthogonal
      problems*, 1970.
    """
    is_empty = (scatter[-1, -1] == 0).astype(scatter.dtype)
    ridge = (penalty * jnp.ones(len(scatter))).at[-1].set(is_empty)
    factor = jnp.linalg.cholesky(scatter + jnp.diag(ridge))
    return jax.scipy.linalg.cho_solve((factor, True), cross)
