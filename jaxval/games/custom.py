"""Your own utility as a game: any function of a mask, any scikit-learn estimator.

Games on the host can't be traced by JAX: each coalition is scored once by NumPy code
and remembered. The adapters at the end speak the interface of shapiq's games, a
callable on a matrix of coalitions, in both directions and without depending on it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Array, Bool, Float, Num

from jaxval._checks import check, finite, groups, same_features, same_length
from jaxval.coalitions.game import Game
from jaxval.types import Dataset, Mask, ScoreFn

__all__ = [
    "CachedScores",
    "from_estimator",
    "from_function",
    "from_shapiq",
    "to_shapiq",
]


class CachedScores:
    """A function of a mask that is asked for each coalition only once.

    Attributes:
      calls: how often the function was asked.
    """

    def __init__(
        self, score: Callable[[Any], Any], num_players: int, jobs: int = 1
    ) -> None:
        check(jobs >= 1 or jobs == -1, f"jobs must be at least 1, or -1; got {jobs}.")
        self._score, self._players, self._jobs = score, num_players, jobs
        self._known: dict[bytes, float] = {}
        self.calls = 0

    def __call__(self, mask: Mask | Bool[np.ndarray, " players"]) -> float:
        """The score of one coalition."""
        return float(self.many(np.asarray(mask, bool)[None, :])[0])

    def many(
        self, masks: Bool[Array, "m players"] | Bool[np.ndarray, "m players"]
    ) -> Float[np.ndarray, " m"]:
        """The scores of many coalitions, the new ones side by side."""
        masks = np.asarray(masks, bool)
        keys = [np.packbits(mask).tobytes() for mask in masks]
        new = {k: m for k, m in zip(keys, masks, strict=True) if k not in self._known}
        for (key, mask), value in zip(new.items(), self._ask(new), strict=True):
            check(
                np.isfinite(value),
                f"the game's score must be finite; got {value} for the coalition of "
                f"players {np.flatnonzero(mask).tolist()}.",
            )
            self._known[key] = value
        self.calls += len(new)
        return np.array([self._known[key] for key in keys])

    def _ask(self, new):
        if self._jobs == 1 or len(new) < 2:
            return [float(self._score(mask)) for mask in new.values()]
        try:
            from joblib import Parallel, delayed
        except ImportError as error:
            raise ImportError(
                "jobs > 1 needs joblib: pip install joblib, or leave jobs at 1."
            ) from error
        run = Parallel(n_jobs=self._jobs)
        return [float(v) for v in run(delayed(self._score)(m) for m in new.values())]


def from_function(
    num_players: int,
    fn: ScoreFn | Callable[[Any], Any],
    *,
    jittable: bool,
    jobs: int = 1,
    batch_size: int | None = None,
) -> Game:
    """A game from any function of a boolean mask.

    Args:
      num_players: length of the mask.
      fn: the score of a coalition; defined for the empty one, and the same number for
        the same mask.
      jittable: `fn` is made of JAX operations. Otherwise it gets NumPy masks, its
        scores are remembered, and estimators run on the host.
      jobs: processes for a function that isn't jittable (joblib; -1 for all cores).
      batch_size: coalitions to vmap over at once, where jittable.

    Raises:
      ValueError: with fewer than 1 player or job. Scoring raises it too, naming the
        coalition, if a score is not finite and the function isn't jittable.

    Example:
      >>> game = from_function(2, lambda mask: float(mask.sum() ** 2), jittable=False)
      >>> game.powerset_scores().tolist()
      [0.0, 1.0, 1.0, 4.0]
    """
    check(num_players >= 1, f"num_players must be at least 1; got {num_players}.")
    if jittable:
        return Game(num_players, fn, batch_size=batch_size)
    cache = CachedScores(fn, num_players, jobs)
    return _on_host(num_players, cache, cache.many)


def from_estimator(
    estimator: Any,
    dataset: Dataset,
    x_valid: Num[np.ndarray, "v ..."],
    y_valid: Num[np.ndarray, " v"],
    *,
    scorer: Callable[[Any, Any, Any], float] | None = None,
    empty: float | None = None,
    jobs: int = 1,
) -> Game:
    """What a scikit-learn estimator scores after fitting on a coalition's rows.

    A coalition whose rows hold one class only isn't fitted: it predicts that class
    (most classifiers would refuse). Nobody predicts the commonest target of the
    validation rows, or their mean: the best that can be said without data.

    Args:
      estimator: with `fit` and `predict`; a fresh copy is fitted each time.
      dataset: training rows and owners.
      x_valid: validation inputs.
      y_valid: validation targets.
      scorer: `scorer(fitted, x, y)`, more being better, as from
        `sklearn.metrics.get_scorer`; the estimator's own `score` when left out.
      empty: the score of nobody, where the rule above doesn't suit.
      jobs: processes to fit in (joblib; -1 for all cores).

    Raises:
      ValueError: if the data don't fit together, or an owner has no rows.

    Example:
      >>> from sklearn.neighbors import KNeighborsClassifier
      >>> data = Dataset(np.array([[0.0], [1.0]]), np.array([0, 1]), np.array([0, 1]))
      >>> game = from_estimator(KNeighborsClassifier(1), data, data.x, data.y)
      >>> game.powerset_scores().tolist()
      [0.5, 0.5, 0.5, 1.0]

    References:
      Ghorbani and Zou, *Data Shapley*, ICML 2019 (the utility of a coalition).
    """
    same_length(x=dataset.x, y=dataset.y, owner=dataset.owner)
    same_length(x_valid=x_valid, y_valid=y_valid)
    check(len(y_valid) > 0, "y_valid is empty: there is nothing to score on.")
    same_features(x=dataset.x, x_valid=x_valid)
    same_features(y=dataset.y, y_valid=y_valid)
    players = groups("owner", dataset.owner)
    fit = _FitAndScore(
        estimator,
        np.asarray(dataset.x),
        np.asarray(dataset.y),
        np.asarray(dataset.owner),
        np.asarray(x_valid),
        np.asarray(y_valid),
        scorer,
        empty,
    )
    return from_function(players, fit, jittable=False, jobs=jobs)


class _FitAndScore:
    """Picklable, so that joblib can send it to other processes."""

    def __init__(self, estimator, x, y, owner, x_valid, y_valid, scorer, empty):
        self.data, self.valid = (x, y, owner), (x_valid, y_valid)
        self.estimator, self.scorer, self.empty = estimator, scorer, empty

    def __call__(self, mask):
        x, y, owner = self.data
        present = np.asarray(mask)[owner]
        if not present.any() and self.empty is not None:
            return self.empty
        return self._score(self._fitted(x[present], y[present]))

    def _fitted(self, x, y):
        from sklearn.base import clone, is_classifier

        classifies = is_classifier(self.estimator)
        if not len(x):
            return _constant(classifies, *self.valid)
        if classifies and (y == y[0]).all():
            return _constant(classifies, x, y)
        return clone(self.estimator).fit(x, y)

    def _score(self, fitted):
        scorer = self.scorer or (lambda model, x, y: model.score(x, y))
        return float(scorer(fitted, *self.valid))


def _constant(classifies, x, y):
    from sklearn.dummy import DummyClassifier, DummyRegressor

    kind = DummyClassifier(strategy="prior") if classifies else DummyRegressor()
    return kind.fit(x, y)


def to_shapiq(game: Game) -> Callable[[Bool[np.ndarray, "m n"]], Any]:
    """A callable on a matrix of coalitions, as shapiq's approximators take.

    Args:
      game: any.

    Returns:
      A function of coalitions, one a row (or a single one), to their scores.

    Example:
      >>> game = from_function(2, lambda mask: float(mask.sum()), jittable=False)
      >>> to_shapiq(game)(np.array([[True, True], [False, True]])).tolist()
      [2.0, 1.0]

    References:
      Muschalik et al., *shapiq: Shapley interactions for machine learning*, NeurIPS
      2024.
    """

    def values(coalitions):
        coalitions = np.atleast_2d(np.asarray(coalitions, bool))
        return np.asarray(game.scores(coalitions), np.float64)

    return values


def from_shapiq(
    game: Callable[[Bool[np.ndarray, "m n"]], Any], num_players: int
) -> Game:
    """A shapiq game, or any function of a matrix of coalitions, as a game.

    Args:
      game: takes one coalition a row and returns one score each.
      num_players: columns of that matrix.

    Raises:
      ValueError: with fewer than 1 player. Scoring raises it too, if the function
        doesn't return one finite score for each coalition.

    Example:
      >>> from_shapiq(lambda masks: masks.sum(axis=1), 2).powerset_scores().tolist()
      [0.0, 1.0, 1.0, 2.0]

    References:
      Muschalik et al., *shapiq: Shapley interactions for machine learning*, NeurIPS
      2024.
    """

    check(num_players >= 1, f"num_players must be at least 1; got {num_players}.")

    def scores(masks):
        masks = np.atleast_2d(np.asarray(masks, bool))
        found = np.asarray(game(masks), np.float64)
        check(
            found.shape == (len(masks),),
            f"the game must return one score for each of {len(masks)} coalitions; got "
            f"shape {found.shape}.",
        )
        finite("the game's scores", found)
        return found

    score = lambda mask: float(scores(mask)[0])
    return _on_host(num_players, score, scores)


def _on_host(num_players: int, score: Any, scores: Any) -> Game:
    return Game(num_players, score, fast_scores=scores, on_host=True)
