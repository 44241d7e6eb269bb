"""Embeddings by principal components, and seeds for scikit-learn."""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Float, Num
from sklearn import decomposition

from jaxval._checks import check, finite
from jaxval.types import PRNGKey

__all__ = ["Embedding", "principal_components", "sklearn_seed"]

Embedding = Callable[[Num[np.ndarray, "n ..."]], Float[np.ndarray, "n d"]]
"""Rows to vectors in which near points are alike: $E(x)$."""


def principal_components(
    key: PRNGKey, x: Num[np.ndarray, "n ..."], num_components: int
) -> Embedding:
    """The embedding by the leading principal components of `x`, rows flattened.

    Args:
      key: PRNG key of the randomised solver.
      x: Rows to fit on; not those to be valued, where that matters.
      num_components: Number of dimensions; fewer with fewer rows or columns.

    Raises:
      ValueError: with less than 1 component, or where `x` is empty or not finite.

    Example:
      >>> x = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
      >>> embed = principal_components(jax.random.key(0), x, 1)
      >>> np.abs(embed(x)).round(3).ravel().tolist()
      [1.414, 0.0, 1.414]
    """
    check(num_components >= 1, f"num_components must be >= 1; got {num_components}.")
    check(len(x) > 0, "x is empty: there are no components to find.")
    rows = _flat(x)
    finite("x", rows)
    count = min(num_components, *rows.shape)
    model = decomposition.PCA(count, random_state=sklearn_seed(key))
    return _Components(model.fit(rows))


def sklearn_seed(key: PRNGKey) -> int:
    """A seed for scikit-learn's generators.

    Args:
      key: PRNG key that decides it.
    """
    return int(jax.random.randint(key, (), 0, 2**31 - 1))


@dataclasses.dataclass(frozen=True, eq=False)
class _Components:
    """Rows to their principal components.

    Attributes:
      model: Fitted PCA of scikit-learn.
    """

    model: decomposition.PCA

    def __call__(self, x: Num[np.ndarray, "n ..."]) -> Float[np.ndarray, "n d"]:
        """Components of each row, flattened."""
        return self.model.transform(_flat(x))


def _flat(rows: Num[np.ndarray, "n ..."]) -> Float[np.ndarray, "n p"]:
    return np.asarray(rows, np.float64).reshape(len(rows), -1)
