"""The games of `value`: one row per game."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxval.datasets.tabular.table import CLASSIFICATION, Table
from jaxval.games import analytic, davinz, knn
from jaxval.games import at_initialisation as untrained
from jaxval.games import linear_models as convex
from jaxval.types import Dataset, Points, PRNGKey
from jaxval.valuation import network_games
from jaxval.valuation.factory import Constant, GameFactory, MemoryLimit, score_unit
from jaxval.valuation.memory_check import GIB

__all__ = ["GAMES", "GameRow", "factory"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class GameRow:
    """A game of `value`.

    Attributes:
      make: Makes the factory of its seeds from a key, a table, `limit` (of the memory),
        `exact` (whether all coalitions will be scored) and the options; `None` for
        EcoVal, which is a method of its own.
      options: Settings that it reads and that not all games do.
    """

    make: Callable[..., GameFactory] | None
    options: tuple[str, ...] = ()


def _knn(
    key: PRNGKey, table: Table, *, limit: MemoryLimit, exact: bool, neighbours: int
) -> GameFactory:
    del key, exact
    data = table.dataset
    need = 40 * len(data.x) * len(table.valid.x)
    if limit.size is not None and need > limit.size:
        raise ValueError(
            f"the distances of {len(data.x)} rows to {len(table.valid.x)} validation "
            f"rows need about {need / GIB:.2g} GiB, and {limit.size / GIB:.2g} GiB are "
            "there: give a smaller --valid."
        )
    distances = knn.pairwise_distances(table.valid.x, data.x)
    kind = "classification" if table.task == CLASSIFICATION else "regression"
    game = knn.knn(
        distances, data.y, table.valid.y, data.owner, k=neighbours, kind=kind
    )
    return GameFactory(
        name="knn",
        make=Constant(game),
        description=f"{neighbours} nearest neighbours",
        unit=score_unit(table),
        max_exact=12,
    )


def _logistic(
    key: PRNGKey, table: Table, *, limit: MemoryLimit, exact: bool
) -> GameFactory:
    del key, limit, exact
    if table.task != CLASSIFICATION:
        raise ValueError(
            f"--game logistic is for classes, and the target of {table.source} is a "
            "number; take ridge, knn, kernel-regression or davinz."
        )
    game = convex.logistic(_flat(table), _flat_valid(table))
    return GameFactory(
        name="logistic",
        make=Constant(game),
        description="logistic regression",
        unit=score_unit(table),
        max_exact=10,
    )


def _ridge(
    key: PRNGKey, table: Table, *, limit: MemoryLimit, exact: bool
) -> GameFactory:
    del key, limit, exact
    if table.task == CLASSIFICATION:
        raise ValueError(
            f"--game ridge is for a regression, and the target of {table.source} has "
            f"{len(table.class_names)} classes; take logistic, or --task regression."
        )
    game = convex.ridge(_flat(table), _flat_valid(table))
    return GameFactory(
        name="ridge",
        make=Constant(game),
        description="ridge regression",
        unit=score_unit(table),
        max_exact=12,
    )


def _discrepancy(
    key: PRNGKey, table: Table, *, limit: MemoryLimit, exact: bool
) -> GameFactory:
    del key, limit, exact
    sums = untrained.similarity(table.dataset, table.valid.x)
    return GameFactory(
        name="discrepancy",
        make=Constant(-davinz.discrepancy(sums)),
        description=(
            "nearness to the validation rows (minus the maximum mean discrepancy)"
        ),
        unit="discrepancy",
        max_exact=14,
    )


def _size(
    key: PRNGKey, table: Table, *, limit: MemoryLimit, exact: bool
) -> GameFactory:
    del key, limit, exact
    sizes = table.dataset.sizes
    return GameFactory(
        name="size",
        make=Constant(analytic.additive(sizes / sizes.sum())),
        description="number of rows",
        unit="share",
        max_exact=14,
    )


GAMES: Mapping[str, GameRow] = {
    "davinz": GameRow(
        make=network_games.davinz, options=("model", "width", "seeds", "zeta", "block")
    ),
    "kernel-regression": GameRow(
        make=network_games.kernel_regression,
        options=("model", "width", "seeds", "zeta"),
    ),
    "knn": GameRow(make=_knn, options=("neighbours",)),
    "logistic": GameRow(make=_logistic),
    "ridge": GameRow(make=_ridge),
    "retraining": GameRow(
        make=network_games.retrained, options=("model", "width", "seeds", "epochs")
    ),
    "ecoval": GameRow(make=None, options=("seeds", "resamples", "unseen")),
    "discrepancy": GameRow(make=_discrepancy),
    "complexity": GameRow(
        make=network_games.complexity,
        options=("model", "width", "seeds", "zeta", "block"),
    ),
    "size": GameRow(make=_size),
}
"""Games by their names in the settings."""


def factory(
    key: PRNGKey,
    name: str,
    table: Table,
    *,
    limit: MemoryLimit,
    exact: bool = False,
    **options: Any,
) -> GameFactory:
    """The game of that name on a table.

    Args:
      key: PRNG key for the networks.
      name: Key of `GAMES`.
      table: Rows to be valued.
      limit: Memory that it may take.
      exact: Whether all coalitions will be scored.
      **options: Those that its row names.

    Raises:
      ValueError: If the game doesn't fit the task or the memory.
    """
    row = GAMES[name]
    if row.make is None:
        raise ValueError(f"{name} is a method of its own and no game.")
    return row.make(key, table, limit=limit, exact=exact, **options)


def _flat(table: Table) -> Dataset:
    x = np.asarray(table.dataset.x)
    return table.dataset._replace(x=x.reshape(len(x), -1))


def _flat_valid(table: Table) -> Points:
    x = np.asarray(table.valid.x)
    return Points(x.reshape(len(x), -1), table.valid.y)
