"""Regressions from a point to its value: for points that were not valued.

A *value model* is a function `(x, y, values) -> predict`, and `predict(x, y)` gives the
values of other points; `y` are class numbers or real targets. Distributional Shapley's
fast variant and EcoVal's model $R$ are both such functions.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Num
from sklearn import (
    dummy,
    ensemble,
    exceptions,
    linear_model,
    model_selection,
    neighbors,
    pipeline,
    preprocessing,
)

from jaxval._checks import check, finite, positive, same_features, same_length
from jaxval._targets import feature_rows, numbers
from jaxval.types import AnyArray

__all__ = [
    "Predict",
    "ValueModel",
    "best_per_class",
    "cross_validated",
    "nearest_neighbours",
    "ridge",
]

Predict = Callable[
    [Num[AnyArray, "m d"], Num[AnyArray, "m ..."]], Float[np.ndarray, " m"]
]
"""Values of other points from their features and targets."""

ValueModel = Callable[
    [Num[AnyArray, "n d"], Num[AnyArray, "n ..."], Num[AnyArray, " n"]], Predict
]
"""Learns values from points whose value is known."""


def ridge(penalty: float = 10.0, *, with_target: bool = False) -> ValueModel:
    """Ridge regression on standardised features.

    Args:
      penalty: Multiplier of the squared norm of the weights, against the sum of squared
        errors, for features of variance 1.
      with_target: Whether the target (classes as indicators) is a feature too. A
        mislabelled point differs from its neighbours in nothing else.

    Raises:
      ValueError: If `penalty` is not positive. Fitting raises it too for values or
        features that are not finite, predicting for other features.

    Example:
      >>> x = np.arange(6.0)[:, None]
      >>> predict = ridge(1e-6)(x, np.zeros(6, int), 2 * x[:, 0])
      >>> float(predict(np.array([[10.0]]), np.zeros(1, int)).round(3)[0])
      20.0

    References:
      Hoerl and Kennard, *Ridge regression: biased estimation for nonorthogonal
      problems*, 1970.
    """
    positive("penalty", penalty)
    return _of_all_classes(lambda: _scaled(linear_model.Ridge(penalty)), with_target)


def nearest_neighbours(
    num_neighbours: int = 5, *, with_target: bool = False
) -> ValueModel:
    """The mean value of the nearest points, in standardised features.

    Args:
      num_neighbours: Neighbours to average; fewer when fewer values are known.
      with_target: Whether the target is a feature too, as in `ridge`.

    Raises:
      ValueError: If `num_neighbours` is below 1.

    Example:
      >>> x = np.arange(6.0)[:, None]
      >>> predict = nearest_neighbours(3)(x, np.zeros(6, int), x[:, 0])
      >>> predict(np.array([[2.1]]), np.zeros(1, int)).tolist()
      [2.0]

    References:
      Fix and Hodges, *Discriminatory analysis: nonparametric discrimination*, 1951.
    """
    check(
        num_neighbours >= 1, f"num_neighbours must be at least 1; got {num_neighbours}."
    )

    def fit(x, y, values):
        def make():
            count = min(num_neighbours, len(x))
            return _scaled(neighbors.KNeighborsRegressor(count))

        return _of_all_classes(make, with_target)(x, y, values)

    return fit


def best_per_class(num_folds: int = 10, seed: int = 0) -> ValueModel:
    """For each class, the regression that cross-validates best; Ghorbani et al.'s rule.

    The candidates: random forests of 5, 10, 25, 50 and 100 trees, the Lasso and ridge
    regression of penalties 1 to 1e-5, and 1, 3, 5 and 7 nearest neighbours. A class of
    fewer than 4 known values gets their mean, an unknown class the mean of all.

    Args:
      num_folds: Folds of the cross-validation at most; fewer for small classes. The
        authors' is 10.
      seed: Seed of the forests and the folds.

    Raises:
      ValueError: If targets are not class numbers: real targets have no classes to be
        apart by. Use `ridge` or `nearest_neighbours` with `with_target`.

    Example:
      >>> x, y = np.zeros((6, 1)), np.array([0, 0, 0, 1, 1, 1])
      >>> predict = best_per_class(2)(x, y, np.array([1.0, 1, 1, 2, 2, 2]))
      >>> predict(np.zeros((3, 1)), np.array([0, 1, 7])).tolist()
      [1.0, 2.0, 1.5]

    References:
      Ghorbani, Kim and Zou, *A Distributional Framework for Data Valuation*, ICML 2020,
      and its released code.
    """
    check(num_folds >= 2, f"num_folds must be at least 2; got {num_folds}.")

    def fit(x, y, values):
        x, y, values = _checked(x, y, values)
        _check_classes(y)
        rows = {c: np.flatnonzero(y == c) for c in np.unique(y)}
        models = {c: _best(x[i], values[i], num_folds, seed) for c, i in rows.items()}
        overall, fitted_x = float(values.mean()), x

        def predict(x, y):
            x, y = _joining(fitted_x, x, y)
            out = np.full(len(x), overall)
            for c, model in models.items():
                if np.any(y == c):
                    out[y == c] = model.predict(x[y == c])
            return out

        return predict

    return fit


def cross_validated(
    model: ValueModel,
    x: Num[AnyArray, "n d"],
    y: Num[AnyArray, "n ..."],
    values: Num[AnyArray, " n"],
    num_folds: int = 5,
) -> float:
    """Explained share of the variance of held-out values: 1 is perfect, 0 the mean.

    Negative where the model does worse than the mean; NaN with fewer than 4 points or
    when all values are equal.

    Args:
      model: Value model to judge.
      x: Features, one row per point.
      y: Targets, one per point.
      values: Known values.
      num_folds: Folds, in a fixed shuffled order.

    Raises:
      ValueError: If `num_folds` is below 2, or lengths differ.

    Example:
      >>> x = np.arange(20.0)[:, None]
      >>> round(cross_validated(ridge(1e-6), x, np.zeros(20, int), 3 * x[:, 0]), 6)
      1.0

    References:
      Stone, *Cross-validatory choice and assessment of statistical predictions*, 1974.
    """
    check(num_folds >= 2, f"num_folds must be at least 2; got {num_folds}.")
    x, y, values = _checked(x, y, values)
    if len(x) < 4 or np.ptp(values) == 0:
        return float("nan")
    folds = model_selection.KFold(min(num_folds, len(x)), shuffle=True, random_state=0)
    predicted = np.empty(len(x))
    for fitted, held_out in folds.split(x):
        predict = model(x[fitted], y[fitted], values[fitted])
        predicted[held_out] = predict(x[held_out], y[held_out])
    return float(1 - np.mean((values - predicted) ** 2) / np.var(values))


def _of_all_classes(make: Callable[[], Any], with_target: bool) -> ValueModel:
    def fit(x, y, values):
        x, y, values = _checked(x, y, values)
        features = _with_target(y) if with_target else lambda x, _: _rows(x)
        model = make().fit(features(x, y), values)
        return lambda new, y_new: model.predict(features(*_joining(x, new, y_new)))

    return fit


def _joining(fitted_x, x, y):
    x, y = _rows(x), np.asarray(y)
    same_length(x=x, y=y)
    same_features(**{"x of known values": fitted_x, "x": x})
    finite("x", x)
    return x, y


def _check_classes(y):
    check(
        y.ndim == 1 and np.issubdtype(y.dtype, np.integer),
        f"y must hold class numbers as integers, for each class has a model of its own;"
        f" got shape {y.shape} of {y.dtype}. For other targets use ridge or "
        "nearest_neighbours, with_target=True.",
    )


def _with_target(y):
    if not np.issubdtype(y.dtype, np.integer):
        return lambda x, y: np.column_stack([_rows(x), y.reshape(len(y), -1)])
    classes = np.unique(y)
    return lambda x, y: np.column_stack([_rows(x), y[:, None] == classes[None, :]])


def _best(x, values, num_folds, seed):
    if len(x) < 4 or np.ptp(values) == 0:
        return dummy.DummyRegressor().fit(x, values)
    folds = model_selection.KFold(
        min(num_folds, len(x)), shuffle=True, random_state=seed
    )
    smallest = len(x) - -(-len(x) // folds.get_n_splits())

    def score(model):
        scores = model_selection.cross_val_score(
            model, x, values, cv=folds, scoring="neg_mean_squared_error"
        )
        return np.mean(scores)

    with warnings.catch_warnings():
        # A Lasso that has not settled is judged like any other candidate.
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
        best = max(_candidates(smallest, float(np.std(values)), seed), key=score)
        return best.fit(x, values)


def _candidates(smallest_fold: int, scale: float, seed: int):
    trees = (5, 10, 25, 50, 100)
    penalties = 10.0 ** -np.arange(6)
    forest = ensemble.RandomForestRegressor
    return [
        *(forest(n, random_state=seed, n_jobs=1) for n in trees),
        # Values are of the order of 1e-3, where the Lasso's usual penalties leave
        # nothing: they count in units of the values' spread.
        *(_scaled(linear_model.Lasso(s * scale, max_iter=10_000)) for s in penalties),
        *(_scaled(linear_model.Ridge(s)) for s in penalties),
        *(neighbors.KNeighborsRegressor(k) for k in (1, 3, 5, 7) if k <= smallest_fold),
    ]


def _scaled(model):
    return pipeline.make_pipeline(preprocessing.StandardScaler(), model)


def _rows(x):
    return feature_rows("x", x)


def _checked(x, y, values):
    x, values = _rows(x), numbers("values", values, ndim=1)
    y = np.asarray(y)
    # Integers are classes; other targets must be numbers.
    y = y if y.dtype.kind in "iub" else numbers("y", y)
    same_length(x=x, y=y, values=values)
    return x, y, values
