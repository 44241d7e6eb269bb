r"""Games of models with one optimum: logistic regression and ridge.

No seed, no learning rate: $v(S)$ is the metric of the optimum on $S$, to a stated
tolerance. The walk through an order starts each fit where the one before it ended.

Nobody's model is the best constant for the validation data: the shares of its classes
as probabilities (whose accuracy is Data Shapley's $v(\emptyset)$, the share of the
commonest class) or the mean of its targets.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Int, Num

from jaxval._checks import (
    check,
    class_numbers,
    finite,
    groups,
    positive,
    same_features,
    same_length,
)
from jaxval.coalitions.game import Game
from jaxval.execution.precision import float64, in_double
from jaxval.linear_models import Design, design, fit_logistic, fit_ridge, rotate
from jaxval.training.losses import (
    MetricFn,
    accuracy,
    mean_metric,
    negative,
    squared_error,
)
from jaxval.types import Dataset, Mask, Order

__all__ = ["data_shapley", "logistic", "ridge"]

# Logits of classes that a coalition lacks, below its least likely class: such a class
# is never named, and a loss stays finite.
_UNSEEN = 30.0


class _Logistic(NamedTuple):
    frame: Design
    targets: Float[Array, "n classes"]
    owner: Int[Array, " n"]
    x_valid: Float[Array, "v p"]
    y_valid: Int[Array, " v"]
    constant: Float[Array, " classes"]
    has: Bool[Array, "players classes"]
    strength: Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class _Rules:
    metric: MetricFn
    tolerance: float
    all_classes: bool


def logistic(
    data: Dataset,
    x_valid: Num[Array, "v ..."] | Num[np.ndarray, "v ..."],
    y_valid: Int[Array, " v"] | Int[np.ndarray, " v"],
    *,
    strength: float = 1.0,
    metric: MetricFn = accuracy,
    all_classes: bool = False,
    tolerance: float = 1e-4,
    batch_size: int = 1024,
) -> Game:
    r"""The game of multinomial logistic regression, Data Shapley's utility.

    Each coalition's model is scikit-learn's `LogisticRegression(C=strength)` of its
    classes (see `linear_models.fit_logistic`); a coalition of one class names it
    always. Where the solver doesn't reach `tolerance` the score is NaN, which
    estimators refuse: scale the inputs, or lower `strength`.

    Args:
      data: training inputs, class numbers and owners; the players are the owners.
      x_valid: validation inputs.
      y_valid: validation classes.
      strength: $C$, the weight of the data against the penalty.
      metric: of the logits on the validation data; accuracy when left out.
      all_classes: pay what nobody is paid where a class of `y_valid` is missing, as
        Data Shapley does.
      tolerance: of the largest entry of the gradient of the mean loss with penalty.
        scikit-learn's own default is 1e-4.
      batch_size: coalitions scored at once.

    Raises:
      ValueError: if lengths or features differ, numbers aren't finite or classes not
        numbers.

    Example:
      >>> x, y = np.array([[0.0], [1.0], [0.1], [0.9]]), np.array([0, 1, 0, 1])
      >>> game = logistic(Dataset(x, y, np.arange(4)), x, y, strength=100.0)
      >>> game.prefix_scores(jnp.arange(4)).tolist()
      [0.5, 0.5, 1.0, 1.0, 1.0]

    References:
      Ghorbani and Zou, *Data Shapley*, ICML 2019.
    """
    num_players = _check(data, x_valid, y_valid)
    positive("strength", strength)
    positive("tolerance", tolerance)
    check(batch_size >= 1, f"batch_size must be at least 1; got {batch_size}.")
    labels, valid = class_numbers("y", data.y), class_numbers("y_valid", y_valid)
    arrays = _logistic_arrays(data, labels, x_valid, valid, strength)
    rules = _Rules(metric, tolerance, all_classes)
    return Game(
        num_players,
        Partial(_LogisticScore(rules), arrays),
        fast_prefixes=Partial(_LogisticPrefixes(rules), arrays),
        fast_step=Partial(_LogisticStep(rules), arrays),
        batch_size=batch_size,
    )


def data_shapley(
    data: Dataset,
    x_valid: Num[Array, "v ..."] | Num[np.ndarray, "v ..."],
    y_valid: Int[Array, " v"] | Int[np.ndarray, " v"],
    *,
    strength: float = 1.0,
    batch_size: int = 1024,
) -> Game:
    r"""Data Shapley's game with its own rules, for the estimator of the same name.

    The accuracy of logistic regression; the share of the commonest class of `y_valid`
    for nobody, and for every coalition in which a class of `y_valid` is missing, so
    that whoever completes the classes is paid for the whole jump. Its truncation is
    `semivalues.truncated.data_shapley`. Where owners hold single classes almost nobody
    completes them: use `logistic`.

    Args:
      data: training inputs, class numbers and owners; the players are the owners.
      x_valid: validation inputs.
      y_valid: validation classes.
      strength: $C$, the weight of the data against the penalty; 1 in the released code.
      batch_size: coalitions scored at once.

    Raises:
      ValueError: as of `logistic`.

    Example:
      >>> x, y = np.array([[0.0], [1.0], [0.1], [0.9]]), np.array([0, 1, 0, 1])
      >>> game = data_shapley(Dataset(x, y, np.arange(4)), x, y, strength=100.0)
      >>> game.prefix_scores(jnp.array([0, 2, 1, 3])).tolist()
      [0.5, 0.5, 0.5, 1.0, 1.0]

    References:
      Ghorbani and Zou, *Data Shapley*, ICML 2019, and its released code.
    """
    return logistic(
        data,
        x_valid,
        y_valid,
        strength=strength,
        all_classes=True,
        batch_size=batch_size,
    )


@in_double
def _logistic_arrays(data, labels, x_valid, valid, strength):
    frame = design(data.x)
    count = int(max(labels.max(), valid.max())) + 1
    owner = np.asarray(data.owner)
    has = np.zeros((data.num_owners, count), bool)
    has[owner, labels] = True
    share = np.bincount(valid, minlength=count) / len(valid)
    return _Logistic(
        frame=frame,
        targets=float64(np.eye(count)[labels]),
        owner=jnp.asarray(owner, jnp.int32),
        x_valid=rotate(frame, x_valid),
        y_valid=jnp.asarray(valid, jnp.int32),
        constant=float64(np.log(np.maximum(share, np.exp(-_UNSEEN)))),
        has=jnp.asarray(has),
        strength=float64(strength),
    )


@dataclasses.dataclass(frozen=True)
class _LogisticScore:
    rules: _Rules

    @in_double
    def __call__(self, arrays: _Logistic, mask: Mask):
        return _fit_and_score(self.rules, arrays, mask, _zeros(arrays))[1]


@dataclasses.dataclass(frozen=True)
class _LogisticStep:
    """A score, and the weights for a larger coalition to start from."""

    rules: _Rules

    @in_double
    def __call__(self, arrays: _Logistic, weights: Array | None, mask: Mask):
        start = _zeros(arrays) if weights is None else weights
        return _fit_and_score(self.rules, arrays, mask, start)


@dataclasses.dataclass(frozen=True)
class _LogisticPrefixes:
    rules: _Rules

    @in_double
    def __call__(self, arrays: _Logistic, order: Order):
        def step(carry, player):
            mask, weights = carry
            mask = mask.at[player].set(True)
            weights, score = _fit_and_score(self.rules, arrays, mask, weights)
            return (mask, weights), score

        nobody = jnp.zeros(order.shape[0], bool)
        start = _zeros(arrays)
        empty = _fit_and_score(self.rules, arrays, nobody, start)[1]
        _, scores = jax.lax.scan(step, (nobody, start), order)
        return jnp.concatenate([empty[None], scores])


def _zeros(arrays):
    return jnp.zeros((arrays.frame.x.shape[1], arrays.targets.shape[1]))


def _fit_and_score(rules, arrays, mask, start):
    fit = fit_logistic(
        arrays.frame.x, arrays.targets, mask[arrays.owner], arrays.strength, start,
        tolerance=rules.tolerance,
    )  # fmt: skip
    seen = jnp.any(arrays.has & mask[:, None], axis=0)
    needed = seen | (arrays.constant <= -_UNSEEN)
    paid = needed.all() if rules.all_classes else seen.any()
    logits = arrays.x_valid @ fit.weights
    lowest = jnp.min(jnp.where(seen[None, :], logits, jnp.inf), axis=1, keepdims=True)
    logits = jnp.where(seen[None, :], logits, lowest - _UNSEEN)
    logits = jnp.where(paid, logits, arrays.constant[None, :])
    score = mean_metric(rules.metric, logits, arrays.y_valid)
    # A fit that stopped short of its optimum must not pass for one.
    return fit.weights, jnp.where(paid & ~fit.converged, jnp.nan, score)


class _Ridge(NamedTuple):
    scatter: Float[Array, "players p p"]
    cross: Float[Array, "players p outputs"]
    x_valid: Float[Array, "v p"]
    y_valid: Num[Array, "v ..."]
    constant: Float[Array, " outputs"]
    alpha: Float[Array, ""]


def ridge(
    data: Dataset,
    x_valid: Num[Array, "v ..."] | Num[np.ndarray, "v ..."],
    y_valid: Num[Array, "v ..."] | Num[np.ndarray, "v ..."],
    *,
    alpha: float = 1.0,
    metric: MetricFn | None = None,
    batch_size: int = 256,
) -> Game:
    r"""The game of ridge regression, scikit-learn's `Ridge(alpha)`.

    A coalition's model needs $X_S^\top X_S$ and $X_S^\top Y_S$ alone, which are sums
    over its players: a score costs the same for any number of rows.

    Args:
      data: training inputs, real targets (one or several a row) and owners.
      x_valid: validation inputs.
      y_valid: validation targets.
      alpha: penalty on the squared weights, against the sum of squared errors.
      metric: of the outputs on the validation data; minus the mean squared error when
        left out.
      batch_size: coalitions scored at once.

    Raises:
      ValueError: if lengths, features or targets differ or numbers aren't finite.

    Example:
      >>> x = np.array([[0.0], [1.0], [2.0]])
      >>> game = ridge(Dataset(x, 2 * x[:, 0], np.arange(3)), x, 2 * x[:, 0])
      >>> round(float(game.score(jnp.ones(3, bool))), 6)
      -0.296296

    References:
      Hoerl and Kennard, *Ridge regression: biased estimation for nonorthogonal
      problems*, 1970.
    """
    num_players = _check(data, x_valid, y_valid)
    same_features(y=data.y, y_valid=y_valid)
    positive("alpha", alpha)
    check(batch_size >= 1, f"batch_size must be at least 1; got {batch_size}.")
    metric = negative(squared_error) if metric is None else metric
    arrays = _ridge_arrays(data, x_valid, y_valid, alpha, num_players)
    return Game(
        num_players, Partial(_RidgeScore(metric), arrays), batch_size=batch_size
    )


@in_double
def _ridge_arrays(data, x_valid, y_valid, alpha, num_players):
    frame = design(data.x)
    y = float64(np.asarray(data.y, float).reshape(len(data.y), -1))
    sums = lambda rows: jax.ops.segment_sum(rows, jnp.asarray(data.owner), num_players)
    x = frame.x
    return _Ridge(
        scatter=sums(x[:, :, None] * x[:, None, :]),
        cross=sums(x[:, :, None] * y[:, None, :]),
        x_valid=rotate(frame, x_valid),
        y_valid=float64(y_valid),
        constant=float64(np.asarray(y_valid, float).reshape(len(y_valid), -1).mean(0)),
        alpha=float64(alpha),
    )


@dataclasses.dataclass(frozen=True)
class _RidgeScore:
    metric: MetricFn

    @in_double
    def __call__(self, arrays: _Ridge, mask: Mask):
        seen = mask.astype(jnp.float64)
        total = lambda sums: jnp.tensordot(seen, sums, 1)
        weights = fit_ridge(total(arrays.scatter), total(arrays.cross), arrays.alpha)
        outputs = arrays.x_valid @ weights
        outputs = jnp.where(mask.any(), outputs, arrays.constant[None, :])
        return mean_metric(self.metric, outputs, arrays.y_valid)


def _check(data, x_valid, y_valid):
    same_length(x=data.x, y=data.y, owner=data.owner)
    same_length(x_valid=x_valid, y_valid=y_valid)
    same_features(x=data.x, x_valid=x_valid)
    check(len(y_valid) > 0, "y_valid is empty: there is nothing to score on.")
    arrays: dict[str, Any] = {
        "x": data.x, "y": data.y, "x_valid": x_valid, "y_valid": y_valid,
    }  # fmt: skip
    for name, array in arrays.items():
        finite(name, array)
    return groups("owner", data.owner)
