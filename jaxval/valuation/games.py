"""The games of `value`, by their names on the command line."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from jaxval import models
from jaxval.coalitions.game import Game
from jaxval.datasets.tabular.table import CLASSIFICATION, Table
from jaxval.execution.options import Execution
from jaxval.games import analytic, davinz, knn, retraining
from jaxval.games import at_initialisation as untrained
from jaxval.games import linear_models as convex
from jaxval.games.davinz import Davinz
from jaxval.training import (
    Recipe,
    accuracy,
    cross_entropy,
    from_module,
    negative,
    run_bytes,
    squared_error,
)
from jaxval.types import Points, PRNGKey
from jaxval.valuation.memory_check import GIB, check_fits

__all__ = ["Maker", "Played", "maker", "network"]

_MAX_EXACT = 12
"""Players up to which all coalitions of DAVINZ are scored unless told otherwise."""


class Played(NamedTuple):
    """One game to be valued, and the half of it that is a rival.

    Attributes:
      game: what is valued.
      far: the discrepancy within it, whose values are subtracted to know the rest's.
    """

    game: Game
    far: Game | None = None


class Maker(NamedTuple):
    """How to make the game of each seed; made one after the other, to save memory.

    Attributes:
      make: the number of a seed, and who wants to hear of the progress, to its game.
      seeds: how many there are; 1 where nothing is random.
      random: in a word, what differs between seeds; empty where nothing does.
      what: the game in words.
      unit: of its scores.
      max_exact: players up to which all coalitions are scored unless told otherwise.
      every: steps of an estimator between two looks.
    """

    make: Callable[[int, Callable[[int, int], None] | None], Played]
    seeds: int
    what: str
    unit: str
    max_exact: int
    every: int = 16
    random: str = ""


def network(config: Any, table: Table) -> Any:
    """The network that `--model` and `--width` name, for this table."""
    outputs = len(table.class_names) or 1
    if config.model == "mlp":
        return models.mlp([max(1, round(128 * config.width))] * 2, outputs, bias=True)
    return getattr(models, config.model)(outputs, width=config.width)


def maker(key: PRNGKey, config: Any, table: Table, limit: int | None) -> Maker:
    """The game that `--game` names.

    Args:
      key: of the networks.
      config: of `value`.
      table: a person's data.
      limit: bytes to stay below; nothing is checked when `None`.

    Raises:
      ValueError: if the game doesn't fit the task or the memory.
    """
    return _MAKERS[config.game](key, config, table, limit)


def _seeded(key, make):
    return lambda seed, progress: make(jax.random.fold_in(key, seed), progress)


def _davinz(key, config, table, limit) -> Maker:
    module, data = network(config, table), table.dataset
    enumerated = len(table.owner_names) <= _MAX_EXACT or config.estimator == "exact"
    check_fits(module, data, block=config.block, enumerated=enumerated, limit=limit)
    sums = untrained.similarity(data, table.x_valid)

    def make(key, progress):
        if config.block is None:
            drawn = untrained.draw(key, module, data, progress=progress)
            parts = untrained.davinz_game(drawn, sums, data, zeta=config.zeta)
        else:
            forms = untrained.owner_forms(
                key,
                module,
                data,
                zeta=config.zeta,
                max_rows=config.block,
                progress=progress,
            )
            parts = untrained.davinz_of_forms(forms, sums)
        return _parts(config, parts)

    text = f"DAVINZ on {config.seeds} untrained {config.model}"
    if config.game == "complexity":
        text = f"complexity alone, on {config.seeds} untrained {config.model}"
    return Maker(
        _seeded(key, make), config.seeds, text, "DAVINZ score", _MAX_EXACT,
        random="initialisation",
    )  # fmt: skip


def _parts(config, parts: Davinz) -> Played:
    if config.game == "complexity":
        return Played(-parts.kappa * parts.complexity)
    return Played(parts.game, -parts.discrepancy)


def _kernel_regression(key, config, table, limit) -> Maker:
    module, data = network(config, table), table.dataset
    check_fits(module, data, num_valid=len(table.x_valid), limit=limit)
    y, y_valid = np.asarray(data.y), np.asarray(table.y_valid)
    if table.task != CLASSIFICATION:
        # Nobody then predicts the mean of all targets, and not the smallest of them.
        y, y_valid = y - y.mean(), y_valid - y.mean()

    def make(key, progress):
        game = untrained.kernel_regression_game(
            key,
            module,
            data._replace(y=y),
            Points(table.x_valid, y_valid),
            penalty=config.zeta,
            progress=progress,
        )
        return Played(game)

    return Maker(
        _seeded(key, make),
        config.seeds,
        f"kernel regression on {config.seeds} untrained {config.model}",
        _unit(table),
        max_exact=10 if len(data.x) <= 1000 else 7,
        random="initialisation",
    )


def _knn(key, config, table, limit) -> Maker:
    del key
    data = table.dataset
    need = 40 * len(data.x) * len(table.x_valid)
    if limit is not None and need > limit:
        raise ValueError(
            f"the distances of {len(data.x)} rows to {len(table.x_valid)} validation "
            f"rows need about {need / GIB:.2g} GiB, and {limit / GIB:.2g} GiB are "
            "there: give a smaller --valid."
        )
    distances = knn.pairwise_distances(table.x_valid, data.x)
    kind = "classification" if table.task == CLASSIFICATION else "regression"
    game = knn.knn(
        distances, data.y, table.y_valid, data.owner, k=config.neighbours, kind=kind
    )
    text = f"{config.neighbours} nearest neighbours"
    return Maker(
        lambda seed, progress: Played(game), 1, text, _unit(table), max_exact=12
    )


def _logistic(key, config, table, limit) -> Maker:
    del key, limit
    _classes_only(config, table)
    game = convex.logistic(_flat(table), Points(_flat_valid(table), table.y_valid))
    text = "logistic regression"
    return Maker(
        lambda seed, progress: Played(game), 1, text, _unit(table), max_exact=10
    )


def _ridge(key, config, table, limit) -> Maker:
    del key, limit
    if table.task == CLASSIFICATION:
        raise ValueError(
            f"--game ridge is for a regression, and the target of {config.data} has "
            f"{len(table.class_names)} classes; take logistic, or --task regression."
        )
    game = convex.ridge(_flat(table), Points(_flat_valid(table), table.y_valid))
    text = "ridge regression"
    return Maker(
        lambda seed, progress: Played(game), 1, text, _unit(table), max_exact=12
    )


def _retraining(key, config, table, limit) -> Maker:
    module = network(config, table)
    classes = table.task == CLASSIFICATION
    recipe = Recipe(
        optimizer=optax.adam(1e-3),
        loss=cross_entropy if classes else squared_error,
        batch_size=32,
        epochs=config.epochs,
    )
    metric = accuracy if classes else negative(squared_error)
    trained = from_module(module, table.dataset.x)
    _check_run(trained, recipe, table, limit)
    # On a CPU runs go one by one, and a limit for many at once would only slow them.
    asked = config.memory is not None and jax.default_backend() != "cpu"

    def make(key, progress):
        game = retraining.retraining(
            key, table.dataset, Points(table.x_valid, table.y_valid), trained, recipe,
            metric=metric,
            execution=Execution(memory=limit if asked else None, progress=progress),
        )  # fmt: skip
        return Played(game)

    return Maker(
        _seeded(key, make),
        config.seeds,
        f"{config.model} trained {config.seeds} times for {config.epochs} epochs",
        _unit(table),
        max_exact=6,
        every=2,
        random="training",
    )


def _check_run(trained, recipe, table: Table, limit) -> None:
    x, y = (np.asarray(each) for each in table.dataset[:2])
    need = run_bytes(trained, recipe, x, y) + x.nbytes + table.x_valid.nbytes
    if limit is not None and need > limit:
        raise ValueError(
            f"one training of this network needs up to {need / GIB:.2g} GiB, and "
            f"{limit / GIB:.2g} GiB are there: give a smaller --width or another "
            "--model. Raise the limit with --memory if you know better."
        )


def _discrepancy(key, config, table, limit) -> Maker:
    del key, config, limit
    sums = untrained.similarity(table.dataset, table.x_valid)
    game = -davinz.discrepancy(sums)
    text = "nearness to the validation rows (minus the maximum mean discrepancy)"
    return Maker(
        lambda seed, progress: Played(game), 1, text, "discrepancy", max_exact=14
    )


def _size(key, config, table, limit) -> Maker:
    del key, config, limit
    sizes = table.dataset.sizes
    game = analytic.additive(sizes / sizes.sum())
    return Maker(
        lambda seed, progress: Played(game), 1, "number of rows", "share", max_exact=14
    )


def _classes_only(config, table) -> None:
    if table.task != CLASSIFICATION:
        raise ValueError(
            f"--game {config.game} is for classes, and the target of {config.data} is "
            "a number; take ridge, knn, kernel-regression or davinz."
        )


def _flat(table: Table):
    x = np.asarray(table.dataset.x)
    return table.dataset._replace(x=x.reshape(len(x), -1))


def _flat_valid(table: Table) -> np.ndarray:
    return np.asarray(table.x_valid).reshape(len(table.x_valid), -1)


def _unit(table: Table) -> str:
    if table.task == CLASSIFICATION:
        return "validation accuracy"
    return "minus the mean squared error of the target scaled to [0, 1]"


_MAKERS: dict[str, Callable[..., Maker]] = {
    "davinz": _davinz,
    "complexity": _davinz,
    "kernel-regression": _kernel_regression,
    "knn": _knn,
    "logistic": _logistic,
    "ridge": _ridge,
    "retraining": _retraining,
    "discrepancy": _discrepancy,
    "size": _size,
}
