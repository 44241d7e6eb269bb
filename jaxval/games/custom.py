"""Your own utility as a game: any function of a mask, any scikit-learn estimator.

Games on the host can't be traced by JAX: each coalition is scored once by NumPy code
and remembered. The adapters at the end speak the interface of shapiq's games, a
callable on a matrix of coalitions, in both directions and without depending on it.
"""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jaxval._checks import check, finite, groups, same_features
from jaxval._targets import owners
from jaxval.coalitions.game import Game
from jaxval.games.fitted_scores import FitAndScore, num_rows
from jaxval.games.score_store import ScoreStore
from jaxval.types import AnyArray, Dataset, Mask, Points, ScoreFn

__all__ = [
    "CachedScores",
    "from_estimator",
    "from_function",
    "from_shapiq",
    "to_shapiq",
]


class CachedScores:
    """A function of a mask that is asked for each coalition only once.

    Args:
      score: Function of a mask.
      num_players: Length of the mask.
      jobs: Processes to ask it in (joblib; -1 for all cores).
      store: Scores on disk, looked up before asking.

    Attributes:
      num_evaluations: How often the function was asked.

    Raises:
      ValueError: If `jobs` is neither positive nor -1. Scoring raises it too, naming
        the coalition, if a score is not finite.

    Example:
      >>> scores = CachedScores(lambda mask: mask.sum() * 1.0, 2)
      >>> scores.many(np.array([[True, True], [True, True]])).tolist()
      [2.0, 2.0]
      >>> scores.num_evaluations
      1
    """

    def __init__(
        self,
        score: Callable[[Any], Any],
        num_players: int,
        jobs: int = 1,
        store: ScoreStore | None = None,
    ) -> None:
        check(jobs >= 1 or jobs == -1, f"jobs must be at least 1, or -1; got {jobs}.")
        self._score, self._players, self._jobs = score, num_players, jobs
        self._known: dict[bytes, float] = {}
        self._store = store
        self.num_evaluations = 0

    def __call__(self, mask: Mask | Bool[np.ndarray, " players"]) -> float:
        """The score of one coalition."""
        return float(self.many(np.asarray(mask, bool)[None, :])[0])

    def many(self, masks: Bool[AnyArray, "m players"]) -> Float[np.ndarray, " m"]:
        """The scores of many coalitions, the new ones side by side."""
        masks = np.asarray(masks, bool)
        keys = [np.packbits(mask).tobytes() for mask in masks]
        new = {k: m for k, m in zip(keys, masks, strict=True) if k not in self._known}
        if self._store is not None and new:
            self._known |= self._store.get(new)
            new = {key: mask for key, mask in new.items() if key not in self._known}
        # Each score is kept as it comes: an interrupt loses none.
        for (key, mask), value in zip(new.items(), self._ask(new), strict=True):
            self.num_evaluations += 1
            check(
                np.isfinite(value),
                f"the game's score must be finite; got {value} for the coalition of "
                f"players {np.flatnonzero(mask).tolist()}.",
            )
            self._known[key] = value
            if self._store is not None:
                self._store.put(key, value)
        return np.array([self._known[key] for key in keys])

    def _ask(self, new):
        if self._jobs == 1 or len(new) < 2:
            return (float(self._score(mask)) for mask in new.values())
        try:
            from joblib import Parallel, delayed
        except ImportError as error:
            raise ImportError(
                "jobs > 1 needs joblib: pip install joblib, or leave jobs at 1."
            ) from error
        run = Parallel(n_jobs=self._jobs, return_as="generator")
        return (float(v) for v in run(delayed(self._score)(m) for m in new.values()))


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
      num_players: Length of the mask.
      fn: Score of a coalition; defined for the empty one, and the same number for the
        same mask.
      jittable: Whether `fn` is made of JAX operations. Otherwise it gets NumPy masks,
        its scores are remembered, and estimators run on the host.
      jobs: Processes for a function that isn't jittable (joblib; -1 for all cores).
      batch_size: Coalitions to vmap over at once, where jittable.

    Raises:
      ValueError: With fewer than 1 player or job. Scoring raises it too, naming the
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
    data: Dataset,
    valid: Points,
    *,
    scorer: str | Callable[[Any, Any, Any], float] | None = None,
    empty_score: float | None = None,
    undefined_score: float | None = None,
    sample_weight: Float[np.ndarray, " n"] | None = None,
    random_state: int = 0,
    jobs: int = 1,
    cache: str | pathlib.Path | None = None,
) -> Game:
    """What a scikit-learn estimator scores after fitting on a coalition's rows.

    A coalition whose rows hold one class only isn't fitted: it predicts that class
    (most classifiers would refuse). The empty coalition predicts the commonest target
    of the validation rows, or their mean: the best that can be said without data.

    Args:
      estimator: Estimator with `fit` and `predict`; a fresh copy is fitted each time.
      data: Training rows and owners. Inputs may be an array, a data frame (whose
        columns the estimator sees) or a sparse matrix.
      valid: Validation rows.
      scorer: `scorer(fitted, x, y)`, the larger the better, or a name that
        `sklearn.metrics.get_scorer` knows, such as `"roc_auc"`; the estimator's own
        `score` when left out.
      empty_score: Score of the empty coalition, where the rule above doesn't suit.
      undefined_score: Score of a coalition on which the scorer is undefined: it raises
        `ValueError`, or gives NaN. Left out, that is an error.
      sample_weight: Weights of the training rows, passed to `fit`.
      random_state: Seed of every `random_state` that the estimator leaves at `None`, so
        that the same mask gives the same score.
      jobs: Processes to fit in (joblib; -1 for all cores).
      cache: SQLite file of scores to look up and to add to, kept across processes; its
        key is the mask and a hash of data, settings and scikit-learn's version.

    Returns:
      A game on the host, whose scores are remembered.

    Raises:
      ValueError: If the data don't fit together, an owner has no rows, weights are
        given that the estimator doesn't take, or `cache` meets settings without a
        lasting name. Scoring raises it too where the scorer is undefined.

    Example:
      >>> from sklearn.neighbors import KNeighborsClassifier
      >>> data = Dataset(np.array([[0.0], [1.0]]), np.array([0, 1]), np.array([0, 1]))
      >>> valid = Points(data.x, data.y)
      >>> game = from_estimator(KNeighborsClassifier(1), data, valid)
      >>> game.powerset_scores().tolist()
      [0.5, 0.5, 0.5, 1.0]

    References:
      Ghorbani and Zou, *Data Shapley*, ICML 2019 (the utility of a coalition).
    """
    data, valid = Dataset(*map(_as_array, data)), Points(*map(_as_array, valid))
    data = data._replace(owner=owners("data.owner", data.owner))
    players = _check_rows(data, valid)
    fit = FitAndScore(
        estimator, data, valid, scorer, empty_score, undefined_score, sample_weight,
        random_state,
    )  # fmt: skip
    store = None
    if cache is not None:
        fit.check_lasting()
        store = ScoreStore(cache, fit.fingerprint)
    scores = CachedScores(fit, players, jobs, store)
    game = _on_host(players, scores, scores.many)
    return dataclasses.replace(game, fingerprint=fit.fingerprint)


