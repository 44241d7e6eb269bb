import itertools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from jax.tree_util import Partial

from jaxval import Game
from jaxval.distributional import estimator as distributional
from jaxval.distributional import regressions as value_models
from jaxval.distributional.estimator import distributional_shapley, iterations
from jaxval.distributional.point_scores import from_counts, from_game, with_class_rule
from jaxval.distributional.utilities import data_shapley, logistic, ridge
from jaxval.execution.precision import double, float64
from jaxval.semivalues import stopping
from jaxval.semivalues.estimator import estimate, init_moments, update_moments
from jaxval.semivalues.runs import merge
from jaxval.semivalues.runs import run as drive
from jaxval.training import accuracy, negative, squared_error
from jaxval.types import Points

POOL, POINTS, SIZE = 3, 2, 3
WEIGHTS = np.array([0.5, 1.0, 2.0, 0.7, 3.0])


def worth(counts):
    return jnp.sqrt(1 + (counts * jnp.asarray(WEIGHTS, jnp.float32)).sum())


def exact(score, size=SIZE):
    """The definition: all sets of k - 1 rows of the pool in all orders."""
    values = np.zeros(POINTS)
    for k in range(2, size + 1):
        draws = list(itertools.product(range(POOL), repeat=k - 1))
        for rows in draws:
            counts = np.bincount(rows, minlength=POOL + POINTS)
            for z in range(POINTS):
                more = counts.copy()
                more[POOL + z] += 1
                change = score(jnp.asarray(more)) - score(jnp.asarray(counts))
                values[z] += float(change) / len(draws) / size
    return values


def run(scores, key, steps, size=SIZE, power=0.0):
    shape = scores.num_pool, scores.num_points
    estimator = distributional_shapley(*shape, size, size_power=power)
    until = iterations(steps, scores.num_points, size, power)
    return drive(key, estimator, scores, until=until, every=min(steps, 500))


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_unbiased_with_and_without_importance_weights(key, power):
    scores = from_counts(worth, POOL, POINTS)
    out = run(scores, key, 4000, power=power)
    error = np.abs(np.asarray(out.values) - exact(worth))
    assert (error < 5 * np.asarray(out.stderr)).all()
    assert (np.asarray(out.stderr) > 0).all()
    assert out.counts.tolist() == [4000, 4000]


@pytest.mark.parametrize(("size", "power"), [(200, 4.0), (1000, 3.0), (10_000, 2.0)])
def test_sizes_come_as_often_as_their_weights_say(size, power):
    sizes, efficiency = distributional._sizes(size, power)
    edges = np.asarray(sizes.edges)
    assert len(edges) == size - 1
    bounds = [0, *edges.tolist(), 2**distributional._BITS]
    chance = (
        np.array([float(b - a) for a, b in itertools.pairwise(bounds)]) / bounds[-1]
    )
    # Each size weighs 1 / m in the expectation, to the last bit, and none is left out.
    np.testing.assert_allclose(chance * np.asarray(sizes.factor), 1 / size, rtol=1e-12)
    np.testing.assert_allclose(chance[-1], chance[0] * size**-power, rtol=1e-3)
    assert efficiency == pytest.approx(size**2 / np.sum(1 / chance))


def test_sizes_are_drawn_by_the_edges(monkeypatch, x64):
    edges = distributional._sizes(4, 1.0)[0].edges
    told = []
    for bits in [0, *(int(e) + d for e in edges for d in (-1, 0)), 2**53 - 1]:
        drawn = jnp.asarray(bits << 11, jnp.uint64)
        monkeypatch.setattr(jax.random, "bits", lambda *_, d=drawn: d)
        told.append(int(distributional._draw_size(None, edges)))
    assert told == [0, 0, 1, 1, 2, 2, 3, 3]


def test_rare_large_sets_are_not_passed_over_in_silence(key):
    scores = from_counts(worth, POOL, POINTS)
    with pytest.warns(UserWarning, match="count as 0.01.*Lower size_power"):
        run(scores, key, 20_000, 200, 4.0)
    with pytest.raises(ValueError, match="size_power=9.0 is too large"):
        distributional_shapley(POOL, POINTS, 200, size_power=9.0)


