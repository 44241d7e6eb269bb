"""What a scikit-learn estimator scores after fitting on a coalition's rows."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxval._checks import check
from jaxval.games._digest import digest
from jaxval.types import Dataset, Points

__all__ = ["FitAndScore", "num_rows"]


def num_rows(x: Any) -> int:
    """Rows of an array, a data frame, or a sparse matrix (which has no length)."""
    return int(x.shape[0]) if hasattr(x, "shape") else len(x)


@dataclasses.dataclass(frozen=True, eq=False)
class FitAndScore:
    """Picklable, so that joblib can send it to other processes.

    Attributes:
      estimator: Estimator of scikit-learn's kind; a clone is fitted each time.
      data: Training rows as they came: arrays, data frames, sparse matrices.
      valid: Validation rows.
      scorer: `scorer(fitted, x, y)`; a name of scikit-learn's; `None` for the
        estimator's own.
      empty_score: Score of the empty coalition, or `None`.
      undefined_score: Score where the scorer is undefined, or `None` for an error.
      sample_weight: Weights of the training rows, or `None`.
      random_state: Seed of every `random_state` that is `None`.
    """

    estimator: Any
    data: Dataset
    valid: Points
    scorer: str | Callable[[Any, Any, Any], float] | None
    empty_score: float | None
    undefined_score: float | None
    sample_weight: Any
    random_state: int

    def __post_init__(self) -> None:
        """Checks that the estimator takes weights where there are any."""
        from sklearn.utils.validation import has_fit_parameter

        if self.sample_weight is None:
            return
        check(
            np.shape(self.sample_weight) == (num_rows(self.data.x),),
            f"sample_weight must have one entry per row, {num_rows(self.data.x)}; got "
            f"shape {np.shape(self.sample_weight)}.",
        )
        check(
            has_fit_parameter(self.estimator, "sample_weight"),
            f"sample_weight is given, and {type(self.estimator).__name__}.fit takes "
            "none: leave it out, or give another estimator.",
        )

    def __call__(self, mask: Any) -> float:
        """The score of one coalition."""
        rows = np.flatnonzero(np.asarray(mask, bool)[np.asarray(self.data.owner)])
        if not len(rows) and self.empty_score is not None:
            return self.empty_score
        return self._score(self._fitted(rows), mask)

    @property
    def fingerprint(self) -> str:
        """Hash of all that a score depends on: data, settings, version."""
        import sklearn

        kind = type(self.estimator)
        settings = [
            f"{kind.__module__}.{kind.__qualname__}",
            {name: re.sub(r" at 0x\w+", "", shown) for name, shown in self._settings()},
            self.empty_score, self.undefined_score, self.random_state,
            sklearn.__version__,
        ]  # fmt: skip
        return digest(settings, (*self.data, *self.valid, self.sample_weight))

    def check_lasting(self) -> None:
        """Check that another process would know the settings by their names."""
        for name, shown in self._settings():
            check(
                re.search(r"<lambda>|<locals>| at 0x", shown) is None,
                f"cache needs settings that can be named, and {name} is {shown}: give "
                "a function of a module, or leave cache out.",
            )

    def _settings(self):
        settings = self.estimator.get_params(deep=True) | {"scorer": self.scorer}
        return [(name, _shown(value)) for name, value in sorted(settings.items())]

    def _fitted(self, rows):
        from sklearn.base import clone, is_classifier

        y = np.asarray(self.data.y)
        classifies = is_classifier(self.estimator)
        if not len(rows):
            return _constant(classifies, np.asarray(self.valid.y))
        if classifies and (y[rows] == y[rows][0]).all():
            return _constant(classifies, y[rows], np.asarray(self.valid.y))
        model = clone(self.estimator)
        model.set_params(**_unset_seeds(model, self.random_state))
        weights = {}
        if self.sample_weight is not None:
            weights = {"sample_weight": np.asarray(self.sample_weight)[rows]}
        return model.fit(_take(self.data.x, rows), _take(self.data.y, rows), **weights)

    def _score(self, fitted, mask):
        try:
            score = float(self._scorer()(fitted, *self.valid))
        except ValueError as error:
            return self._undefined(mask, str(error), error)
        return self._undefined(mask, "NaN", None) if np.isnan(score) else score

    def _scorer(self):
        if self.scorer is None:
            return lambda model, x, y: model.score(x, y)
        if isinstance(self.scorer, str):
            from sklearn.metrics import get_scorer

            return get_scorer(self.scorer)
        return self.scorer

    def _undefined(self, mask, what, error):
        if self.undefined_score is not None:
            return self.undefined_score
        members = np.flatnonzero(mask)[:10].tolist()
        raise ValueError(
            f"the scorer is undefined for the coalition of players {members} ({what}). "
            "Give undefined_score, the score of such coalitions."
        ) from error


def _take(x, rows):
    """Rows of an array, a data frame (which keeps its columns), or a sparse matrix."""
    if hasattr(x, "iloc"):
        return x.iloc[rows]
    return x.tocsr()[rows] if hasattr(x, "tocsr") else x[rows]


def _unset_seeds(model, seed):
    """Every `random_state` that is `None`: left so, equal masks would score unalike."""
    return {
        name: seed
        for name, value in model.get_params(deep=True).items()
        if value is None and name.split("__")[-1] == "random_state"
    }


def _constant(classifies, y, y_valid=None):
    """The best prediction without inputs; it knows the validation rows' classes too."""
    from sklearn.dummy import DummyClassifier, DummyRegressor

    if not classifies:
        return DummyRegressor().fit(np.zeros((len(y), 1)), y)
    others = [] if y_valid is None else np.setdiff1d(y_valid, y)
    labels = np.concatenate([y, others]) if len(others) else y
    weights = np.arange(len(labels)) < len(y)
    model = DummyClassifier(strategy="prior")
    return model.fit(np.zeros((len(labels), 1)), labels, sample_weight=weights * 1.0)


def _shown(value) -> str:
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return repr(value)
