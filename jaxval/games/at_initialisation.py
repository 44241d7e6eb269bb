"""DAVINZ games of several initialisations of one network, as experiments play them."""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Num

from jaxval import models
from jaxval.coalitions.game import Game
from jaxval.games import davinz
from jaxval.games import kernel_regression as regression
from jaxval.games.complexity import complexity_of_forms
from jaxval.games.davinz import Davinz
from jaxval.kernels import readouts, tangent
from jaxval.kernels.approximations import blocks
from jaxval.kernels.mmd import KernelSums, kernel_sums, rbf_ladder
from jaxval.kernels.pairwise import median_distance
from jaxval.training.losses import accuracy
from jaxval.types import Dataset, PRNGKey

__all__ = [
    "Untrained",
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
      gram: the tangent kernel's Gram matrix.
      residual: what the network still has to learn.
    """

    gram: Float[Array, "n n"]
    residual: Float[np.ndarray, " n"] | Float[np.ndarray, "n outputs"]


def is_classes(y: Any) -> bool:
    """Whether targets are class numbers."""
    return bool(np.issubdtype(np.asarray(y).dtype, np.integer))


def draw(
    key: PRNGKey,
    module: Any,
    data: Dataset,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Untrained:
    """Initialise a network and take its tangent kernel and residual.

    Classes are read through their own logit, as in DAVINZ's released code, and real
    targets through the only output, as in the paper.

    Args:
      key: of the random weights.
      module: a network of `jaxval.models`.
      data: the rows to be valued.
      progress: called with (tiles done, tiles in all).
    """
    apply_fn = models.apply_fn(module)
    params = models.init(key, module, data.x)
    classes = is_classes(data.y)
    gram = tangent.gram(
        apply_fn,
        params,
        data.x,
        data.y if classes else None,
        readout=readouts.own_logit if classes else readouts.only,
        progress=progress,
    )
    outputs = jax.jit(apply_fn)(params, data.x)
    target = "true_class_logit" if classes else "difference"
    return Untrained(gram, davinz.residual(outputs, data.y, target))


def similarity(
    data: Dataset, x_valid: Num[np.ndarray, "m ..."], **options: Any
) -> KernelSums:
    """Kernel sums under a ladder of bandwidths around the median distance."""
    kernel = rbf_ladder(median_distance(data.x, x_valid))
    return kernel_sums(data.x, data.owner, x_valid, kernel, **options)


def davinz_game(
    network: Untrained, sums: KernelSums, data: Dataset, *, zeta: float
) -> Davinz:
    r"""DAVINZ's game, with $\kappa$ of Eq. 4 and a zero that means something.

    The paper leaves $\nu(\emptyset)$ open. Here nobody is worth what the contributors
    are worth alone, on average, so that Shapley values add up to what pooling the data
    gains over the average contributor's own. Any other choice shifts all values by
    one constant.

    Args:
      network: see `draw`.
      sums: see `similarity`.
      data: the rows to be valued.
      zeta: regulariser, relative to the mean diagonal of the kernel.
    """
    # Single owners are all that kappa asks about, and aligned blocks know them exactly.
    part = (network.gram, network.residual, data.owner)
    options: Any = {"zeta": zeta, "relative": True}
    alone = davinz.complexity(*part, block=data.owner, **options)
    kappa = davinz.kappa_of_singletons(alone, davinz.discrepancy(sums))
    whole = davinz.complexity(*part, empty_score=_mean_of_singles(alone), **options)
    return davinz.davinz(whole, _far(sums), kappa=kappa)


def owner_forms(
    key: PRNGKey,
    module: Any,
    data: Dataset,
    *,
    zeta: float,
    max_rows: int,
    progress: Callable[[int, int], None] | None = None,
) -> Float[np.ndarray, " owners"]:
    r"""$\hat y_i^\top H_{ii}^{-1} \hat y_i$ of each owner, in blocks (appendix B).

    Args:
      key: of the random weights.
      module: a network of `jaxval.models`.
      data: the rows to be valued.
      zeta: relative to the mean diagonal of the kernel.
      max_rows: of a block; an owner with more has several.
      progress: called with (blocks done, blocks in all).
    """
    apply_fn = models.apply_fn(module)
    params = models.init(key, module, data.x)
    classes = is_classes(data.y)
    x, y = np.asarray(data.x), np.asarray(data.y)
    readout = readouts.own_logit if classes else readouts.only
    kept = blocks.aligned(data.owner, max_rows)
    done = itertools.count(1)

    def gram(rows):
        labels = y[rows] if classes else None
        part = tangent.gram(apply_fn, params, x[rows], labels, readout=readout)
        if progress is not None:
            progress(next(done), len(kept))
        return part

    parts = blocks.block_diagonal_gram(gram, kept)
    diagonal = [np.trace(np.asarray(g), axis1=1, axis2=2).sum() for g in parts.grams]
    outputs = jax.jit(apply_fn)(params, data.x)
    left = davinz.residual(
        outputs, data.y, "true_class_logit" if classes else "difference"
    )
    zeta = zeta * float(sum(diagonal)) / len(x)
    return blocks.owner_quadratic_forms(parts, left.reshape(-1), zeta, data.owner)


def davinz_of_forms(forms: Float[np.ndarray, " owners"], sums: KernelSums) -> Davinz:
    """DAVINZ's game where every owner's form is known by itself (identity D).

    Args:
      forms: see `owner_forms`.
      sums: see `similarity`.
    """
    sizes = np.asarray(sums.sizes)
    empty = float(np.mean(np.sqrt(forms / sizes)))
    whole = complexity_of_forms(forms, sizes, empty_score=empty)
    kappa = davinz.kappa_of_singletons(whole, davinz.discrepancy(sums))
    return davinz.davinz(whole, _far(sums), kappa=kappa)


def _far(sums: KernelSums) -> Game:
    empty = _mean_of_singles(davinz.discrepancy(sums))
    return davinz.discrepancy(sums, empty_score=empty)


def kernel_regression_game(
    key: PRNGKey,
    module: Any,
    data: Dataset,
    x_valid: Num[np.ndarray, "m ..."],
    y_valid: Num[np.ndarray, " m"],
    *,
    ridge: float,
    progress: Callable[[int, int], None] | None = None,
) -> Game:
    """Kernel regression on the tangent kernel of one initialisation.

    Scored by validation accuracy, or by minus the mean squared error.

    Args:
      key: of the random weights.
      module: a network of `jaxval.models`.
      data: the rows to be valued.
      x_valid: inputs to validate with.
      y_valid: their targets.
      ridge: relative to the mean diagonal of the kernel.
      progress: called with (tiles done, tiles in all).
    """
    apply_fn = models.apply_fn(module)
    params = models.init(key, module, data.x)
    classes = module.num_outputs if is_classes(data.y) else 1
    readout = readouts.trace(classes) if is_classes(data.y) else readouts.only
    gram, across = _two_parts(
        functools.partial(
            tangent.gram, apply_fn, params, readout=readout, progress=progress
        ),
        np.asarray(data.x),
        np.asarray(x_valid),
    )
    y, metric = np.asarray(data.y), regression.negative_squared_error
    if is_classes(y):
        y, y_valid = (regression.one_hot(each, classes) for each in (y, y_valid))
        metric = accuracy
    ridge = ridge * float(np.mean(np.diag(np.asarray(gram))))
    return regression.kernel_regression(
        gram, across, y, y_valid, data.owner, penalty=ridge, metric=metric
    )


def _two_parts(gram, x, x_valid):
    """Rows with themselves, and validation rows with them."""
    rows = len(x)
    if len(x_valid) > rows:
        return gram(x), gram(x_valid, x_other=x)
    # One program to compile instead of two outweighs the products nobody asks for.
    whole = gram(np.concatenate([x, x_valid]))
    return whole[:rows, :rows], whole[rows:, :rows]


def _mean_of_singles(game: Game) -> float:
    singles = jax.numpy.eye(game.num_players, dtype=bool)
    return float(np.mean(np.asarray(game.scores(singles))))
