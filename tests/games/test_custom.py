import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import get_scorer, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from jaxval.games import custom
from jaxval.semivalues import stopping
from jaxval.semivalues.checkpoint import CheckpointError
from jaxval.semivalues.permutation import permutation_sampling
from jaxval.semivalues.runs import run
from jaxval.types import Dataset, Points

RNG = np.random.default_rng(0)
X, OWNER = RNG.normal(size=(20, 3)), np.arange(20) % 4
Y = (X[:, 0] + 0.3 * OWNER > 0.4).astype(int)
DATA, VALID = Dataset(X, Y, OWNER), Points(X, Y)
ALL = np.ones(4, bool)


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_estimator_is_fitted_on_the_coalition_once(jobs):
    game = custom.from_estimator(
        LogisticRegression(), Dataset(X, Y, OWNER), VALID, jobs=jobs
    )
    mask = np.array([True, False, True, False])
    rows = mask[OWNER]
    expected = LogisticRegression().fit(X[rows], Y[rows]).score(X, Y)
    scores = game.scores(np.stack([mask, mask, ~mask]))
    np.testing.assert_allclose(scores[:2], expected)
    assert game.score(mask) == scores[0]
    assert game.score.num_evaluations == 2


def test_vanished_classes_and_the_empty_coalition_have_a_score():
    y = np.array([0, 1, 1, 1, 2] * 4)
    owner = np.array([0, 1, 1, 1, 2] * 4)
    game = custom.from_estimator(
        LogisticRegression(), Dataset(X, y, owner), Points(X, y)
    )
    assert game.score(np.zeros(3, bool)) == pytest.approx(0.6)
    assert game.score(np.array([True, False, False])) == pytest.approx(0.2)


def test_regression_and_scorers():
    y = X @ np.array([1.0, 2.0, 0.0])
    scorer = get_scorer("neg_mean_squared_error")
    game = custom.from_estimator(
        Ridge(), Dataset(X, y, OWNER), Points(X, y), scorer=scorer
    )
    np.testing.assert_allclose(game.score(np.zeros(4, bool)), -np.var(y))
    assert game.score(np.ones(4, bool)) > -0.1


def test_a_jittable_function_is_a_plain_game():
    game = custom.from_function(3, lambda mask: mask.sum() * 2.0, jittable=True)
    assert not game.on_host
    assert float(game.score(jnp.array([True, True, False]))) == 4.0


def test_scores_that_are_not_numbers_name_the_coalition():
    game = custom.from_function(2, lambda mask: np.nan, jittable=False)
    with pytest.raises(ValueError, match=r"finite.*players \[1\]"):
        game.score(np.array([False, True]))


def test_shapiq_both_ways():
    square = lambda masks: masks.sum(axis=1) ** 2.0
    game = custom.from_shapiq(square, 3)
    masks = RNG.integers(0, 2, (5, 3)).astype(bool)
    np.testing.assert_allclose(custom.to_shapiq(game)(masks), square(masks))
    assert game.prefix_scores(jnp.array([2, 0, 1])).tolist() == [0, 1, 4, 9]


@pytest.mark.parametrize(
    ("data", "valid", "message"),
    [
        (Dataset(X, Y, 2 * OWNER), (X, Y), "without gaps"),
        (Dataset(X, Y, OWNER), (X[:, :2], Y), "valid.x must have the same features"),
        (Dataset(X, Y, OWNER), (X[:0], Y[:0]), "valid.y is empty"),
    ],
)
def test_data_for_an_estimator_are_checked(data, valid, message):
    with pytest.raises(ValueError, match=message):
        custom.from_estimator(LogisticRegression(), data, Points(*valid))


def test_a_shapiq_game_must_score_every_coalition():
    total = custom.from_shapiq(lambda masks: np.asarray([masks.sum() * 1.0]), 3)
    with pytest.raises(ValueError, match="one score for each of 2 coalitions"):
        total.scores(np.ones((2, 3), bool))
    with pytest.raises(ValueError, match="num_players must be at least 1"):
        custom.from_shapiq(lambda masks: masks.sum(axis=1), 0)


MASKS = np.array([[True, False, True, True], [True, True, False, True], ALL])


def scores_of(model=None, data=DATA, valid=VALID, **options):
    model = LogisticRegression() if model is None else model
    return custom.from_estimator(model, data, valid, **options).scores(MASKS)


class NamedColumns(LogisticRegression):
    """Refuses to be fitted or asked without the names of its columns."""

    def fit(self, X, y):
        assert list(X.columns) == ["a", "b", "c"]
        return super().fit(X, y)

    def predict(self, X):
        assert list(X.columns) == ["a", "b", "c"]
        return super().predict(X)


def test_data_frames_keep_their_columns():
    frame = pd.DataFrame(X, columns=["a", "b", "c"], index=np.arange(20)[::-1])
    data, valid = Dataset(frame, pd.Series(Y), OWNER), Points(frame, Y)
    np.testing.assert_array_equal(scores_of(NamedColumns(), data, valid), scores_of())


@pytest.mark.parametrize(
    "make", [sparse.csr_matrix, sparse.coo_matrix, sparse.csc_array]
)
def test_sparse_matrices_work(make):
    data, valid = DATA._replace(x=make(X)), VALID._replace(x=make(X))
    np.testing.assert_array_equal(scores_of(data=data, valid=valid), scores_of())


