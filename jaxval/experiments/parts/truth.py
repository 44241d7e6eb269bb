"""Leave-one-out by retraining, and how far it can be trusted as a ground truth."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import optax
from jaxtyping import Float, Int, Num

from jaxval.coalitions import masks
from jaxval.evaluation import pearson, spearman, split_half_reliability
from jaxval.execution.options import Execution
from jaxval.games.retraining import seed_scores
from jaxval.reporting import Column, Table
from jaxval.training import Recipe, from_module, until_settled
from jaxval.types import Dataset, Points, PRNGKey

__all__ = [
    "Dealt",
    "agreement_table",
    "key_of",
    "recipe_of",
    "retrained_leave_one_out",
]


RecipeName = Literal["adam", "paper"]

HALVES = "retraining, half to half"
"""The row of the table that says how far the ground truth can be trusted."""


class Dealt(NamedTuple):
    """Rows to be valued, and rows to value them by.

    Attributes:
      data: owned by the contributors.
      x_valid: inputs of the validation set.
      y_valid: its classes.
    """

    data: Dataset
    x_valid: Num[np.ndarray, "m ..."]
    y_valid: Int[np.ndarray, " m"]


@functools.cache
def recipe_of(name: RecipeName, epochs: int) -> Recipe:
    """How the ground truth is trained; equal recipes share one compiled program.

    Args:
      name: `adam`, 1e-3 and batches of 32, for so many epochs. `paper`, plain SGD in
        batches of 128 until the loss settles, for 50 epochs at least and `epochs` at
        most (the paper: 1000).
      epochs: see above.
    """
    if name == "paper":
        return until_settled(epochs=epochs, min_epochs=min(50, epochs))
    return Recipe(optimizer=optax.adam(1e-3), batch_size=32, epochs=epochs)


def retrained_leave_one_out(
    key: PRNGKey,
    split: Dealt,
    module: Any,
    *,
    recipe: Recipe,
    seeds: int,
    progress: Callable[[int, int], None] | None = None,
) -> Float[np.ndarray, "seeds players"]:
    """Validation accuracy lost when a contributor's rows are left out of training.

    Args:
      key: of the networks and the minibatches.
      split: rows to train on and to validate by.
      module: a network of `jaxval.models`.
      recipe: of each training; see `recipe_of`.
      seeds: trainings of each of the coalitions.
      progress: called with (trainings done, trainings in all).
    """
    scores = seed_scores(
        key,
        split.data,
        Points(split.x_valid, split.y_valid),
        from_module(module, split.data.x),
        recipe,
        seeds=seeds,
        execution=Execution(progress=progress),
    )(np.asarray(masks.leave_one_out(split.data.num_owners)))
    return (scores[:1] - scores[1:]).T.astype(np.float64)


def agreement_table(
    draws: Float[np.ndarray, "seeds players"],
    values: Mapping[str, Float[np.ndarray, " players"]],
    seconds: Mapping[str, float],
) -> Table:
    """Everybody's correlation with the mean of the retrained leave-one-outs.

    Args:
      draws: see `retrained_leave_one_out`.
      values: leave-one-out values by the name of the method.
      seconds: what each took, where that is known.
    """
    truth = draws.mean(0)
    rows = {
        name: (pearson(truth, each).value, spearman(truth, each).value)
        for name, each in values.items()
    }
    rows[HALVES] = _halves(draws)
    known = [seconds.get(name, math.nan) for name in rows]
    chance = 1 / math.sqrt(len(truth) - 1)
    return Table(
        "Check: leave-one-out by retraining, and who foretells it",
        (
            Column("method", list(rows)),
            Column("pearson", [row[0] for row in rows.values()]),
            Column("spearman", [row[1] for row in rows.values()]),
            Column("seconds", known, digits=3),
        ),
        "Correlation with the accuracy lost by retraining without each contributor, "
        f"mean of {len(draws)} seeds; chance alone reaches 0 ± {chance:.2f}. The last "
        "row is how far half of these seeds agree with the other half.",
    )


def _halves(draws) -> tuple[float, float]:
    if len(draws) < 2:
        return math.nan, math.nan
    key = jax.random.key(0)
    return (
        split_half_reliability(key, draws).half,
        split_half_reliability(key, draws, ranks=True).half,
    )


def key_of(seed: int) -> PRNGKey:
    """A key for retraining that shares nothing with those of the initialisations."""
    return jax.random.fold_in(jax.random.key(seed), 1)
