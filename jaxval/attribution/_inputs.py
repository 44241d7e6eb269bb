"""What influence functions are asked about: checked, and read as arrays."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxval._checks import check, finite, positive, same_features, train_and_valid
from jaxval._targets import class_targets
from jaxval.attribution.hessian import Problem
from jaxval.attribution.solvers import conjugate_gradient
from jaxval.training.losses import cross_entropy
from jaxval.types import Dataset, Points

_DIVERGED = 10.0
"""Share of the gradient left, from which it is an error: zero would do better."""


def read_problem(
    apply_fn, params, loss, data, valid, damping, inverse, penalty, batch_size
):
    """The compiled problem, and the arrays that it is asked about."""
    positive("damping", damping, zero=True)
    positive("penalty", penalty, zero=True)
    check(batch_size >= 1, f"batch_size must be at least 1; got {batch_size}.")
    data, valid = _checked(apply_fn, params, loss, data, valid)
    solve = conjugate_gradient() if inverse is None else inverse
    rows = map(jnp.asarray, (data.x, data.y, valid.x, valid.y))
    problem = Problem(apply_fn, loss, solve, batch_size)
    return problem, (*rows, jnp.asarray(penalty + damping))


def check_solved(values, residual):
    """Raise unless the values are finite and the solver came closer to a solution."""
    check(
        bool(np.isfinite(values).all() and residual < _DIVERGED),
        "influence functions diverged: the solver ended further from a solution than "
        f"it began (relative residual {residual:.2g}). Raise damping, or the scale of "
        "lissa.",
    )


def _checked(apply_fn, params, loss, data, valid) -> tuple[Dataset, Points]:
    """The data, with class numbers where the loss wants classes."""
    train_and_valid(data, valid)
    for leaf in jax.tree.leaves(params):
        finite("params", leaf)
    outputs = jax.eval_shape(apply_fn, params, jnp.asarray(valid.x[:1])).shape[1]
    targets = {"data.y": data.y, "valid.y": valid.y}
    if loss is cross_entropy:
        (y, y_valid), _ = class_targets(outputs, **targets)
        return data._replace(y=y), valid._replace(y=y_valid)
    same_features(**targets)
    for name, labels in targets.items():
        labels = np.asarray(labels)
        # Whole numbers for several outputs are classes, which nothing else would check.
        if outputs < 2 or labels.ndim > 1 or labels.dtype.kind not in "iu":
            continue
        check(
            bool(labels.min() >= 0 and labels.max() < outputs),
            f"{name} must hold class numbers 0 to {outputs - 1}, one for each output "
            f"of the network; got {labels.min()} to {labels.max()}.",
        )
    return data, valid