def test_one_program_for_all_draws(key):
    traces = []

    def worth_of(weights, counts):
        traces.append(1)
        return jnp.sqrt(1 + counts @ weights)

    told = []
    for seed in range(3):
        weights = float64(np.random.default_rng(seed).random(POOL + POINTS))
        scores = from_counts(Partial(worth_of, weights), POOL, POINTS)
        ruled = with_class_rule(scores, np.array([0, 1, seed]), np.array([0, 1]), 0.5)
        for points in (scores, ruled):
            for power in (0.0, 1.0):
                told.append(run(points, key, 40, power=power).values[0])
        if seed == 0:
            first = len(traces)
    assert len(traces) == first + 1  # three classes instead of two
    assert len(set(told)) == len(told)


def test_as_many_iterations_as_were_asked_for(key):
    scores = from_counts(worth, POOL, POINTS)
    estimator = distributional_shapley(POOL, POINTS, SIZE)
    seen = []
    out = drive(
        key, estimator, scores, until=iterations(25, POINTS, SIZE), every=5,
        progress=lambda status: seen.append(status.steps),
    )  # fmt: skip
    assert out.counts.tolist() == [25, 25]
    assert out.num_evaluations == 25 * (1 + POINTS)
    assert seen[-1] == 25
    np.testing.assert_array_equal(out.values, run(scores, key, 25).values)


def test_draws_are_those_of_a_plain_loop(key):
    """Iteration i draws its size and then its rows with `fold_in(key, i)`."""
    scores = from_counts(worth, POOL, POINTS)
    sizes = distributional._sizes(SIZE, 1.0)[0]
    edges, factor = (np.asarray(part) for part in sizes)
    with double():
        state = init_moments(POINTS)
        for i in range(6):
            size_key, rows_key = jax.random.split(jax.random.fold_in(key, i))
            bits = np.asarray(jax.random.bits(size_key, (), jnp.uint64)) >> 11
            others = np.searchsorted(edges, bits, side="right")
            rows = jax.random.randint(rows_key, (SIZE,), 0, POOL, jnp.int32)
            told = np.asarray(scores(rows, jnp.int32(others)), np.float64)
            unit = (told[1:] - told[0]) * factor[others] * (others > 0)
            state = update_moments(state, jnp.asarray(unit)[None], 1 + POINTS)
        expected = estimate(state)
    out = run(scores, key, 6, power=1.0)
    np.testing.assert_allclose(out.values, expected.values, rtol=1e-6)
    np.testing.assert_allclose(out.stderr, expected.stderr, rtol=1e-6)


def test_checkpoints_resume_and_runs_merge(key, tmp_path):
    scores = from_counts(worth, POOL, POINTS)
    estimator = distributional_shapley(POOL, POINTS, SIZE)
    path = tmp_path / "run"
    go = lambda count, **options: drive(
        key, estimator, scores, until=iterations(count, POINTS, SIZE), every=4,
        **options,
    )  # fmt: skip
    go(8, checkpoint=path)
    resumed, whole = go(20, checkpoint=path), go(20)
    np.testing.assert_array_equal(resumed.values, whole.values)
    np.testing.assert_array_equal(resumed.stderr, whole.stderr)
    other = drive(
        jax.random.key(1), estimator, scores, until=stopping.units(12), every=4
    )
    assert merge(estimator, [whole.state, other.state]).counts.tolist() == [32, 32]


def test_chunks_change_nothing(key):
    whole = from_counts(worth, POOL, POINTS)
    chunked = from_counts(worth, POOL, POINTS, batch_size=1)
    drawn = (jnp.array([0, 2, 0, 1]), jnp.int32(3))
    np.testing.assert_allclose(whole(*drawn), chunked(*drawn), rtol=1e-6)
    np.testing.assert_allclose(
        whole(*drawn)[2], worth(jnp.array([2, 0, 1, 0, 1])), rtol=1e-6
    )


def test_a_game_counts_a_row_once():
    game = Game(5, lambda mask: worth(mask * 1))
    scores = from_game(game, POOL)(jnp.array([0, 2, 0]), jnp.int32(3))
    np.testing.assert_allclose(
        scores,
        [
            worth(jnp.array(c))
            for c in ([1, 0, 1, 0, 0], [1, 0, 1, 1, 0], [1, 0, 1, 0, 1])
        ],
        rtol=1e-6,
    )


def test_class_rule():
    scores = from_counts(worth, POOL, POINTS)
    ruled = with_class_rule(scores, np.array([0, 0, 1]), np.array([1, 0]), 0.25)
    of_zero = (jnp.array([0, 1, 2]), jnp.int32(2))
    only_zero = ruled(*of_zero)
    plain = scores(*of_zero)
    # Without class 1 the set scores as the empty one does; point 0 completes it.
    np.testing.assert_allclose(only_zero, [0.25, plain[1], 0.25], rtol=1e-6)
    both = (jnp.array([0, 2, 2]), jnp.int32(3))
    np.testing.assert_allclose(ruled(*both), scores(*both), rtol=1e-6)


