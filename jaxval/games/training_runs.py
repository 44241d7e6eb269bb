"""One training run of a coalition: what the retraining games compile."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxval._checks import check
from jaxval.execution.memory import num_parallel
from jaxval.execution.options import Execution
from jaxval.training import MetricFn, Network, Recipe, predict, run_bytes, train

__all__ = ["RunArrays", "TrainAndScore", "runs_at_once"]

_EVAL_ROWS = 256
"""Validation rows predicted at once."""


class RunArrays(NamedTuple):
    """Keys of the seeds, and the data."""

    keys: Any
    x: Any
    y: Any
    owner: Any
    x_valid: Any
    y_valid: Any


@dataclasses.dataclass(frozen=True)
class TrainAndScore:
    """One run: equal settings are equal functions, and so one compiled program."""

    network: Network
    recipe: Recipe
    metric: MetricFn
    reinitialise: bool

    def __call__(self, arrays: RunArrays, item: Any) -> Any:
        """Scores of validation rows of one (mask, seed number)."""
        mask, seed = item
        key = arrays.keys[seed]
        key = _fold_in_mask(key, mask) if self.reinitialise else key
        init_key, order_key = jax.random.split(key)
        start = self.network.init(init_key)
        out = train(
            order_key, self.network, start, arrays.x, arrays.y, mask[arrays.owner],
            self.recipe,
        )  # fmt: skip
        outputs = predict(self.network, out.variables, arrays.x_valid, _EVAL_ROWS)
        scores = self.metric(outputs, arrays.y_valid)
        check(
            jnp.shape(scores) == outputs.shape[:1],
            f"metric must return one score for each of {len(outputs)} validation rows; "
            f"got shape {jnp.shape(scores)}. Leave the mean over rows out of it.",
        )
        # A metric may take NaN for a class: a diverged run must not pass for a bad one.
        return jnp.where(jnp.isfinite(outputs).all(), scores, jnp.nan)


def _fold_in_mask(key, mask):
    words = jnp.packbits(mask).astype(jnp.uint32)

    def fold(key, word):
        return jax.random.fold_in(key, word), None

    return jax.lax.scan(fold, key, words)[0]


def runs_at_once(
    platform: str,
    network: Network,
    recipe: Recipe,
    arrays: RunArrays,
    execution: Execution,
) -> int:
    """Training runs in parallel on each device."""
    if execution.batch_size is not None:
        return execution.batch_size
    if platform == "cpu" and execution.memory is None:
        return 1
    each = run_bytes(network, recipe, arrays.x, arrays.y, eval_rows=_EVAL_ROWS)
    return num_parallel(each, platform=platform, memory=execution.memory)
