"""Convex games against scikit-learn, cold against warm, and their rules."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.linear_model import LogisticRegression, Ridge

from jaxval.coalitions import masks, queries
from jaxval.execution.precision import double
from jaxval.games.linear_models import logistic, ridge
from jaxval.linear_models import design, fit_logistic, fit_ridge, rotate
from jaxval.training import negative
from jaxval.training.losses import cross_entropy
from jaxval.types import Dataset, Points


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    shuffle = np.random.default_rng(0).permutation(len(y))
    return x[shuffle] / 16, y[shuffle]


def point_game(digits, n=60, valid=100, **options):
    x, y = digits
    data = Dataset(x[:n], y[:n], np.arange(n))
    return logistic(data, Points(x[n : n + valid], y[n : n + valid]), **options)


@pytest.mark.parametrize(("classes", "scale"), [(2, 1.0), (4, 16.0), (10, 1.0)])
def test_logistic_reaches_scikit_learns_optimum(digits, classes, scale):
    x, y = digits
    chosen = y < classes
    x, y = scale * x[chosen][:80], y[chosen][:80]
    present = np.random.default_rng(1).random(80) < 0.6
    frame = design(x)
    with double():
        start = jnp.zeros((frame.x.shape[1], 10))
        targets = jnp.asarray(np.eye(10)[y])
        fit = fit_logistic(
            frame.x, targets, jnp.asarray(present), jnp.asarray(1.0), start,
            tolerance=1e-10,
        )  # fmt: skip
        ours = np.asarray(frame.x @ fit.weights)
    model = LogisticRegression(tol=1e-9, max_iter=10**4, solver="newton-cg")
    theirs = model.fit(x[present], y[present]).decision_function(x)
    if classes == 2:
        np.testing.assert_allclose(ours[:, 1] - ours[:, 0], theirs, atol=1e-5)
    else:
        ours = ours[:, :classes] - ours[:, :classes].mean(axis=1, keepdims=True)
        theirs = theirs - theirs.mean(axis=1, keepdims=True)
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert float(fit.gradient) <= 1e-10


def test_utilities_of_coalitions_are_scikit_learns(digits):
    x, y = digits
    game = point_game(digits, n=100, valid=200)
    rng = np.random.default_rng(0)
    coalitions = rng.random((60, 100)) < rng.uniform(0.1, 1.0, (60, 1))
    ours = np.asarray(jax.jit(lambda g, m: g.scores(m))(game, jnp.asarray(coalitions)))
    theirs = [
        LogisticRegression(max_iter=1000).fit(x[:100][s], y[:100][s])
        .score(x[100:300], y[100:300])
        for s in coalitions
    ]  # fmt: skip
    assert np.abs(ours - theirs).mean() * 200 <= 1.0


def test_walking_warm_equals_starting_cold(digits):
    game = point_game(digits, n=25, metric=negative(cross_entropy), tolerance=1e-9)
    order = jax.random.permutation(jax.random.key(0), 25)
    warm = jax.jit(lambda g, o: g.prefix_scores(o))(game, order)
    cold = jax.jit(lambda g, m: g.scores(m))(game, masks.prefixes(order))
    np.testing.assert_allclose(warm, cold, atol=1e-6)
    assert np.isfinite(warm).all()


def test_walks_can_be_vmapped(digits):
    game = point_game(digits, n=12, valid=40)
    keys = jax.random.split(jax.random.key(0), 3)
    orders = jax.vmap(lambda key: jax.random.permutation(key, 12))(keys)
    together = jax.jit(jax.vmap(game.prefix_scores))(orders)
    alone = jnp.stack([jax.jit(game.prefix_scores)(order) for order in orders])
    np.testing.assert_allclose(together, alone, atol=1e-12)


def test_a_fit_that_misses_its_tolerance_is_no_score(digits):
    x, y = digits
    data = Dataset(x[:12], y[:12] % 2, np.arange(12))
    game = logistic(data, Points(x[12:30], y[12:30] % 2), tolerance=1e-25)
    members = jnp.stack([jnp.ones(12, bool), jnp.zeros(12, bool)])
    grand, empty = np.asarray(jax.jit(lambda g, m: g.scores(m))(game, members))
    assert np.isnan(grand)
    assert empty == pytest.approx(np.bincount(y[12:30] % 2).max() / 18, rel=1e-6)
    with pytest.raises(ValueError, match="finite"):
        queries.ends(game)


def test_a_step_is_a_score_and_where_to_go_on(digits):
    game = point_game(digits, n=8, metric=negative(cross_entropy), tolerance=1e-9)
    few, more = np.arange(8) < 5, np.arange(8) < 6
    step = jax.jit(lambda g, carry, m: g.fast_step(carry, m))
    carry, first = step(game, None, jnp.asarray(few))
    _, second = step(game, carry, jnp.asarray(more))
    cold = jax.jit(lambda g, m: g.scores(m))(game, jnp.asarray(np.stack([few, more])))
    np.testing.assert_allclose([first, second], cold, atol=1e-7)


def test_the_empty_coalition_scores_the_commonest_class_and_one_class_its_share(digits):
    x, y = digits
    data = Dataset(x[:4], np.array([0, 0, 1, 2]), np.arange(4))
    y_valid = np.array([0, 1, 1, 2, 2, 2])
    game = logistic(data, Points(x[4:10], y_valid))
    assert game.score(jnp.zeros(4, bool)) == pytest.approx(0.5)
    only_zeros = game.score(jnp.array([True, True, False, False]))
    assert only_zeros == pytest.approx(1 / 6)


def test_data_shapleys_rule_pays_nothing_until_all_classes_are_there(digits):
    x, _ = digits
    data = Dataset(x[:4], np.array([0, 0, 1, 2]), np.arange(4))
    valid = Points(x[4:8], np.array([0, 1, 2, 2]))
    game = logistic(data, valid, require_all_classes=True)
    scores = np.asarray(game.prefix_scores(jnp.arange(4)))
    np.testing.assert_allclose(scores[:4], 0.5)


def test_owners_pay_for_all_their_rows(digits):
    x, y = digits
    owner = np.arange(30) % 3
    valid = Points(x[30:80], y[30:80])
    grouped = logistic(Dataset(x[:30], y[:30], owner), valid)
    single = logistic(Dataset(x[:30], y[:30], np.arange(30)), valid)
    mask = np.array([True, False, True])
    assert grouped.score(jnp.asarray(mask)) == single.score(jnp.asarray(mask[owner]))


def test_ridge_is_scikit_learns():
    x, y = load_diabetes(return_X_y=True)
    x = 10 * x
    owner = np.arange(200) % 7
    valid = Points(x[200:], y[200:])
    game = ridge(Dataset(x[:200], y[:200], owner), valid, penalty=2.0)
    mask = np.array([True, False, True, True, False, False, True])
    rows = mask[owner]
    model = Ridge(alpha=2.0).fit(x[:200][rows], y[:200][rows])
    theirs = -np.mean((model.predict(x[200:]) - y[200:]) ** 2)
    np.testing.assert_allclose(game.score(jnp.asarray(mask)), theirs, rtol=1e-9)
    empty = -np.var(y[200:])
    np.testing.assert_allclose(game.score(jnp.zeros(7, bool)), empty, rtol=1e-9)


def test_ridge_of_several_outputs_and_more_columns_than_rows(x64):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 30)), rng.normal(size=(12, 2))
    frame = design(x)
    weights = fit_ridge(frame.x.T @ frame.x, frame.x.T @ y, jnp.asarray(0.5))
    theirs = Ridge(alpha=0.5).fit(x, y).predict(x[:3] + 1)
    np.testing.assert_allclose(rotate(frame, x[:3] + 1) @ weights, theirs, atol=1e-9)


POINTS = Points(np.array([[0.0], [1.0]]), np.array([0, 1]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"penalty": 0.0}, "penalty must be a positive"),
        ({"valid": POINTS._replace(y=np.array([-1, 1]))}, "valid.y must hold"),
        ({"valid": POINTS._replace(x=POINTS.x * np.nan)}, "valid.x must be finite"),
        ({"valid": POINTS._replace(x=np.ones((2, 3)))}, "must have the same features"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"valid": Points(np.ones((0, 1)), np.ones(0, int))}, "valid.y must hold one"),
    ],
)
def test_bad_arguments_are_named(change, message):
    arguments = {"data": Dataset(*POINTS, np.arange(2)), "valid": POINTS} | change
    with pytest.raises(ValueError, match=message):
        logistic(**arguments)


def test_ridge_refuses_other_targets():
    x = np.array([[0.0], [1.0], [2.0]])
    data = Dataset(x, x[:, 0], np.arange(3))
    with pytest.raises(ValueError, match=r"data.y, valid.y must have the same outputs"):
        ridge(data, Points(x, np.ones((3, 2))))
    with pytest.raises(ValueError, match=r"data.x, valid.x must have the same feature"):
        ridge(data, Points(np.ones((3, 2)), x[:, 0]))


def scores_of(game, members):
    return np.asarray(jax.jit(lambda g, m: g.scores(m))(game, jnp.asarray(members)))


@pytest.mark.parametrize("penalty", [0.1, 10.0])
def test_the_penalty_is_one_over_scikit_learns_c(digits, penalty):
    x, y = digits
    x = (x[:120] - x[:120].mean(0)) / (x[:120].std(0) + 1e-9)
    loss = negative(cross_entropy)
    data, valid = Dataset(x[:80], y[:80], np.arange(80) % 5), Points(x[80:], y[80:120])
    game = logistic(data, valid, penalty=penalty, metric=loss, tolerance=1e-9)
    mask = np.array([True, True, False, True, True])
    rows = mask[data.owner]
    model = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10**4)
    probs = model.fit(x[:80][rows], y[:80][rows]).predict_log_proba(x[80:])
    theirs = probs[np.arange(40), y[80:120]].mean()
    np.testing.assert_allclose(scores_of(game, mask[None])[0], theirs, atol=1e-5)


@pytest.mark.parametrize("units", [1.0, 100.0])
def test_raw_features_are_solved_and_score_as_scikit_learns(units):
    x, y = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = units * x[order], y[order]
    owner = np.arange(400) % 8
    game = logistic(Dataset(x[:400], y[:400], owner), Points(x[400:], y[400:]))
    masks = np.random.default_rng(1).random((6, 8)) < 0.7
    model = LogisticRegression(solver="newton-cholesky", tol=1e-8, max_iter=10**4)
    theirs = [
        model.fit(x[:400][mask[owner]], y[:400][mask[owner]]).score(x[400:], y[400:])
        for mask in masks
    ]
    np.testing.assert_allclose(scores_of(game, masks), theirs, atol=2.5 / 169)


def test_scores_are_the_means_of_their_rows(digits):
    x, y = digits
    data, valid = Dataset(x[:40], y[:40], np.arange(40) % 5), Points(x[40:80], y[40:80])
    members = np.random.default_rng(0).random((7, 5)) < 0.6
    members[0] = False
    for game in (
        logistic(data, valid, metric=negative(cross_entropy), tolerance=1e-9),
        ridge(data, Points(valid.x, valid.y * 1.0)),
    ):
        rows = queries.row_scores(game, members)
        assert rows.shape == (7, 40)
        np.testing.assert_allclose(rows.mean(1), scores_of(game, members), rtol=1e-9)
        order = jnp.array([3, 1, 4, 0, 2])
        walked = jax.jit(lambda g, o: g.row_prefix_scores(o))(game, order)
        cold = queries.row_scores(game, np.asarray(masks.prefixes(order)))
        np.testing.assert_allclose(walked, cold, atol=1e-6)


def test_classes_come_in_any_spelling(digits):
    x, y = digits
    names = np.array(["nought", "one", "two"])
    chosen = np.flatnonzero(y < 3)[:60]
    x, y = x[chosen], y[chosen]
    make = lambda labels: logistic(
        Dataset(x[:30], labels[:30], np.arange(30) % 3), Points(x[30:], labels[30:])
    )
    members = np.array([[True, False, True], [True, True, True]])
    plain = scores_of(make(y), members)
    for labels in (names[y], np.eye(3, dtype=int)[y], y[:, None], y * 1.0):
        np.testing.assert_array_equal(scores_of(make(labels), members), plain)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": (np.ones((4, 2)), np.ones((4, 2)))}, "x must be one array.*got tuple"),
        ({"x": {"a": np.ones((4, 2))}}, "x must be one array.*got dict"),
        ({"x": np.ones((4, 3, 2))}, "x must be one array"),
        ({"targets": np.ones(4)}, "targets must be one array"),
        ({"present": np.ones(5, bool)}, "must fit together"),
        ({"start": np.ones((3, 2))}, "must fit together"),
    ],
)
def test_a_fit_refuses_other_shapes(change, message, untyped):
    arguments = {
        "x": np.ones((4, 2)), "targets": np.ones((4, 2)), "present": np.ones(4, bool),
        "penalty": 1.0, "start": np.ones((2, 2)),
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        fit_logistic(**arguments | change)


@pytest.mark.parametrize("x", [(np.ones((3, 1)),) * 2, {"a": np.ones((3, 1))}])
def test_a_design_refuses_several_inputs(x, untyped):
    with pytest.raises(ValueError, match="x must be one array with a row per sample"):
        design(x)
    assert design(np.random.default_rng(0).random((9, 2, 3))).x.shape == (9, 7)


@pytest.fixture
def untyped():
    """Arguments as they come where no types of shapes are checked."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
