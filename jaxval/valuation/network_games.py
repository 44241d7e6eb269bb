"""Games of `value` that take a network: at initialisation, or trained."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import optax

from jaxval import models
from jaxval.datasets.tabular.table import CLASSIFICATION, Table
from jaxval.execution.options import Execution
from jaxval.games import at_initialisation as untrained
from jaxval.games import retraining
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
from jaxval.valuation.factory import (
    GameFactory,
    MemoryLimit,
    Seeded,
    SeededGame,
    score_unit,
)
from jaxval.valuation.memory_check import GIB, check_fits

__all__ = ["complexity", "davinz", "kernel_regression", "network", "retrained"]

_MAX_EXACT = 12
"""Players up to which all coalitions of DAVINZ are scored unless told otherwise."""


def network(model: str, width: float, table: Table) -> Any:
    """The network of that name, for the outputs of this table.

    Args:
      model: `"mlp"`, or a maker of `jaxval.models`.
      width: Factor on its hidden units.
      table: Table whose classes (or whose target) it predicts.
    """
    outputs = len(table.class_names) or 1
    if model == "mlp":
        return models.mlp([max(1, round(128 * width))] * 2, outputs, bias=True)
    return getattr(models, model)(outputs, width=width)


def davinz(key: PRNGKey, table: Table, **options: Any) -> GameFactory:
    """DAVINZ's score: minus the discrepancy, minus the weighed complexity.

    Args:
      key: PRNG key for the initial parameters.
      table: Rows to be valued.
      **options: Those of the row of `GAMES`.
    """
    return _davinz(key, table, name="davinz", **options)


def complexity(key: PRNGKey, table: Table, **options: Any) -> GameFactory:
    """The complexity's half of DAVINZ's score.

    Args:
      key: PRNG key for the initial parameters.
      table: Rows to be valued.
      **options: Those of the row of `GAMES`.
    """
    return _davinz(key, table, name="complexity", **options)


def _davinz(
    key: PRNGKey,
    table: Table,
    *,
    name: str,
    limit: MemoryLimit,
    exact: bool,
    model: str,
    width: float,
    seeds: int,
    zeta: float,
    block: int | None,
) -> GameFactory:
    module, data = network(model, width, table), table.dataset
    enumerated = len(table.owner_names) <= _MAX_EXACT or exact
    check_fits(module, data, block=block, enumerated=enumerated, limit=limit.size)
    sums = untrained.similarity(data, table.valid.x)

    def make(key, progress):
        if block is None:
            network_draw = untrained.draw(key, module, data, progress=progress)
            parts = untrained.davinz_game(network_draw, sums, data, zeta=zeta)
        else:
            forms = untrained.owner_forms(
                key,
                module,
                data,
                zeta=zeta,
                max_rows=block,
                progress=progress,
            )
            parts = untrained.davinz_of_forms(forms, sums)
        return _halves(name, parts)

    is_whole = name == "davinz"
    what = "DAVINZ on" if is_whole else "complexity alone, on"
    return GameFactory(
        name=name,
        make=Seeded(key, make),
        description=f"{what} {seeds} untrained {model}",
        unit="DAVINZ score",
        max_exact=_MAX_EXACT,
        seeds=seeds,
        random="initialisation",
    )


def _halves(name: str, parts: Davinz) -> SeededGame:
    if name == "complexity":
        return SeededGame(-parts.kappa * parts.complexity)
    return SeededGame(parts.game, -parts.discrepancy)


def kernel_regression(
    key: PRNGKey,
    table: Table,
    *,
    limit: MemoryLimit,
    exact: bool,
    model: str,
    width: float,
    seeds: int,
    zeta: float,
) -> GameFactory:
    """Validation score of regression with the tangent kernel at initialisation.

    Args:
      key: PRNG key for the initial parameters.
      table: Rows to be valued.
      limit: Memory that the kernel may take.
      exact: Whether all coalitions will be scored.
      model: Name of the network.
      width: Factor on its hidden units.
      seeds: Number of initialisations.
      zeta: Regulariser of the kernel, relative to its mean diagonal.
    """
    del exact
    module, data = network(model, width, table), table.dataset
    check_fits(module, data, num_valid=len(table.valid.x), limit=limit.size)
    y, y_valid = np.asarray(data.y), np.asarray(table.valid.y)
    if table.task != CLASSIFICATION:
        # The empty coalition then predicts the mean of all targets, not their minimum.
        y, y_valid = y - y.mean(), y_valid - y.mean()

    def make(key, progress):
        game = untrained.kernel_regression_game(
            key,
            module,
            data._replace(y=y),
            Points(table.valid.x, y_valid),
            penalty=zeta,
            progress=progress,
        )
        return SeededGame(game)

    return GameFactory(
        name="kernel-regression",
        make=Seeded(key, make),
        description=f"kernel regression on {seeds} untrained {model}",
        unit=score_unit(table),
        max_exact=10 if len(data.x) <= 1000 else 7,
        seeds=seeds,
        random="initialisation",
    )


def retrained(
    key: PRNGKey,
    table: Table,
    *,
    limit: MemoryLimit,
    exact: bool,
    model: str,
    width: float,
    seeds: int,
    epochs: int,
) -> GameFactory:
    """Validation score after training on the rows of a coalition.

    Args:
      key: PRNG key for the initial parameters and the minibatches.
      table: Rows to be valued.
      limit: Memory that the training runs may take.
      exact: Whether all coalitions will be scored.
      model: Name of the network.
      width: Factor on its hidden units.
      seeds: Number of times that every coalition is trained on.
      epochs: Epochs of each training run.
    """
    del exact
    module = network(model, width, table)
    classes = table.task == CLASSIFICATION
    recipe = Recipe(
        optimizer=optax.adam(1e-3),
        loss=cross_entropy if classes else squared_error,
        batch_size=32,
        epochs=epochs,
    )
    metric = accuracy if classes else negative(squared_error)
    trained = from_module(module, table.dataset.x)
    _check_run(trained, recipe, table, limit.size)
    # On a CPU runs go one by one, and a limit for many at once would only slow them.
    memory = limit.size if limit.is_given and jax.default_backend() != "cpu" else None

    def make(key, progress):
        game = retraining.retraining(
            key, table.dataset, table.valid, trained, recipe, metric=metric,
            execution=Execution(memory=memory, progress=progress),
        )  # fmt: skip
        return SeededGame(game)

    return GameFactory(
        name="retraining",
        make=Seeded(key, make),
        description=f"{model} trained {seeds} times for {epochs} epochs",
        unit=score_unit(table),
        max_exact=6,
        seeds=seeds,
        check_every=2,
        random="training",
        is_trained=True,
    )


def _check_run(trained, recipe: Recipe, table: Table, limit: int | None) -> None:
    x, y = (np.asarray(each) for each in table.dataset[:2])
    need = (
        run_bytes(trained, recipe, x, y) + x.nbytes + np.asarray(table.valid.x).nbytes
    )
    if limit is not None and need > limit:
        raise ValueError(
            f"one training of this network needs up to {need / GIB:.2g} GiB, and "
            f"{limit / GIB:.2g} GiB are there: give a smaller --width or another "
            "--model. Raise the limit with --memory if you know better."
        )
