"""Closed forms of nearest-neighbour Shapley values, for each validation row.

Arrays are `(validation rows, training rows)`, the nearest training row first. In all
three, exchanging neighbours $i$ and $i + 1$ changes the utility only of coalitions with
fewer than $k$ members nearer than both. Let every other point join with probability
$U$, uniform on (0, 1): this is the Shapley weighting, and under it the number of
members among $m$ given points is uniform on 0 to $m$.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["classification", "regression", "soft"]


def classification(
    match: Float[Array, "v n"], y_valid: Float[Array, " v"], k: int
) -> Float[Array, "v n"]:
    r"""$\phi_{(i)} - \phi_{(i+1)} = (m_{(i)} - m_{(i+1)}) \min(k, i) / ik$.

    Args:
      match: Whether each point's class is the validation row's.
      y_valid: Unused; the signature is that of `regression`.
      k: Neighbours that vote.

    Example:
      >>> classification(jnp.array([[0.0, 1.0]]), jnp.zeros(1), 1).tolist()
      [[-0.5, 0.5]]
    """
    del y_valid
    n = match.shape[1]
    place = jnp.arange(1, n)
    steps = (match[:, :-1] - match[:, 1:]) / k * (jnp.minimum(k, place) / place)[None]
    return _sum_from_farthest(steps, match[:, -1] * min(k, n) / (n * k))


def soft(
    match: Float[Array, "v n"], y_valid: Float[Array, " v"], k: int
) -> Float[Array, "v n"]:
    """Values where the votes are divided by their number, which may be under `k`.

    Args:
      match: Whether each point's class is the validation row's.
      y_valid: Unused; the signature is that of `regression`.
      k: Neighbours that vote.

    Example:
      >>> soft(jnp.array([[0.0, 1.0]]), jnp.zeros(1), 1).tolist()
      [[-0.5, 0.5]]
    """
    del y_valid
    n = match.shape[1]
    if n == 1:
        return match
    place, others = jnp.arange(1, n), min(k, n - 1)
    crowded = (jnp.minimum(k, place) / place * (n - 1) - others) / k
    weight = (_harmonic(others) + crowded) / (n - 1)  # (n - 1,)
    steps = (match[:, :-1] - match[:, 1:]) * weight[None]
    farthest, mean_match = match[:, -1], jnp.mean(match[:, :-1], axis=1)
    last = (farthest + (farthest - mean_match) * (_harmonic(min(k, n)) - 1.0)) / n
    return _sum_from_farthest(steps, last)


def regression(
    target: Float[Array, "v n"], y: Float[Array, " v"], k: int
) -> Float[Array, "v n"]:
    """Values where the score is minus the squared error of the neighbours' mean.

    Args:
      target: Target of each point.
      y: Target of each validation row.
      k: Neighbours whose targets are averaged.

    Example:
      >>> regression(jnp.array([[1.0, 0.0]]), jnp.ones(1), 1).tolist()
      [[1.0, 0.0]]
    """
    n = target.shape[1]
    i = jnp.arange(1, n)
    chance = jnp.minimum(k, i) / i  # that under k of the i - 1 nearer points joined
    nearer, farther = _nearer_weights(i, k), _farther_weights(n, k)
    # Sums of targets over the points nearer than i, and over those beyond i + 1.
    before = jnp.cumsum(target, axis=1)[:, :-1] - target[:, :-1]
    beyond = jnp.cumsum((target * farther[None])[:, ::-1], axis=1)[:, ::-1]
    beyond = jnp.pad(beyond[:, 2:], ((0, 0), (0, 1)))
    this, following = target[:, :-1], target[:, 1:]
    inner = (this + following) / k * chance[None] - 2.0 * y[:, None] * chance[None]
    inner += 2.0 / k * (before * nearer[None] + beyond)
    last, j = target[:, -1], min(k, n) - 1
    # What the farthest point meets: itself, and the mean of those that joined.
    company = jnp.sum(target[:, :-1], axis=1) / max(n - 1, 1) * j * (j + 1) / (2 * n)
    alone = (last / k - 2.0 * y) * min(k, n) / n
    return _sum_from_farthest(
        -(this - following) / k * inner, -last / k * (alone + 2.0 / k * company)
    )


def _nearer_weights(i, k):
    """Chance that a given point nearer than i is a member, with under k such."""
    j = jnp.minimum(k, i) - 1
    return j * (j + 1) / jnp.maximum(2 * i * (i - 1), 1)


def _farther_weights(n, k):
    """Chance that the l-th point is among the k - 1 nearest of the other members."""
    l = jnp.arange(1, n + 1)
    j = jnp.maximum(jnp.minimum(k - 1, l - 2), 0)
    return j * (j + 1) / jnp.maximum(2 * (l - 2) * (l - 1), 1)


def _harmonic(m):
    return jnp.sum(1.0 / jnp.arange(1, m + 1))


def _sum_from_farthest(steps, last):
    steps = jnp.concatenate([steps, last[:, None]], axis=1)
    return jnp.cumsum(steps[:, ::-1], axis=1)[:, ::-1]