def test_scorers_by_name_and_where_they_are_undefined():
    owner = np.where(Y == 1, 0, OWNER + 1)  # players 1 to 4 have one class
    data = Dataset(X, Y, np.unique(owner, return_inverse=True)[1])
    n = data.num_owners
    game = custom.from_estimator(LogisticRegression(), data, VALID, scorer="roc_auc")
    model = LogisticRegression().fit(X, Y)
    expected = roc_auc_score(Y, model.decision_function(X))
    assert game.score(np.ones(n, bool)) == pytest.approx(expected)
    # A constant prediction ranks by chance; so does the empty coalition's.
    assert game.score(np.arange(n) == 1) == 0.5
    assert game.score(np.zeros(n, bool)) == 0.5

    three = np.where(np.arange(20) == 0, 2, Y)
    data, valid = DATA._replace(y=three), VALID._replace(y=three)
    without = MASKS[0] & (np.arange(4) != OWNER[0])
    make = lambda **options: custom.from_estimator(
        LogisticRegression(), data, valid, scorer="roc_auc_ovr", **options
    )
    with pytest.raises(
        ValueError, match=r"undefined .* players \[2, 3\].*undefined_sc"
    ):
        make().score(without)
    assert make(undefined_score=0.5).score(without) == 0.5
    assert make(undefined_score=0.5).score(ALL) > 0.5


def test_sample_weights_are_passed():
    weight = RNG.random(20)
    rows = MASKS[0][OWNER]
    model = LogisticRegression().fit(X[rows], Y[rows], sample_weight=weight[rows])
    found = scores_of(sample_weight=weight, scorer="neg_log_loss")[0]
    expected = get_scorer("neg_log_loss")(model, X, Y)
    np.testing.assert_allclose(found, expected)
    piped = make_pipeline(StandardScaler(), LogisticRegression())
    with pytest.raises(ValueError, match=r"Pipeline.fit takes none"):
        scores_of(piped, sample_weight=weight)
    with pytest.raises(ValueError, match="one entry per row, 20"):
        scores_of(sample_weight=weight[:5])


@pytest.mark.parametrize("piped", [False, True])
def test_the_same_mask_gives_the_same_score(piped):
    forest = RandomForestClassifier(3, max_depth=1)
    model = make_pipeline(StandardScaler(), forest) if piped else forest
    log_loss = lambda **options: scores_of(model, scorer="neg_brier_score", **options)
    np.testing.assert_array_equal(log_loss(), log_loss())
    assert (log_loss() != log_loss(random_state=1)).any()
    assert forest.random_state is None


def test_scores_are_kept_on_disk(tmp_path):
    path = tmp_path / "deep" / "scores.sqlite"
    make = lambda model, data=DATA, **options: custom.from_estimator(
        model, data, VALID, cache=path, **options
    )
    first = make(LogisticRegression())
    expected = first.scores(MASKS)
    again = make(LogisticRegression())
    np.testing.assert_array_equal(again.scores(MASKS), expected)
    assert (first.score.num_evaluations, again.score.num_evaluations) == (3, 0)
    others = [
        make(LogisticRegression(C=0.1)),
        make(LogisticRegression(), data=DATA._replace(x=X + 1e-9)),
        make(LogisticRegression(), data=DATA._replace(owner=OWNER[::-1].copy())),
        make(LogisticRegression(), scorer="roc_auc"),
        make(LogisticRegression(), sample_weight=np.ones(20)),
    ]
    for game in others:
        game.scores(MASKS)
        assert game.score.num_evaluations == 3
    assert b"sklearn" not in path.read_bytes()


def test_what_is_scored_before_an_interrupt_is_kept(tmp_path):
    class Stops(LogisticRegression):
        """Fails on the third fit."""

        fits = 0

        def fit(self, X, y):
            Stops.fits += 1
            if Stops.fits == 3:
                raise KeyboardInterrupt
            return super().fit(X, y)

    Stops.__qualname__ = "Stops"
    make = lambda: custom.from_estimator(
        Stops(), DATA, VALID, cache=tmp_path / "scores.sqlite"
    )
    with pytest.raises(KeyboardInterrupt):
        make().scores(MASKS)
    resumed = make()
    resumed.scores(MASKS)
    assert resumed.score.num_evaluations == 1


def test_a_cache_that_cannot_be_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"scorer is .*<lambda>.*leave cache out"):
        scores_of(scorer=lambda model, x, y: 0.0, cache=tmp_path / "scores")
    (tmp_path / "text").write_text("no table at all, but long enough to be looked at")
    with pytest.raises(ValueError, match="can't be used as a file of scores"):
        scores_of(cache=tmp_path / "text")


def test_fingerprints_tell_data_and_settings_apart():
    fit = lambda model=None, data=DATA, scorer=None: (
        custom.FitAndScore(
            model or LogisticRegression(), data, VALID, scorer, None, None, None, 0
        ).fingerprint
    )
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    others = [
        fit(LogisticRegression(C=2.0)),
        fit(Ridge()),
        fit(data=DATA._replace(y=1 - Y)),
        fit(data=DATA._replace(x=frame)),
        fit(data=DATA._replace(x=frame.rename(columns={"a": "d"}))),
        fit(data=DATA._replace(x=sparse.csr_matrix(X))),
        fit(scorer="roc_auc"),
        fit(scorer=get_scorer("roc_auc")),
        fit(scorer=lambda model, x, y: 0.0),
    ]
    assert fit() == fit()
    assert len({fit(), *others}) == 10


def test_a_checkpoint_of_other_data_is_refused(tmp_path):
    path, method = tmp_path / "run", permutation_sampling(4)
    go = lambda data: run(
        jax.random.key(0), method,
        custom.from_estimator(LogisticRegression(), data, VALID),
        until=stopping.units(2), every=1, checkpoint=path,
    )  # fmt: skip
    go(DATA)
    # The same endpoints, and other owners in between.
    with pytest.raises(CheckpointError, match="belongs to another run"):
        go(DATA._replace(owner=(OWNER + 1) % 4))
