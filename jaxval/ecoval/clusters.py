r"""Clusters of similar points: Algorithm 1, lines 4 to 6.

A *clustering* is a function from embeddings to cluster numbers and the centroids. Ours
is scikit-learn's Gaussian mixture with the paper's parameters; any function will do.
"""

import dataclasses
import warnings
from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, Num
from sklearn import exceptions, mixture

from jaxval._checks import check, finite, positive
from jaxval.ecoval.components import sklearn_seed
from jaxval.types import PRNGKey

__all__ = [
    "Clustering",
    "Mixture",
    "centroids",
    "distances",
    "gaussian_mixture",
    "given",
    "spread",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixture:
    """Parameters of the mixture; the defaults are the paper's (section 5).

    Attributes:
      num_clusters: Number of components. Fewer are fitted to fewer points.
      covariance: Kind of covariance, `"full"`, `"tied"`, `"diag"` or `"spherical"` as
        in scikit-learn. A full covariance in many dimensions fits little but the
        regulariser; reduce them first (`principal_components`).
      tolerance: Gain in log-likelihood below which the fit ends.
      regulariser: Number added to the diagonals of the covariances.
      max_steps: Steps of expectation-maximisation, at most.
      num_starts: Number of starts, of which the best is taken.
    """

    num_clusters: int = 30
    covariance: Literal["full", "tied", "diag", "spherical"] = "full"
    tolerance: float = 1e-3
    regulariser: float = 1e-6
    max_steps: int = 100
    num_starts: int = 1

    def __post_init__(self):
        """Validates the settings eagerly."""
        for name in ("num_clusters", "max_steps", "num_starts"):
            number = getattr(self, name)
            check(number >= 1, f"Mixture.{name} must be at least 1; got {number}.")
        for name in ("tolerance", "regulariser"):
            positive(f"Mixture.{name}", getattr(self, name), zero=True)
        kinds = ("full", "tied", "diag", "spherical")
        check(
            self.covariance in kinds,
            f"Mixture.covariance must be one of {kinds}; got {self.covariance!r}.",
        )

    def parameters(self, dims: int) -> int:
        """Numbers that each component is fitted with: mean, covariance and weight.

        A component with fewer points than these is fitted to its regulariser.

        Args:
          dims: Dimensions of the embeddings.

        Example:
          >>> Mixture().parameters(16), Mixture(covariance="diag").parameters(16)
          (153, 33)
        """
        triangle = dims * (dims + 1) // 2
        shape = {
            "full": triangle,
            "tied": -(-triangle // self.num_clusters),
            "diag": dims,
            "spherical": 1,
        }
        return 1 + dims + shape[self.covariance]


@dataclasses.dataclass(frozen=True)
class Clustering:
    """Where each point belongs.

    Attributes:
      assign: Function from embeddings to cluster numbers, 0 to `num_clusters` - 1.
      centroids: Mean of the points that each cluster was fitted on, one per row.
      converged: Whether the fit met its tolerance.
      parameters: Numbers that each cluster was fitted with; 0 if nothing was fitted.
      scale: Root mean square distance of the embeddings from their mean: distances to
        centroids below a billionth of it are rounding errors and count as 0.
    """

    assign: Callable[[Num[np.ndarray, "n d"]], Int[np.ndarray, " n"]]
    centroids: Float[np.ndarray, "clusters d"]
    converged: bool = True
    parameters: int = 0
    scale: float = 0.0

    @property
    def num_clusters(self) -> int:
        """C, clusters without any member included."""
        return len(self.centroids)


def gaussian_mixture(
    key: PRNGKey, embeddings: Num[np.ndarray, "n d"], settings: Mixture = Mixture()
) -> Clustering:
    """Fit a Gaussian mixture; each point belongs to its most probable component.

    Args:
      key: PRNG key of the k-means that the fit starts from.
      embeddings: Available points, B and the rest of the distribution, one per row.
      settings: Parameters of the mixture; the paper's when left out.

    Raises:
      ValueError: with fewer than 2 points, with non-finite ones, or where a component
        shrinks to nothing at the scale of the points.

    References:
      Tarun et al., *EcoVal*, KDD 2024, Algorithm 1, lines 4 to 6, and section 5.

    Example:
      >>> x = np.array([[0.0], [0.1], [5.0], [5.1]])
      >>> two = Mixture(num_clusters=2)
      >>> c = gaussian_mixture(jax.random.key(0), x, two).assign(x)
      >>> bool(c[0] == c[1]), bool(c[1] == c[2])
      (True, False)
    """
    x = np.asarray(embeddings, np.float64)
    finite("embeddings", x)
    check(len(x) >= 2, f"clusters need at least 2 points; got {len(x)}.")
    clusters = min(settings.num_clusters, len(np.unique(x, axis=0)))
    model = mixture.GaussianMixture(
        clusters,
        covariance_type=settings.covariance,
        tol=settings.tolerance,
        reg_covar=settings.regulariser,
        max_iter=settings.max_steps,
        n_init=settings.num_starts,
        init_params="kmeans",
        random_state=sklearn_seed(key),
    )
    with warnings.catch_warnings():
        # Said in the result instead.
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
        try:
            model.fit(x)
        except ValueError as error:
            raise ValueError(
                f"the mixture of {clusters} components can't be fitted to embeddings "
                f"of {x.shape[1]} dimensions and spread {spread(x):.1g}: a covariance "
                "is singular. Scale them to a spread of about 1, or raise "
                f"Mixture.regulariser ({settings.regulariser:g})."
            ) from error
    assign = _MostProbable(model)
    middle = centroids(x, assign(x), clusters, np.asarray(model.means_))
    return Clustering(
        assign,
        middle,
        bool(model.converged_),
        settings.parameters(x.shape[1]),
        spread(x),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _MostProbable:
    """The component that a point most probably comes from.

    Attributes:
      model: Fitted mixture of scikit-learn.
    """

    model: mixture.GaussianMixture

    def __call__(self, points: Num[np.ndarray, "n d"]) -> Int[np.ndarray, " n"]:
        """Number of the component of each row."""
        return self.model.predict(np.asarray(points, np.float64))


def given(
    assign: Callable[[Num[np.ndarray, "n d"]], Int[np.ndarray, " n"]],
    embeddings: Num[np.ndarray, "n d"],
    num_clusters: int,
) -> Clustering:
    """A clustering by your own function, with the means of `embeddings` as centroids.

    Args:
      assign: Function from embeddings to cluster numbers.
      embeddings: Available points, one per row.
      num_clusters: One more than the largest number that `assign` gives.

    Example:
      >>> x = np.array([[-2.0], [-1.0], [4.0]])
      >>> given(lambda x: (x[:, 0] > 0).astype(int), x, 2).centroids.tolist()
      [[-1.5], [4.0]]
    """
    x = np.asarray(embeddings, np.float64)
    middle = centroids(x, assign(x), num_clusters)
    return Clustering(assign, middle, scale=spread(x))


def spread(embeddings: Float[np.ndarray, "n d"]) -> float:
    """Root mean square distance from the mean.

    Args:
      embeddings: Points, one per row.

    Example:
      >>> spread(np.array([[1.0], [3.0]]))
      1.0
    """
    away = embeddings - embeddings.mean(0)
    return float(np.sqrt(np.mean(np.sum(away**2, axis=1))))


def centroids(
    embeddings: Float[np.ndarray, "n d"],
    cluster: Int[np.ndarray, " n"],
    num_clusters: int,
    otherwise: Float[np.ndarray, "clusters d"] | None = None,
) -> Float[np.ndarray, "{num_clusters} d"]:
    """The mean of each cluster's points; of `otherwise` (or 0) where it has none.

    Args:
      embeddings: Points, one per row.
      cluster: Cluster of each point.
      num_clusters: Number of clusters, C.
      otherwise: Centroids of clusters without points.

    Example:
      >>> centroids(np.array([[1.0], [3.0]]), np.array([0, 0]), 2).tolist()
      [[2.0], [0.0]]
    """
    size = np.bincount(cluster, minlength=num_clusters)[:, None]
    total = np.zeros((num_clusters, embeddings.shape[1]))
    np.add.at(total, cluster, embeddings)
    fallback = np.zeros_like(total) if otherwise is None else otherwise
    return np.where(size > 0, total / np.maximum(size, 1), fallback)


_ROUNDING = 1e-9
"""Share of the embeddings' spread below which a distance is a rounding error."""


def distances(
    embeddings: Num[np.ndarray, "n d"], clustering: Clustering
) -> Float[np.ndarray, " n"]:
    r"""$d_i$, the Euclidean distance of each point to its cluster's centroid.

    Identical points lie off their mean by rounding errors. These would make a sum of
    distances that is not zero and means nothing, so they are set to 0.

    Args:
      embeddings: Points, one per row.
      clustering: Clustering with its centroids.

    References:
      Tarun et al., *EcoVal*, KDD 2024, Algorithm 1, lines 21 and 22.

    Example:
      >>> one = Clustering(lambda x: np.zeros(len(x), int), np.zeros((1, 2)))
      >>> distances(np.array([[3.0, 4.0]]), one).tolist()
      [5.0]
    """
    x = np.asarray(embeddings, np.float64)
    d = np.linalg.norm(x - clustering.centroids[clustering.assign(x)], axis=1)
    return np.where(d > _ROUNDING * clustering.scale, d, 0.0)
