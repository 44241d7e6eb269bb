"""Ground truths: leave-one-out by retraining, one training seed per row."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import optax
from jaxtyping import Float

from jaxval.coalitions import masks
from jaxval.execution.options import Execution
from jaxval.experiments.parts.deals import Contributors
from jaxval.games.retraining import seed_scores
from jaxval.runner.cache import cached
from jaxval.runner.contract import SILENT, Context
from jaxval.training import Recipe, from_module, until_settled
from jaxval.types import PRNGKey

__all__ = ["RecipeName", "leave_one_out", "leave_one_out_by_seed", "recipe"]


RecipeName = Literal["adam", "paper"]

# One object, so that equal recipes are equal and share their compiled programs.
_ADAM = optax.adam(1e-3)


def recipe(name: RecipeName, epochs: int) -> Recipe:
    """How the ground truth is trained; equal recipes share one compiled program.

    Args:
      name: Recipe: `adam`, 1e-3 and batches of 32 for `epochs` epochs; or `paper`,
        plain SGD in batches of 128 until the loss settles, for at least 50 epochs.
      epochs: Epochs of each training, at most (1000 in the paper).
    """
    if name == "paper":
        return until_settled(epochs=epochs, min_epochs=min(50, epochs))
    return Recipe(optimizer=_ADAM, batch_size=32, epochs=epochs)


def leave_one_out(
    key: PRNGKey,
    deal: Contributors,
    module: Any,
    *,
    recipe: Recipe,
    seeds: int,
    progress: Callable[[int, int], None] | None = None,
) -> Float[np.ndarray, "seeds players"]:
    """Validation accuracy lost when a contributor's rows are left out of training.

    Args:
      key: PRNG key of the networks and the minibatches.
      deal: Rows to train on and to validate by.
      module: Network of `jaxval.models`.
      recipe: Recipe of each training, as of `recipe`.
      seeds: Trainings of each of the coalitions.
      progress: Called with (trainings done, trainings in all).
    """
    scores = seed_scores(
        key,
        deal.data,
        deal.valid,
        from_module(module, deal.data.x),
        recipe,
        seeds=seeds,
        execution=Execution(progress=progress),
    )(np.asarray(masks.leave_one_out(deal.data.num_owners)))
    return (scores[:1] - scores[1:]).T.astype(np.float64)


def leave_one_out_by_seed(
    keys: Sequence[PRNGKey],
    deal: Contributors,
    module: Any,
    recipe: Recipe,
    context: Context = SILENT,
) -> tuple[Float[np.ndarray, "seeds players"], float]:
    """Leave-one-out by retraining, each seed kept as soon as it is through.

    Args:
      keys: PRNG keys, one per training seed.
      deal: Rows to train on and to validate by.
      module: Network of `jaxval.models`.
      recipe: Recipe of each training.
      context: Progress, and the folder where seeds are kept.

    Returns:
      Values, one seed per row, and the mean seconds of one seed.
    """
    runs = deal.data.num_owners + 1
    draws, spent = [], []
    with context.progress("retraining") as update:
        for seed, key in enumerate(keys):

            def draw(key=key, before=seed * runs):
                return leave_one_out(
                    key,
                    deal,
                    module,
                    recipe=recipe,
                    seeds=1,
                    progress=lambda done, _: update(before + done, len(keys) * runs),
                )[0]

            values, seconds = cached(context.scratch, f"retrained-{seed}", draw)
            draws.append(values)
            spent.append(seconds)
    return np.stack(draws), float(np.mean(spent))
