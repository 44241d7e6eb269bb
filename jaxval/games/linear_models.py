r"""Games of models with one optimum: logistic regression and ridge.

No seed, no learning rate: $v(S)$ is the metric of the optimum on $S$, to a stated
tolerance. The walk through an order starts each fit where the one before it ended.

The empty coalition's model is the best constant for the validation data: the shares of
its classes as probabilities (whose accuracy is Data Shapley's $v(\emptyset)$, the share
of the commonest class) or the mean of its targets.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float

from jaxval._checks import check, positive, train_and_valid
from jaxval._targets import class_targets, numbers, owners, real_targets
from jaxval.coalitions.game import Game, Rows
from jaxval.execution.precision import float64, in_double
from jaxval.games.logistic_scores import (
    LogisticPrefixes,
    LogisticRows,
    LogisticScore,
    LogisticStep,
    Rules,
    logistic_arrays,
)
from jaxval.linear_models import design, fit_ridge, rotate
from jaxval.training.losses import (
    MetricFn,
    accuracy,
    mean_metric,
    negative,
    squared_error,
)
from jaxval.types import Dataset, Mask, Points

__all__ = ["data_shapley", "logistic", "ridge"]


def logistic(
    data: Dataset,
    valid: Points,
    *,
    penalty: float = 1.0,
    metric: MetricFn = accuracy,
    require_all_classes: bool = False,
    tolerance: float = 1e-4,
    batch_size: int = 1024,
) -> Game:
    r"""The game of multinomial logistic regression, Data Shapley's utility.

    Each coalition's model is scikit-learn's `LogisticRegression(C=1 / penalty)` of its
    classes (see `linear_models.fit_logistic`), its penalty on the weights of the
    features as they are given. A coalition of one class names it always. Where the
    solver doesn't reach `tolerance` the score is NaN, which estimators refuse:
    standardise the inputs, or raise `penalty`.

    Args:
      data: Training inputs, classes (numbers, one-hot or text) and owners; the players
        are the owners.
      valid: Validation inputs and classes.
      penalty: Multiplier of half the squared norm of the weights, against the *sum* of
        the coalition's losses.
      metric: Metric of the logits, one score per validation row; the larger the better.
      require_all_classes: Whether a coalition that lacks a class of `valid` scores as
        the empty one does, as in Data Shapley.
      tolerance: Largest entry of the gradient of the mean loss with penalty that
        passes; 1e-4 is scikit-learn's own default.
      batch_size: Coalitions scored at once.

    Returns:
      A game that answers by validation row (`Game.rows`), and all prefixes of an order
      by fits that start from one another.

    Raises:
      ValueError: If lengths or features differ, numbers aren't finite, or targets are
        no classes.

    Example:
      >>> import numpy as np
      >>> x, y = np.array([[0.0], [1.0], [0.1], [0.9]]), np.array([0, 1, 0, 1])
      >>> game = logistic(Dataset(x, y, np.arange(4)), Points(x, y), penalty=0.01)
      >>> game.prefix_scores(jnp.arange(4)).tolist()
      [0.5, 0.5, 1.0, 1.0, 1.0]

    References:
      Ghorbani and Zou, *Data Shapley*, ICML 2019.
    """
    positive("penalty", penalty)
    positive("tolerance", tolerance)
    check(batch_size >= 1, f"batch_size must be at least 1; got {batch_size}.")
    targets = {"data.y": data.y, "valid.y": valid.y}
    (labels, valid_labels), classes = class_targets(**targets)
    data, valid = _numbers(data, valid, labels, valid_labels)
    arrays = logistic_arrays(data, valid, classes, penalty)
    rules = Rules(metric, tolerance, require_all_classes, batch_size)
    return Game(
        data.num_owners,
        Partial(LogisticScore(rules), arrays),
        fast_prefixes=Partial(LogisticPrefixes(rules, by_row=False), arrays),
        fast_step=Partial(LogisticStep(rules), arrays),
        batch_size=batch_size,
        rows=Rows(
            len(valid.y),
            Partial(LogisticRows(rules), arrays),
            Partial(LogisticPrefixes(rules, by_row=True), arrays),
        ),
    )


def data_shapley(
    data: Dataset, valid: Points, *, penalty: float = 1.0, batch_size: int = 1024
) -> Game:
    r"""Data Shapley's game with its own rules, for the estimator of the same name.

    The accuracy of logistic regression; the share of the commonest class of `valid`
    for the empty coalition, and for every coalition in which a class of `valid` is
    missing, so that the player who completes the classes is paid for the whole jump.
    Its truncation is `semivalues.truncated.data_shapley`. Where owners hold single
    classes hardly any coalition completes them: use `logistic`.

    Args:
      data: Training inputs, classes and owners; the players are the owners.
      valid: Validation inputs and classes.
      penalty: Multiplier of half the squared norm of the weights; 1 in the released
        code.
      batch_size: Coalitions scored at once.

    Raises:
      ValueError: If the data don't fit together, as in `logistic`.

    Example:
      >>> import numpy as np
      >>> x, y = np.array([[0.0], [1.0], [0.1], [0.9]]), np.array([0, 1, 0, 1])
      >>> game = data_shapley(Dataset(x, y, np.arange(4)), Points(x, y), penalty=0.01)
      >>> game.prefix_scores(jnp.array([0, 2, 1, 3])).tolist()
      [0.5, 0.5, 0.5, 1.0, 1.0]

    References:
      Ghorbani and Zou, *Data Shapley*, ICML 2019, and its released code.
    """
    return logistic(
        data, valid, penalty=penalty, require_all_classes=True, batch_size=batch_size
    )


def _numbers(data, valid, y, y_valid) -> tuple[Dataset, Points]:
    """The data as NumPy: inputs in float64, targets as they were read."""
    owner = owners("data.owner", data.owner)
    dataset = Dataset(numbers("data.x", data.x), y, owner)
    points = Points(numbers("valid.x", valid.x), y_valid)
    train_and_valid(dataset, points)
    return dataset, points


class _Ridge(NamedTuple):
    scatter: Float[Array, "players p p"]
    cross: Float[Array, "players p outputs"]
    x_valid: Float[Array, "v p"]
    y_valid: Float[Array, "v outputs"]
    constant: Float[Array, " outputs"]
    penalty: Float[Array, ""]


def ridge(
    data: Dataset,
    valid: Points,
    *,
    penalty: float = 1.0,
    metric: MetricFn | None = None,
    batch_size: int = 256,
) -> Game:
    r"""The game of ridge regression, scikit-learn's `Ridge(alpha=penalty)`.

    A coalition's model needs $X_S^\top X_S$ and $X_S^\top Y_S$ alone, which are sums
    over its players: a score costs the same for any number of rows.

    Args:
      data: Training inputs, real targets (one or several per row) and owners.
      valid: Validation inputs and targets.
      penalty: Multiplier of the squared norm of the weights, against the *sum* of
        squared errors.
      metric: Metric of the outputs, one score per validation row; minus the squared
        error when left out.
      batch_size: Coalitions scored at once.

    Returns:
      A game that answers by validation row (`Game.rows`).

    Raises:
      ValueError: If lengths, features or targets differ or numbers aren't finite.

    Example:
      >>> import numpy as np
      >>> x = np.array([[0.0], [1.0], [2.0]])
      >>> data = Dataset(x, 2 * x[:, 0], np.arange(3))
      >>> game = ridge(data, Points(x, 2 * x[:, 0]))
      >>> round(float(game.score(jnp.ones(3, bool))), 6)
      -0.296296

    References:
      Hoerl and Kennard, *Ridge regression: biased estimation for nonorthogonal
      problems*, 1970.
    """
    positive("penalty", penalty)
    check(batch_size >= 1, f"batch_size must be at least 1; got {batch_size}.")
    targets = {"data.y": data.y, "valid.y": valid.y}
    data, valid = _numbers(data, valid, *real_targets(**targets))
    metric = negative(squared_error) if metric is None else metric
    arrays = _ridge_arrays(data, valid, penalty)
    return Game(
        data.num_owners,
        Partial(_RidgeScore(metric), arrays),
        batch_size=batch_size,
        rows=Rows(len(valid.y), Partial(_RidgeRows(metric, batch_size), arrays)),
    )


@in_double
def _ridge_arrays(data, valid, penalty):
    frame, count = design(data.x), data.num_owners
    x, y, owner = frame.x, float64(data.y), jnp.asarray(data.owner)

    def sums(rows):
        return jax.ops.segment_sum(rows, owner, count)

    return _Ridge(
        scatter=sums(x[:, :, None] * x[:, None, :]),
        cross=sums(x[:, :, None] * y[:, None, :]),
        x_valid=rotate(frame, valid.x),
        y_valid=float64(valid.y),
        constant=float64(valid.y.mean(0)),
        penalty=float64(penalty),
    )


@dataclasses.dataclass(frozen=True)
class _RidgeScore:
    metric: MetricFn

    @in_double
    def __call__(self, arrays: _Ridge, mask: Mask):
        outputs = _ridge_outputs(arrays, mask)
        return mean_metric(self.metric, outputs, arrays.y_valid)


@dataclasses.dataclass(frozen=True)
class _RidgeRows:
    metric: MetricFn
    batch_size: int

    @in_double
    def __call__(self, arrays: _Ridge, masks):
        def one(mask):
            return self.metric(_ridge_outputs(arrays, mask), arrays.y_valid)

        return jax.lax.map(one, jnp.asarray(masks), batch_size=self.batch_size)


def _ridge_outputs(arrays, mask):
    """Predictions `(v, outputs)` of a coalition's model."""
    seen = mask.astype(jnp.float64)
    scatter = jnp.tensordot(seen, arrays.scatter, 1)
    cross = jnp.tensordot(seen, arrays.cross, 1)
    weights = fit_ridge(scatter, cross, arrays.penalty)
    outputs = arrays.x_valid @ weights
    return jnp.where(mask.any(), outputs, arrays.constant[None, :])
