"""The compiled part of influence functions: products with the Hessian, and a solve."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxval.attribution.solvers import InverseFn
from jaxval.training.losses import LossFn, mean_metric
from jaxval.types import ApplyFn

__all__ = ["Problem", "all_rows", "each_query"]


@dataclasses.dataclass(frozen=True)
class Problem:
    """Settings: equal ones are one compiled program."""

    apply_fn: ApplyFn
    loss: LossFn
    solve: InverseFn
    batch_size: int

    def mean_loss(self, unravel, flat, x, y):
        """The mean loss at flat parameters."""
        return mean_metric(self.loss, self.apply_fn(unravel(flat), x), y)

    def solved(self, params, target, x, y, shift):
        """Influences `(n,)` on what has the gradient `target`, and the residual."""
        flat, unravel = ravel_pytree(params)
        loss = functools.partial(self.mean_loss, unravel)

        def product(vector):
            _, change = jax.jvp(lambda p: jax.grad(loss)(p, x, y), (flat,), (vector,))
            return change + shift * vector

        def own(row):
            xi, yi = row
            return jax.grad(loss)(flat, xi[None], yi[None]) @ direction

        direction = self.solve(product, target)
        residual = jnp.linalg.norm(product(direction) - target)
        scale = jnp.linalg.norm(target)
        values = jax.lax.map(own, (x, y), batch_size=self.batch_size) / len(x)
        residual = residual / jnp.where(scale > 0, scale, 1)
        return values, jnp.where(scale > 0, residual, 0.0)


# The data are arguments: XLA would fold constants of their size for minutes.
@functools.partial(jax.jit, static_argnums=0)
def all_rows(problem: Problem, params, x, y, x_valid, y_valid, shift):
    """Influences `(n,)` on the mean validation loss, and the residual."""
    flat, unravel = ravel_pytree(params)
    target = jax.grad(functools.partial(problem.mean_loss, unravel))(
        flat, x_valid, y_valid
    )
    return problem.solved(params, target, x, y, shift)


@functools.partial(jax.jit, static_argnums=0)
def each_query(problem: Problem, params, x, y, x_valid, y_valid, shift):
    """Influences `(queries, n)` on each validation row's loss, and the residuals."""
    flat, unravel = ravel_pytree(params)
    gradient = jax.grad(functools.partial(problem.mean_loss, unravel))

    def one(query):
        target = gradient(flat, query[0][None], query[1][None])
        return problem.solved(params, target, x, y, shift)

    return jax.lax.map(one, (x_valid, y_valid))
