"""The baseline that every valuation must beat: how many rows a coalition has."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jaxval._targets import owners
from jaxval.coalitions.game import Game
from jaxval.execution.precision import float64, in_double
from jaxval.linalg import additive_table

__all__ = ["log_size", "size"]


def size(owner: Any) -> Game:
    """The number of rows; every semi-value of an owner is its number of rows.

    Args:
      owner: Owner of each row, 0 to K-1.

    Example:
      >>> size(np.array([0, 1, 1])).powerset_scores().tolist()
      [0.0, 1.0, 2.0, 3.0]
    """
    sizes = float64(np.bincount(owners("owner", owner)))
    return Game(
        len(sizes), Partial(_size, sizes), fast_powerset=Partial(additive_table, sizes)
    )


def log_size(owner: Any) -> Game:
    r"""$\log(1 + m_S)$: each row is worth less the more there are.

    Args:
      owner: Owner of each row, 0 to K-1.

    Example:
      >>> np.asarray(log_size(np.array([0])).powerset_scores()).round(3)
      array([0.   , 0.693])
    """
    sizes = float64(np.bincount(owners("owner", owner)))
    return Game(len(sizes), Partial(_log_size, sizes))


@in_double
def _size(sizes, mask):
    return mask.astype(jnp.float64) @ sizes


@in_double
def _log_size(sizes, mask):
    return jnp.log1p(mask.astype(jnp.float64) @ sizes)
