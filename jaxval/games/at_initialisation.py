"""Games of a network that was never trained: from network and data to a game.

A network is whatever `models.as_network` takes: a Flax module, or two functions.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Num

from jaxval import models
from jaxval._checks import check, same_length
from jaxval._targets import class_targets, numbers, owners, real_targets
from jaxval.coalitions.game import Game
from jaxval.execution.options import Execution
from jaxval.games import davinz as _davinz
from jaxval.games import kernel_regression as regression
from jaxval.games.complexity import complexity_of_forms
from jaxval.games.davinz import Davinz
from jaxval.kernels import readouts, tangent
from jaxval.kernels.approximations import blocks
from jaxval.kernels.mmd import KernelSums, kernel_sums, rbf_ladder
from jaxval.kernels.pairwise import median_distance
from jaxval.models import Network
from jaxval.training.losses import accuracy
from jaxval.types import AnyArray, Dataset, Points, PRNGKey

__all__ = [
    "Untrained",
    "davinz",
    "davinz_game",
    "davinz_of_forms",
    "draw",
    "is_classes",
    "kernel_regression_game",
    "owner_forms",
    "similarity",
]


class Untrained(NamedTuple):
    r"""One initialisation of a network, looked at through the data.

    Attributes:
      gram: Gram matrix of the tangent kernel.
      residual: What the network still has to learn.
    """

    gram: Float[Array, "n n"]
    residual: Float[np.ndarray, " n"] | Float[np.ndarray, "n outputs"]


def is_classes(y: Any) -> bool:
    """Whether targets are classes: integers, booleans or labels as text.

    Args:
      y: Targets, one per row.

    Example:
      >>> is_classes(np.array([0, 1])), is_classes(np.array([0.5, 1.0]))
      (True, False)
    """
    array = np.asarray(y)
    if array.dtype.kind == "O":
        return all(isinstance(each, str | bool | int) for each in array.ravel())
    return array.dtype.kind in "biuUT"


def davinz(
    key: PRNGKey,
    network: Network | Any,
    data: Dataset,
    valid: Points,
    *,
    zeta: float = 1e-3,
) -> Davinz:
    r"""DAVINZ of a network and data: the game, its two parts and $\kappa$.

    Classes are read through the logit of their class, as in DAVINZ's released code,
    and real targets through the only output, as in the paper; $\kappa$ is Eq. 4's, the
    bandwidths a ladder around the median distance, and the score of the empty coalition
    the mean of single owners. Every other choice: `games.davinz.from_settings`.

    Args:
      key: PRNG key for the initial parameters.
      network: Network, or what `models.as_network` turns into one.
      data: Inputs, targets and owners of the rows to be valued.
      valid: Target sample, of which the inputs alone are used.
      zeta: Regulariser, relative to the mean diagonal of the kernel.

    Raises:
      ValueError: If lengths differ, targets don't fit the network's outputs, or an
        array is not finite.

    Example:
      >>> x, y = np.eye(4, dtype=np.float32), np.array([0, 1, 0, 1])
      >>> data = Dataset(x, y, np.array([0, 0, 1, 1]))
      >>> parts = davinz(jax.random.key(0), models.mlp([8], 2), data, Points(x, y))
      >>> parts.game.num_players
      2

    References:
      Wu, Shu and Low, *DAVINZ: Data Valuation using Deep Neural Networks at
      Initialization*, ICML 2022.
    """
    data = _read(data)
    sums = similarity(data, numbers("valid.x", valid.x))
    return davinz_game(draw(key, network, data), sums, data, zeta=zeta)


def _read(data: Dataset) -> Dataset:
    """Inputs, targets and owners as arrays."""
    x = numbers("data.x", data.x).astype(np.float32)
    check(x.ndim > 1, f"data.x must have one row per sample; got shape {x.shape}.")
    owner = owners("data.owner", data.owner, num_rows=len(x))
    if is_classes(data.y):
        (y,), _ = class_targets(**{"data.y": data.y})
    else:
        (y,) = real_targets(**{"data.y": data.y})
    same_length(**{"data.x": x, "data.y": y})
    return Dataset(x, y, owner)


def draw(
    key: PRNGKey,
    network: Network | Any,
    data: Dataset,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Untrained:
    """Initialise a network and take its tangent kernel and residual.

    Classes are read through their own logit, as in DAVINZ's released code, and real
    targets through the only output, as in the paper.

    Args:
      key: PRNG key for the initial parameters.
      network: Network, or what `models.as_network` turns into one.
      data: Inputs, targets and owners of the rows to be valued.
      progress: Called with (tiles done, tiles in all).
    """
    network = models.as_network(network)
    params = network.init(key, data.x)
    classes = is_classes(data.y)
    # First, since it refuses classes that the network has no output for.
    residual = _residual(network, params, data)
    gram = tangent.gram(
        network.apply,
        params,
        Points(data.x, data.y) if classes else data.x,
        readout=readouts.true_class_logit if classes else readouts.single_output,
        execution=Execution(progress=progress),
    )
    return Untrained(gram, residual)


def _residual(network, params, data):
    outputs = jax.jit(network.apply)(params, data.x)
    target = "true_class_logit" if is_classes(data.y) else "difference"
    return _davinz.residual(outputs, data.y, target)


def similarity(
    data: Dataset, x_valid: Num[AnyArray, "m ..."], **options: Any
) -> KernelSums:
    """Kernel sums under a ladder of bandwidths around the median distance.

    Args:
      data: Inputs and owners of the rows to be valued.
      x_valid: Inputs of the target sample.
      **options: Options of `kernels.mmd.kernel_sums`.
    """
    kernel = rbf_ladder(median_distance(data.x, x_valid))
    return kernel_sums(data.x, data.owner, x_valid, kernel, **options)


def davinz_game(
    network: Untrained, sums: KernelSums, data: Dataset, *, zeta: float
) -> Davinz:
    r"""DAVINZ's game, with $\kappa$ of Eq. 4 and a zero that means something.

    The paper leaves $\nu(\emptyset)$ open. Here it is the mean score of single owners,
    so that Shapley values add up to what pooling the data gains over the average
    owner's own. Any other choice shifts all values by one constant.

    Args:
      network: Kernel and residual of one initialisation; see `draw`.
      sums: Kernel sums of owners and target; see `similarity`.
      data: Inputs, targets and owners of the rows to be valued.
      zeta: Regulariser, relative to the mean diagonal of the kernel.
    """
    # Single owners are all that kappa asks about, and aligned blocks know them exactly.
    part = (network.gram, network.residual, data.owner)
    options: Any = {"zeta": zeta, "relative": True}
    alone = _davinz.complexity(*part, block=data.owner, **options)
    kappa = _davinz.kappa_of_singletons(alone, _davinz.discrepancy(sums))
    empty = _mean_of_singles(alone)
    complexity = _davinz.complexity(*part, empty_score=empty, **options)
    return _davinz.davinz(complexity, _discrepancy(sums), kappa=kappa)


def owner_forms(
    key: PRNGKey,
    network: Network | Any,
    data: Dataset,
    *,
    zeta: float,
    max_rows: int,
    progress: Callable[[int, int], None] | None = None,
) -> Float[np.ndarray, " owners"]:
    r"""$\hat y_i^\top H_{ii}^{-1} \hat y_i$ of each owner, in blocks (appendix B).

    Args:
      key: PRNG key for the initial parameters.
      network: Network, or what `models.as_network` turns into one.
      data: Inputs, targets and owners of the rows to be valued.
      zeta: Regulariser, relative to the mean diagonal of the kernel.
      max_rows: Rows of a block; an owner with more has several.
      progress: Called with (blocks done, blocks in all).
    """
    network = models.as_network(network)
    params = network.init(key, data.x)
    classes = is_classes(data.y)
    residual = _residual(network, params, data)
    x, y = np.asarray(data.x), np.asarray(data.y)
    readout = readouts.true_class_logit if classes else readouts.single_output
    blocking = blocks.aligned(data.owner, max_rows)
    done = itertools.count(1)

    def gram(rows):
        points = Points(x[rows], y[rows]) if classes else x[rows]
        part = tangent.gram(network.apply, params, points, readout=readout)
        if progress is not None:
            progress(next(done), len(blocking))
        return part

    grams = blocks.block_diagonal_gram(gram, blocking)
    diagonal = [np.trace(np.asarray(g), axis1=1, axis2=2).sum() for g in grams.grams]
    zeta = zeta * float(sum(diagonal)) / len(x)
    return blocks.owner_quadratic_forms(grams, residual.reshape(-1), zeta, data.owner)


def davinz_of_forms(forms: Float[np.ndarray, " owners"], sums: KernelSums) -> Davinz:
    """DAVINZ's game where every owner's form is known by itself (identity D).

    Args:
      forms: Form of each owner; see `owner_forms`.
      sums: Kernel sums of owners and target; see `similarity`.
    """
    sizes = np.asarray(sums.sizes)
    empty = float(np.mean(np.sqrt(forms / sizes)))
    complexity = complexity_of_forms(forms, sizes, empty_score=empty)
    kappa = _davinz.kappa_of_singletons(complexity, _davinz.discrepancy(sums))
    return _davinz.davinz(complexity, _discrepancy(sums), kappa=kappa)


def _discrepancy(sums: KernelSums) -> Game:
    empty = _mean_of_singles(_davinz.discrepancy(sums))
    return _davinz.discrepancy(sums, empty_score=empty)


def kernel_regression_game(
    key: PRNGKey,
    network: Network | Any,
    data: Dataset,
    valid: Points,
    *,
    penalty: float = 1e-3,
    progress: Callable[[int, int], None] | None = None,
) -> Game:
    """Kernel regression on the tangent kernel of one initialisation.

    Scored by validation accuracy, or by minus the mean squared error.

    Args:
      key: PRNG key for the initial parameters.
      network: Network, or what `models.as_network` turns into one.
      data: Inputs, targets and owners of the rows to be valued.
      valid: Inputs and targets to validate with.
      penalty: Regulariser, relative to the mean diagonal of the kernel.
      progress: Called with (tiles done, tiles in all).

    Raises:
      ValueError: If targets don't fit the network's outputs, or an array is not finite.

    Example:
      >>> x, y = np.eye(4, dtype=np.float32), np.array([0, 1, 0, 1])
      >>> data = Dataset(x, y, np.array([0, 0, 1, 1]))
      >>> game = kernel_regression_game(
      ...     jax.random.key(0), models.mlp([8], 2), data, Points(x, y)
      ... )
      >>> float(game.score(jax.numpy.ones(2, bool)))
      1.0
    """
    network = models.as_network(network)
    params = network.init(key, data.x)
    y, y_valid, metric = data.y, valid.y, regression.negative_squared_error
    readout = readouts.single_output
    if is_classes(y):
        classes = network.num_outputs(params, data.x)
        readout, metric = readouts.trace(classes), accuracy
        (y, y_valid), _ = class_targets(classes, y=y, y_valid=y_valid)
        y, y_valid = np.eye(classes)[y], np.eye(classes)[y_valid]
    gram, across = _two_parts(
        functools.partial(
            tangent.gram,
            network.apply,
            params,
            readout=readout,
            execution=Execution(progress=progress),
        ),
        np.asarray(data.x),
        np.asarray(valid.x),
    )
    penalty = penalty * float(np.mean(np.diag(np.asarray(gram))))
    return regression.kernel_regression(
        gram, across, y, y_valid, data.owner, penalty=penalty, metric=metric
    )


def _two_parts(gram, x, x_valid):
    """Rows with themselves, and validation rows with them."""
    rows = len(x)
    if len(x_valid) > rows:
        return gram(x), gram(x_valid, x)
    # One program to compile instead of two outweighs the products not used.
    pooled = gram(np.concatenate([x, x_valid]))
    return pooled[:rows, :rows], pooled[rows:, :rows]


def _mean_of_singles(game: Game) -> float:
    singles = jax.numpy.eye(game.num_players, dtype=bool)
    return float(np.mean(np.asarray(game.scores(singles))))