def _as_array(values):
    """Lists and arrays of objects as plain NumPy; frames and the like as they are."""
    if isinstance(values, list | tuple):
        values = np.array(values)
    if isinstance(values, np.ndarray) and values.dtype.kind == "O":
        return np.array(values.tolist())
    return values


def _check_rows(data, valid) -> int:
    sizes = [num_rows(each) for each in (data.x, data.y, data.owner)]
    valid_sizes = [num_rows(each) for each in valid]
    check(
        len(set(sizes)) == 1,
        f"data.x, data.y, data.owner must have one row per sample; got {sizes} rows.",
    )
    check(
        len(set(valid_sizes)) == 1,
        f"valid.x, valid.y must have one row per sample; got {valid_sizes} rows.",
    )
    check(valid_sizes[0] > 0, "valid.y is empty: there is nothing to score on.")
    same_features(**{"data.x": data.x, "valid.x": valid.x})
    same_features(**{"data.y": data.y, "valid.y": valid.y})
    return groups("data.owner", data.owner)


def to_shapiq(game: Game) -> Callable[[Bool[np.ndarray, "m n"]], Any]:
    """A callable on a matrix of coalitions, as shapiq's approximators take.

    Args:
      game: Any game.

    Returns:
      A function of coalitions, one per row (or a single one), to their scores.

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
      game: Function of coalitions, one per row, to one score each.
      num_players: Columns of that matrix.

    Raises:
      ValueError: With fewer than 1 player. Scoring raises it too, if the function
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
        answer = np.asarray(game(masks), np.float64)
        check(
            answer.shape == (len(masks),),
            f"the game must return one score for each of {len(masks)} coalitions; got "
            f"shape {answer.shape}.",
        )
        finite("the game's scores", answer)
        return answer

    def score(mask):
        return float(scores(mask)[0])

    return _on_host(num_players, score, scores)


def _on_host(num_players: int, score: Any, scores: Any) -> Game:
    return Game(num_players, score, fast_scores=scores, on_host=True)