def test_data_shapleys_rules_score_sets_without_a_class_as_empty():
    x = np.arange(6.0)[:, None]
    pool = Points(x, np.array([0, 0, 0, 1, 1, 2]))
    points = Points(x[:2], np.array([1, 2]))
    valid = Points(x, np.array([0, 1, 1, 1, 2, 2]))
    ruled, plain = data_shapley(pool, points, valid), logistic(pool, points, valid)
    lacking = jnp.array([0, 4, 1]), jnp.int32(3)
    scores = ruled(*lacking)
    np.testing.assert_allclose(scores[:2], 0.5)
    np.testing.assert_allclose(scores[2], plain(*lacking)[2])
    complete = jnp.array([0, 4, 5]), jnp.int32(3)
    np.testing.assert_allclose(ruled(*complete), plain(*complete))


def test_logistic_scores_equal_scikit_learns(key):
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    make = lambda n: Points(x := rng.normal(size=(n, 4)), (x[:, 0] + x[:, 1] > 0) + 1)
    pool, points, valid = make(30), make(6), make(400)
    rows, size = jnp.array([3, 3, 8, 11, 20, 21, 5]), 6
    scores = logistic(pool, points, valid, tolerance=1e-8)(rows, jnp.int32(size))
    chosen = np.asarray(rows)[:size]

    def fitted(extra):
        x = np.concatenate([pool[0][chosen], points[0][extra]])
        y = np.concatenate([pool[1][chosen], points[1][extra]])
        return LogisticRegression(tol=1e-10, max_iter=5000).fit(x, y).score(*valid)

    expected = [fitted([])] + [fitted([z]) for z in range(6)]
    np.testing.assert_allclose(scores, expected, atol=1.5 / 400)
    empty = logistic(pool, points, valid)(rows, jnp.int32(0))
    share = np.bincount(valid[1]) / 400
    assert float(empty[0]) == share.max()
    np.testing.assert_allclose(empty[1:], share[points[1]])


def test_a_fit_that_misses_its_tolerance_is_refused(key):
    parts = Points(X, Y), Points(X + 0.5, Y), Points(X, Y)
    with pytest.raises(ValueError, match="a solver in it must converge"):
        run(logistic(*parts, tolerance=1e-25), key, 10, 4)


def test_size_one_is_worth_nothing(key):
    scores = from_counts(worth, POOL, POINTS)
    out = run(scores, key, 3, 1)
    assert np.asarray(out.values).tolist() == [0, 0]


def test_one_iteration_has_no_error_bar(key):
    scores = from_counts(worth, POOL, POINTS)
    out = run(scores, key, 1)
    assert np.isnan(np.asarray(out.stderr)).all()


def test_what_is_refused(key):
    scores = from_counts(worth, POOL, POINTS)
    with pytest.raises(ValueError, match="max_size"):
        distributional_shapley(POOL, POINTS, 0)
    with pytest.raises(ValueError, match="more players"):
        from_game(Game(3, lambda mask: mask.sum() * 1.0), 3)
    for sizes, message in (
        ((POOL + 1, POINTS), "a pool of 3 rows"),
        ((POOL, POINTS + 1), "made for 3 players; the game has 2"),
    ):
        estimator = distributional_shapley(*sizes, SIZE)
        with pytest.raises(ValueError, match=message):
            drive(key, estimator, scores, until=stopping.units(1))
    with pytest.raises(ValueError, match="num_iterations must be >= 1"):
        iterations(0, POINTS, SIZE)
    with pytest.raises(ValueError, match="as many as the rows"):
        with_class_rule(scores, np.array([0, 1]), np.array([0, 1]), 0.5)


