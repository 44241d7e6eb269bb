import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from jaxval.coalitions import masks
from jaxval.coalitions.game import Game
from jaxval.semivalues import exact, intervals, orders, permutation
from jaxval.types import Ends, ValueEstimate

PLAYERS = 8


def unanimity_sum():
    """Forty random coalitions that pay only when complete."""
    rng = np.random.default_rng(0)
    carriers = rng.random((40, PLAYERS)) < 0.35
    carriers[np.arange(40), rng.integers(0, PLAYERS, 40)] = True
    worth = rng.normal(size=40) + 0.5
    size = carriers.sum(1)

    def score(arrays, mask):
        needed, size, worth = arrays
        return ((needed @ mask.astype(jnp.float64)) == size) @ worth

    arrays = (jnp.asarray(carriers * 1.0), jnp.asarray(size * 1.0), jnp.asarray(worth))
    values = (carriers / size[:, None] * worth[:, None]).sum(0)
    return Game(PLAYERS, Partial(score, arrays)), values


@pytest.fixture(scope="module")
def walks():
    """Contributions along 500 x 1000 permutations, from one table of scores."""
    with jax.enable_x64(True):
        game, values = unanimity_sum()
        table = jnp.asarray(exact.table(game))
        np.testing.assert_allclose(exact.from_table(np.asarray(table), shapley), values)
        block = orders.shuffles(jax.random.key(5), 500_000, PLAYERS)
        bits = jnp.cumsum(1 << block, axis=1)
        scores = jnp.concatenate([jnp.zeros((500_000, 1)), table[bits]], axis=1)
        added = jnp.take_along_axis(jnp.diff(scores), jnp.argsort(block, 1), 1)
        return np.asarray(added).reshape(500, 1000, PLAYERS), values


def shapley(n):
    return permutation._weights.shapley(n)


def estimate_of(units):
    count = units.shape[1]
    return ValueEstimate(
        units.mean(1), units.std(1, ddof=1) / np.sqrt(count), np.full(1, count)
    )


@pytest.mark.parametrize("count", [20, 100, 1000])
def test_coverage_of_the_95_percent_interval(walks, count):
    units, values = walks
    each = [estimate_of(u[None, :count]) for u in units]
    inside = []
    for e in each:
        e = ValueEstimate(e.values[0], e.stderr[0], np.full(PLAYERS, count))
        low, high = intervals.student(e)
        inside.append((low <= values) & (values <= high))
    coverage = np.mean(inside, axis=0)
    assert 0.92 <= coverage.mean() <= 0.98
    # By player too, within the noise of 500 repetitions.
    assert coverage.min() > 0.92 - 3 * np.sqrt(0.08 * 0.92 / 500)


def test_the_estimator_claims_the_errors_of_its_permutations(x64):
    game, values = unanimity_sum()
    method = permutation.permutation_sampling(PLAYERS)
    known = Ends(game.score(jnp.zeros(8, bool)), game.score(jnp.ones(8, bool)))

    @jax.jit
    def once(keys):
        step = lambda state, key: (method.step(key, state, game, known), None)
        return method.estimate(jax.lax.scan(step, method.init(known), keys)[0])

    keys = jax.random.split(jax.random.key(9), (500, 20))
    out = jax.tree.map(np.asarray, jax.vmap(once)(keys))
    inside = [
        (low <= values) & (values <= high)
        for low, high in (
            intervals.student(ValueEstimate(*each)) for each in zip(*out, strict=True)
        )
    ]
    assert 0.92 <= np.mean(inside) <= 0.98


def test_simultaneous_intervals_cover_all_players_together(walks):
    units, values = walks
    inside = []
    for u in units:
        e = estimate_of(u[None, :100])
        e = ValueEstimate(e.values[0], e.stderr[0], np.full(PLAYERS, 100))
        low, high = intervals.simultaneous(e)
        inside.append(((low <= values) & (values <= high)).all())
    assert np.mean(inside) > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 500)


def test_bernstein_is_wider_and_never_too_short():
    # A contribution of 1 once in a hundred: student's interval is often a point.
    rng = np.random.default_rng(0)
    units = (rng.random((500, 20)) < 0.01) * 1.0
    inside = {"student": [], "bernstein": []}
    for u in units:
        e = ValueEstimate(
            u.mean(keepdims=True),
            u.std(ddof=1, keepdims=True) / 20**0.5,
            np.array([20]),
        )
        for name, (low, high) in [
            ("student", intervals.student(e)),
            ("bernstein", intervals.bernstein(e, width=1.0)),
        ]:
            inside[name].append(low[0] <= 0.01 <= high[0])
    assert np.mean(inside["bernstein"]) > 0.95
    assert np.mean(inside["student"]) < 0.5


def test_rank_confidence_uses_the_covariance(walks):
    units, values = walks
    hits = []
    first, second = np.argsort(values)[[3, 4]]
    for u in units:
        u = u[:200]
        e = ValueEstimate(
            u.mean(0), u.std(0, ddof=1) / np.sqrt(200), np.full(PLAYERS, 200)
        )
        sure = intervals.rank_confidence(e, np.cov(u.T) / 200)
        assert np.allclose(sure + sure.T, 1)
        hits.append(sure[second, first] > 0.05)
    # "Less than 5% sure of the truth" happens to the truth once in twenty times.
    assert np.mean(hits) > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 500)


def test_nothing_known_is_said_so():
    none = ValueEstimate(np.zeros(2), np.full(2, np.nan), np.ones(2, int))
    assert np.isposinf(intervals.student(none).upper).all()
    assert np.isposinf(intervals.bernstein(none, 1.0).upper).all()
    assert (intervals.rank_confidence(none) == 0.5).all()


def test_without_a_covariance_the_bound_is_careful():
    e = ValueEstimate(np.array([1.0, 0.0]), np.full(2, 0.5), np.full(2, 50))
    independent = intervals.rank_confidence(e, np.diag([0.25, 0.25]))
    assert 0.5 < intervals.rank_confidence(e)[0, 1] < independent[0, 1]


def test_levels_are_checked():
    with pytest.raises(ValueError, match="level"):
        intervals.student(ValueEstimate(np.ones(1), np.ones(1), np.ones(1, int)), 95.0)


def test_prefixes_of_the_walks_are_those_of_the_masks(key, x64):
    order = orders.shuffles(key, 1, 5)[0]
    walked = np.asarray(masks.prefixes(order))[1:]
    bits = np.cumsum(1 << np.asarray(order))
    np.testing.assert_array_equal(walked @ (1 << np.arange(5)), bits)
