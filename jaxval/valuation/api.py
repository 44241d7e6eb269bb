"""`jaxval.value`: values of the owners of a table's rows."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import os
import re
import warnings
from collections.abc import Iterator
from typing import Any

import jax

from jaxval.datasets.tabular import table as tables
from jaxval.runner.contract import SILENT, Context
from jaxval.valuation import ecoval, estimate, games, semivalues
from jaxval.valuation.memory_check import memory_limit
from jaxval.valuation.result import Valuation
from jaxval.valuation.sampling import Plan
from jaxval.valuation.settings import (
    Settings,
    check_choices,
    game_options,
    semivalue_parameters,
)

__all__ = ["compute", "value"]


def value(data: Any, **settings: Any) -> Valuation:
    """Value the owners of a table's rows.

    The command `python -m jaxval value` is a thin layer over this function: `Settings`
    holds its keyword arguments and the options of the command alike.

    Args:
      data: Path of a CSV, Parquet or npz file; a data frame (pandas, polars, pyarrow);
        a mapping of names to arrays; or a `Dataset`, encoded as an archive of its `x`,
        `y` and `owner` would be.
      **settings: Fields of `Settings`. `target` names the column to predict, `owner`
        the one that says who contributed a row; `valid` is a fraction of the rows, a
        table like `data`, or `Points`; `game`, `semivalue` and `estimator` say how
        coalitions are scored, weighed and chosen.

    Returns:
      Values with standard errors and ranks, in units of the game's score.

    Raises:
      ValueError: If the table or the settings can't be used; the message says why and
        what to do. (`DataError` for the table.)

    Example:
      >>> import numpy as np
      >>> from jaxval.types import Dataset, Points
      >>> x = np.linspace(-1.0, 1.0, 24)[:, None]
      >>> data = Dataset(x, (x[:, 0] > 0).astype(int), np.arange(24) % 3)
      >>> valid = Points(x + 0.01, data.y)
      >>> valuation = value(data, valid=valid, game="knn", neighbours=3)
      >>> valuation.owner_names, valuation.values.round(3).tolist()
      (('0', '1', '2'), [0.319, 0.326, 0.326])
    """
    with _python_wording():
        check_choices(settings)
        chosen = Settings(**_known(settings))
        return compute(data, chosen, dataclasses.replace(SILENT, note=_warn))


value.__signature__ = inspect.Signature(  # pyrefly: ignore
    [
        inspect.Parameter("data", inspect.Parameter.POSITIONAL_OR_KEYWORD),
        *(
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=field.type,
            )
            for field in dataclasses.fields(Settings)
        ),
    ],
    return_annotation=Valuation,
)


def compute(data: Any, settings: Settings, context: Context = SILENT) -> Valuation:
    """Read, build the game of each seed, estimate.

    Args:
      data: Table, as for `value`.
      settings: What to value by which game, and how precisely.
      context: Progress, notes and checkpoints.
    """
    settings.check_together()
    data_key, game_key, draw_key = jax.random.split(jax.random.key(settings.seed), 3)
    table = tables.read_table(
        data_key,
        data,
        settings.target,
        owner=settings.owner,
        valid=settings.valid,
        task=None if settings.task == "auto" else settings.task,
        categorical=settings.categorical,
        drop=settings.drop,
    )
    for warning in table.warnings:
        context.note(f"note: {warning}")
    limit = memory_limit(settings.memory)
    options = game_options(settings)
    if settings.game == "ecoval":
        valuation = ecoval.play(
            game_key, table, **options, limit=limit.size, context=context
        )
    else:
        factory = games.factory(
            game_key,
            settings.game,
            table,
            limit=limit,
            exact=settings.estimator == "exact",
            **options,
        )
        plan = Plan(
            semivalue=semivalues.make(
                settings.semivalue, **semivalue_parameters(settings)
            ),
            estimator=settings.estimator,
            stderr=settings.stderr,
            budget=settings.budget,
            seconds=settings.seconds,
        )
        valuation = estimate.estimate(
            draw_key, table, factory, plan, seed=settings.seed, context=context
        )
    return dataclasses.replace(
        valuation, metrics=_about(table), settings=_described(settings, table)
    )


def _known(settings: dict[str, Any]) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(Settings)]
    for name in settings:
        if name not in names:
            raise TypeError(
                f"value() has no setting {name!r}; it has {', '.join(names)}."
            )
    lists = {
        name: (settings[name],) if isinstance(settings[name], str) else settings[name]
        for name in ("drop", "categorical")
        if name in settings
    }
    return {**settings, **{name: tuple(each) for name, each in lists.items()}}


def _about(table: tables.Table) -> dict[str, Any]:
    return {
        "task": table.task,
        "owners": len(table.owner_names),
        "training_rows": len(table.dataset.x),
        "validation_rows": len(table.valid.x),
        "features": len(table.feature_names),
        "target_range": table.target_range,
        "classes": table.class_names,
    }


def _described(settings: Settings, table: tables.Table) -> dict[str, Any]:
    """The settings, with names in the place of tables in memory."""
    fields = {
        field.name: getattr(settings, field.name)
        for field in dataclasses.fields(settings)
    }
    for name in ("valid", "unseen"):
        if not isinstance(fields[name], (str, int, float, os.PathLike, type(None))):
            fields[name] = type(fields[name]).__name__
    return {"data": table.source, **fields}


@contextlib.contextmanager
def _python_wording() -> Iterator[None]:
    """Names settings as Python does in the messages of errors."""
    try:
        yield
    except ValueError as error:
        text = _without_dashes(str(error))
        if text == str(error):
            raise
        raise type(error)(text) from error


def _warn(line: str) -> None:
    text = _without_dashes(line.removeprefix("note: "))
    warnings.warn(text, UserWarning, stacklevel=2)


def _without_dashes(text: str) -> str:
    return re.sub(r"(?<![\w-])--(?=[a-z])", "", text)
