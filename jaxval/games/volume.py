r"""Volume and robust volume: how much of the feature space a coalition's rows span.

They look at neither targets nor validation data. Two variants of the robust volume
exist: the authors' ($\sqrt{\det}$, cubes from the coalition's own minimum) and the one
in DAVINZ's released code ($\det$). Both are computed by log-determinants, as 9,700 rows
in ten dimensions overflow single precision.

References:
  Xu et al., *Validation free and replication robust volume-based data valuation*,
  NeurIPS 2021.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int

from jaxval._checks import check, groups, positive, same_length
from jaxval._targets import numbers
from jaxval.coalitions.game import Game
from jaxval.execution.precision import float64, in_double
from jaxval.linalg import cholesky

__all__ = ["robust_volume", "standardise", "volume"]

Features = Float[Array, "n p"] | Float[np.ndarray, "n p"]
Owner = Int[Array, " n"] | Int[np.ndarray, " n"]


def standardise(features: Features) -> Float[np.ndarray, "n kept"]:
    """Columns of mean 0 and variance 1, constant ones dropped.

    Args:
      features: Features, one row per sample.

    Raises:
      ValueError: If they are no matrix, are all constant, or one is not finite.

    Example:
      >>> standardise(np.array([[1.0, 5.0], [3.0, 5.0]])).tolist()
      [[-1.0], [1.0]]
    """
    features = _matrix(features)
    scale = features.std(axis=0)
    kept = scale > 1e-12 * max(float(np.abs(features).max(initial=0.0)), 1e-300)
    check(bool(kept.any()), "features are all constant: they span no volume.")
    return (features[:, kept] - features[:, kept].mean(axis=0)) / scale[kept]


def _matrix(features: Features) -> Float[np.ndarray, "n p"]:
    features = numbers("features", features)
    check(
        features.ndim == 2 and features.shape[1] > 0,
        "features must be a matrix, one row per sample and one column per feature; got "
        f"shape {features.shape}. Give a single feature as features[:, None].",
    )
    return features


class _Volume(NamedTuple):
    squares: Float[Array, "owners p p"]
    jitter: Float[Array, ""]


def volume(features: Features, owner: Owner, *, jitter: float = 1e-8) -> Game:
    r"""$\tfrac12 \log\det(X_S^\top X_S + \epsilon I)$, less that of no rows.

    $X_S^\top X_S$ is a sum over the members, so a coalition costs one $p \times p$
    factorisation; the score is the difference to the empty coalition's.

    Args:
      features: Features, a few columns (`standardise` them first).
      owner: Owner of each row, 0 to K-1.
      jitter: Regulariser $\epsilon$, for coalitions of fewer rows than columns;
        positive.

    Raises:
      ValueError: If the features are no matrix, a number is not finite, the lengths
        differ, or an owner has no rows.

    Example:
      >>> game = volume(np.eye(2), np.array([0, 1]), jitter=1.0)
      >>> np.asarray(game.powerset_scores()).round(3)
      array([0.   , 0.347, 0.347, 0.693])

    References:
      Xu et al., NeurIPS 2021, section 3.
    """
    same_length(features=features, owner=owner)
    features, owner = _matrix(features), np.asarray(owner)
    positive("jitter", jitter)
    rows = [np.flatnonzero(owner == i) for i in range(groups("owner", owner))]
    squares = np.stack([features[r].T @ features[r] for r in rows])
    arrays = _Volume(float64(squares), float64(jitter))
    return Game(len(rows), Partial(_volume, arrays))


@in_double
def _volume(arrays, mask):
    total = jnp.tensordot(mask.astype(jnp.float64), arrays.squares, 1)
    return _half_log_det(total / arrays.jitter)


def _half_log_det(matrix):
    r"""$\tfrac12\log\det(I + M)$."""
    factor = cholesky(matrix + jnp.eye(len(matrix)))
    return jnp.sum(jnp.log(jnp.diagonal(factor)))


def robust_volume(
    features: Features,
    owner: Owner,
    *,
    omega: float = 0.1,
    released_davinz: bool = False,
) -> Game:
    r"""The logarithm of a volume that replication can't inflate.

    A coalition's rows are gathered in cubes of width $\omega$ from its own minimum;
    with $\tilde X$ the means of the cubes and $f$ their counts,

    $$\log RV = \tfrac12 \log(\det \tilde X^\top \tilde X + 10^{-8}) + \sum_c \log
    \frac{1 - \alpha^{f_c + 1}}{1 - \alpha}.$$

    The cubes depend on the coalition, so nothing is additive: scored on the host, one
    coalition at a time. The empty coalition scores $\tfrac12 \log 10^{-8}$.

    Args:
      features: Features, a few columns (`standardise` them first).
      owner: Owner of each row, 0 to K-1.
      omega: Width of the cubes, in the units of the features.
      released_davinz: Whether to take $\log\det$ instead of its half, and $\alpha$
        from this coalition's cubes only; the original takes $\alpha = 1/(10\,m)$ with
        $m$ the cubes of all single owners together.

    Raises:
      ValueError: As `volume`, and if the cubes are too small to be counted.

    Example:
      >>> once, twice = np.eye(2), np.concatenate([np.eye(2)] * 2)
      >>> robust = lambda x: robust_volume(x, np.arange(len(x)) % 2)
      >>> both = np.ones(2, bool)
      >>> grown = robust(twice).score(both) - robust(once).score(both)
      >>> bool(0 <= grown < 0.01)
      True

    References:
      Xu et al., NeurIPS 2021, section 4.
    """
    same_length(features=features, owner=owner)
    features, owner = _matrix(features), np.asarray(owner)
    positive("omega", omega)
    widest = float(np.ptp(features, axis=0).max(initial=0.0))
    check(
        widest / omega < 2**53,
        f"omega must not be so small against the features' range of {widest:.3g} that "
        f"cubes can't be counted; got {omega}. Standardise the features first.",
    )
    count = groups("owner", owner)
    cubes = [len(_cubes(features[owner == i], omega)[1]) for i in range(count)]

    def score(mask) -> Any:
        rows = features[np.asarray(mask)[owner]]
        if not len(rows):
            return float(np.log(1e-8) * (1.0 if released_davinz else 0.5))
        means, counts = _cubes(rows, omega)
        alpha = 1.0 / (10 * (len(means) if released_davinz else sum(cubes)))
        growth = np.log1p(-(alpha ** (counts + 1))) - np.log1p(-alpha)
        sign, log_det = np.linalg.slogdet(means.T @ means)
        log_det = np.logaddexp(log_det if sign > 0 else -np.inf, np.log(1e-8))
        return float(log_det * (1.0 if released_davinz else 0.5) + growth.sum())

    return Game(count, score, on_host=True)


def _cubes(rows, omega):
    """Means and counts of the occupied cubes, from the rows' own minimum."""
    place = np.floor((rows - rows.min(axis=0)) / omega).astype(np.int64)
    _, cube, counts = np.unique(place, axis=0, return_inverse=True, return_counts=True)
    means = np.zeros((len(counts), rows.shape[1]))
    np.add.at(means, cube.reshape(-1), rows)
    return means / counts[:, None], counts
