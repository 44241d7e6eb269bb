"""The numerics of `utilities`: fits to $S$ and to $S + z$, for one drawn $S$."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Float, Int

from jaxval.linear_models import fit_logistic
from jaxval.training.losses import MetricFn, accuracy, mean_metric

__all__ = ["LogisticArrays", "RidgeArrays", "logistic_scores", "ridge_scores"]


class LogisticArrays(NamedTuple):
    """Inputs in one frame, one-hot classes, and what to score with."""

    x_pool: Float[Array, "pool p"]
    y_pool: Float[Array, "pool classes"]
    x: Float[Array, "n p"]
    y: Float[Array, "n classes"]
    x_valid: Float[Array, "v p"]
    y_valid: Int[Array, " v"]
    penalty: Float[Array, ""]


def logistic_scores(
    tolerance: float,
    batch_size: int | None,
    arrays: LogisticArrays,
    rows: Int[Array, " most"],
    size: Int[Array, ""],
) -> Float[Array, " scores"]:
    """Fit $S$ from zero and each $S + z$ from there."""
    last = len(rows)
    # One more row than can be drawn, for the point that joins.
    x = jnp.concatenate([arrays.x_pool[rows], jnp.zeros((1, arrays.x.shape[1]))])
    y = jnp.concatenate([arrays.y_pool[rows], jnp.zeros((1, arrays.y.shape[1]))])
    present = jnp.arange(last + 1) < size
    classes = jnp.arange(y.shape[1])
    shares = _share(arrays.y_valid[:, None] == classes[None, :])
    solve = functools.partial(fit_logistic, tolerance=tolerance)
    base = solve(x, y, present, arrays.penalty, jnp.zeros((x.shape[1], y.shape[1])))

    def score(fit, targets, there):
        seen = jnp.any((targets > 0) & there[:, None], axis=0)
        logits = jnp.where(seen[None, :], arrays.x_valid @ fit.weights, -jnp.inf)
        right = mean_metric(accuracy, logits, arrays.y_valid)
        # A fit that stopped short of its optimum must not pass for one.
        right = jnp.where(fit.converged, right, jnp.nan)
        return jnp.where(seen.any(), right, shares.max())

    def joined(point):
        x_z, y_z = x.at[last].set(point[0]), y.at[last].set(point[1])
        there = present.at[last].set(True)
        fit = solve(x_z, y_z, there, arrays.penalty, base.weights)
        return score(fit, y_z, there)

    each = jax.lax.map(joined, (arrays.x, arrays.y), batch_size=batch_size)
    return jnp.concatenate([score(base, y, present)[None], each])


def _share(hits):
    # The mean of truth values would be in single precision.
    return jnp.mean(hits.astype(jnp.float64), axis=0)


class RidgeArrays(NamedTuple):
    """Features, targets, and what to score with."""

    x_pool: Float[Array, "pool p"]
    y_pool: Float[Array, "pool k"]
    x: Float[Array, "n p"]
    y: Float[Array, "n k"]
    x_valid: Float[Array, "v p"]
    y_valid: Float[Array, "v k"]
    penalty: Float[Array, ""]


def ridge_scores(
    metric: MetricFn,
    arrays: RidgeArrays,
    rows: Int[Array, " most"],
    size: Int[Array, ""],
) -> Float[Array, " scores"]:
    """Solve for $S$ and add each point by a rank-one update."""
    there = (jnp.arange(len(rows)) < size)[:, None]
    x, y = arrays.x_pool[rows] * there, arrays.y_pool[rows] * there
    gram = x.T @ x + arrays.penalty * jnp.eye(x.shape[1])
    factor = (jnp.linalg.cholesky(gram), True)
    weights = cho_solve(factor, x.T @ y)
    turned = cho_solve(factor, arrays.x.T)
    leverage = 1.0 + jnp.sum(arrays.x.T * turned, axis=0)
    miss = (arrays.y - arrays.x @ weights) / leverage[:, None]
    base, reach = arrays.x_valid @ weights, arrays.x_valid @ turned

    def score(outputs):
        return mean_metric(metric, outputs, arrays.y_valid)

    each = jax.vmap(lambda r, m: score(base + r[:, None] * m[None, :]))(reach.T, miss)
    return jnp.concatenate([score(base)[None], each])