@pytest.fixture
def untyped():
    """Arguments as they come where no types of shapes are checked."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


X, Y = np.arange(8.0).reshape(4, 2), np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ((X, Y - 1), "points.y must hold numbers 0, 1"),
        ((X, Y * 0.3), "points.y must hold whole numbers"),
        ((X * np.nan, Y), "points.x must be finite"),
        ((X[:, :1], Y), "same features"),
        ((X[:3], Y), "one row a sample"),
        ((X[:0], Y[:0]), "points is empty"),
    ],
)
def test_bad_points_are_named(part, message, untyped):
    with pytest.raises(ValueError, match=message):
        logistic(Points(X, Y), Points(*part), Points(X, Y))


def test_ridge_needs_the_same_targets(untyped):
    whole, error = Points(X, Y[:, None]), negative(squared_error)
    make = lambda y: ridge(whole, Points(X, y), whole, penalty=1, metric=error)
    with pytest.raises(ValueError, match="same outputs"):
        make(np.ones((4, 2)))
    with pytest.raises(ValueError, match="points.y must be finite"):
        make(np.full((4, 1), np.nan))


def test_ridge_joins_a_point_as_a_fit_with_it():
    rng = np.random.default_rng(0)
    make = lambda n: Points(rng.normal(size=(n, 3)), np.eye(3)[rng.integers(0, 3, n)])
    pool, points, valid = make(12), make(4), make(50)
    drawn = np.array([3, 3, 8, 11, 2])

    def slow(x, y):
        weights = np.linalg.solve(x.T @ x + 0.5 * np.eye(3), x.T @ y)
        return (valid.x @ weights).argmax(1) == valid.y.argmax(1)

    x, y = pool.x[drawn[:4]], pool.y[drawn[:4]]
    joined = [slow(np.r_[x, [a]], np.r_[y, [b]]) for a, b in zip(*points, strict=True)]
    scores = ridge(pool, points, valid, penalty=0.5, metric=accuracy)
    found = jax.jit(lambda s, rows, size: s(rows, size))(
        scores, jnp.asarray(drawn), jnp.int32(4)
    )
    np.testing.assert_allclose(found, [slow(x, y).mean(), *np.mean(joined, 1)])


def problem(n=80):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n, 3)), np.arange(n) % 2
    return x, y, np.where(y == 0, x[:, 0], -2 * x[:, 1]) * 1e-3


MODELS = {
    "ridge": value_models.ridge(1.0),
    "neighbours": value_models.nearest_neighbours(3),
    "best": value_models.best_per_class(2),
}


def test_models_by_class_predict_what_depends_on_the_class():
    x, y, values = problem()
    best = value_models.cross_validated(MODELS["best"], x, y, values, 2)
    assert best > 0.9
    assert best > value_models.cross_validated(MODELS["ridge"], x, y, values, 3)


@pytest.mark.parametrize("name", MODELS)
def test_models_predict_unseen_points(name):
    x, y, values = problem(60)
    predict = MODELS[name](x, y, values)
    new = predict(np.zeros((4, 3)), np.array([0, 1, 0, 7]))
    assert new.shape == (4,)
    assert np.isfinite(new).all()


def test_models_know_the_target_when_told():
    x = np.zeros((20, 1))
    y = np.arange(20) % 2
    told = value_models.ridge(1e-6, with_target=True)(x, y, y * 1.0)
    np.testing.assert_allclose(told(x[:2], y[:2]), [0, 1], atol=1e-4)
    real = value_models.ridge(1e-6, with_target=True)(x, y * 0.5, y * 1.0)
    np.testing.assert_allclose(real(x[:2], y[:2] * 0.5), [0, 1], atol=1e-4)


def test_models_of_one_point():
    for model in MODELS.values():
        predict = model(np.ones((1, 2)), np.zeros(1, int), np.array([0.3]))
        np.testing.assert_allclose(predict(np.zeros((1, 2)), np.zeros(1, int)), [0.3])
    assert np.isnan(
        value_models.cross_validated(
            MODELS["ridge"], np.ones((2, 1)), np.zeros(2, int), np.ones(2)
        )
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: value_models.nearest_neighbours(0), "num_neighbours must be at least"),
        (lambda: value_models.best_per_class(1), "num_folds must be at least 2"),
        (lambda: value_models.ridge(-1.0), "penalty must be a positive"),
    ],
)
def test_models_that_cannot_be_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_model_a_class_needs_classes():
    x, _, values = problem(20)
    with pytest.raises(ValueError, match="y must hold class numbers"):
        MODELS["best"](x, values, values)


@pytest.mark.parametrize("name", MODELS)
def test_models_refuse_other_features(name):
    predict = MODELS[name](*problem(20))
    with pytest.raises(ValueError, match="same features"):
        predict(np.zeros((2, 4)), np.zeros(2, int))
    with pytest.raises(ValueError, match="x must be finite"):
        predict(np.full((2, 3), np.nan), np.zeros(2, int))
