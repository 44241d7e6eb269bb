"""Fits and scores of coalitions by logistic regression: what its game is made of."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxval.execution.precision import float64, in_double
from jaxval.linear_models import Design, design, fit_logistic, rotate
from jaxval.training.losses import MetricFn, mean_metric
from jaxval.types import Dataset, Mask, Order, Points

__all__ = [
    "LogisticArrays",
    "LogisticPrefixes",
    "LogisticRows",
    "LogisticScore",
    "LogisticStep",
    "Rules",
    "logistic_arrays",
]

# Logits of classes that a coalition lacks, below its least likely class: such a class
# is never named, and a loss stays finite.
_UNSEEN = 30.0


class LogisticArrays(NamedTuple):
    """Data of the game on the axes of one design."""

    frame: Design
    targets: Float[Array, "n classes"]
    owner: Int[Array, " n"]
    x_valid: Float[Array, "v p"]
    y_valid: Int[Array, " v"]
    constant: Float[Array, " classes"]
    has: Bool[Array, "players classes"]
    penalty: Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class Rules:
    """Settings; equal ones share their compiled programs."""

    metric: MetricFn
    tolerance: float
    require_all_classes: bool
    batch_size: int


@in_double
def logistic_arrays(
    data: Dataset, valid: Points, count: int, penalty: float
) -> LogisticArrays:
    """Arrays of the game of `count` classes."""
    frame = design(data.x)
    has = np.zeros((data.num_owners, count), bool)
    has[data.owner, data.y] = True
    share = np.bincount(valid.y, minlength=count) / len(valid.y)
    return LogisticArrays(
        frame=frame,
        targets=float64(np.eye(count)[data.y]),
        owner=jnp.asarray(data.owner, jnp.int32),
        x_valid=rotate(frame, valid.x),
        y_valid=jnp.asarray(valid.y, jnp.int32),
        constant=float64(np.log(np.maximum(share, np.exp(-_UNSEEN)))),
        has=jnp.asarray(has),
        penalty=float64(penalty),
    )


@dataclasses.dataclass(frozen=True)
class LogisticScore:
    """The score of one coalition, fitted from zero."""

    rules: Rules

    @in_double
    def __call__(self, arrays: LogisticArrays, mask: Mask):
        """$v(S)$."""
        fit = _fit(self.rules, arrays, mask, _zeros(arrays))
        return _score(self.rules, arrays, mask, fit)


@dataclasses.dataclass(frozen=True)
class LogisticRows:
    """Scores of validation rows `(m, rows)` of coalitions `(m, players)`."""

    rules: Rules

    @in_double
    def __call__(self, arrays: LogisticArrays, masks):
        """Scores of rows, one coalition after another in batches."""

        def one(mask):
            fit = _fit(self.rules, arrays, mask, _zeros(arrays))
            return _row_scores(self.rules, arrays, mask, fit)

        masks = jnp.asarray(masks)
        return jax.lax.map(one, masks, batch_size=min(self.rules.batch_size, 64))


@dataclasses.dataclass(frozen=True)
class LogisticStep:
    """A score, and the weights for a larger coalition to start from."""

    rules: Rules

    @in_double
    def __call__(self, arrays: LogisticArrays, weights: Array | None, mask: Mask):
        """Weights of the fit, and $v(S)$."""
        start = _zeros(arrays) if weights is None else weights
        fit = _fit(self.rules, arrays, mask, start)
        return fit.weights, _score(self.rules, arrays, mask, fit)


@dataclasses.dataclass(frozen=True)
class LogisticPrefixes:
    """Scores of all prefixes of an order (by row: of each validation row)."""

    rules: Rules
    by_row: bool

    @in_double
    def __call__(self, arrays: LogisticArrays, order: Order):
        """Scores of the first 0, 1, ..., n players."""
        judge = _row_scores if self.by_row else _score

        def step(carry, player):
            mask, weights = carry
            mask = mask.at[player].set(True)
            fit = _fit(self.rules, arrays, mask, weights)
            return (mask, fit.weights), judge(self.rules, arrays, mask, fit)

        empty, start = jnp.zeros(order.shape[0], bool), _zeros(arrays)
        fit = _fit(self.rules, arrays, empty, start)
        first = judge(self.rules, arrays, empty, fit)
        _, scores = jax.lax.scan(step, (empty, start), order)
        return jnp.concatenate([first[None], scores])


def _zeros(arrays):
    return jnp.zeros((arrays.frame.x.shape[1], arrays.targets.shape[1]))


def _fit(rules, arrays, mask, start):
    return fit_logistic(
        arrays.frame.x, arrays.targets, mask[arrays.owner], arrays.penalty, start,
        tolerance=rules.tolerance,
    )  # fmt: skip


def _logits(rules, arrays, mask, fit):
    """Logits `(v, classes)`, and whether they are those of the fit."""
    seen = jnp.any(arrays.has & mask[:, None], axis=0)  # (classes,)
    complete = seen | (arrays.constant <= -_UNSEEN)
    is_fitted = complete.all() if rules.require_all_classes else seen.any()
    logits = arrays.x_valid @ fit.weights
    lowest = jnp.min(jnp.where(seen[None, :], logits, jnp.inf), axis=1, keepdims=True)
    logits = jnp.where(seen[None, :], logits, lowest - _UNSEEN)
    return jnp.where(is_fitted, logits, arrays.constant[None, :]), is_fitted


def _score(rules, arrays, mask, fit):
    logits, is_fitted = _logits(rules, arrays, mask, fit)
    score = mean_metric(rules.metric, logits, arrays.y_valid)
    # A fit that stopped short of its optimum must not pass for one.
    return jnp.where(is_fitted & ~fit.converged, jnp.nan, score)


def _row_scores(rules, arrays, mask, fit):
    logits, is_fitted = _logits(rules, arrays, mask, fit)
    scores = rules.metric(logits, arrays.y_valid)
    return jnp.where(is_fitted & ~fit.converged, jnp.nan, scores)
