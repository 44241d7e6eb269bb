import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.ecoval import algorithm_1, blobs, nearest_mean_utility

from jaxval import Game
from jaxval.coalitions.algebra import grouped
from jaxval.distributional.regressions import best_per_class, nearest_neighbours
from jaxval.ecoval import (
    NO_ADJUSTMENT,
    NO_ALPHA,
    NO_BETA,
    Mixture,
    Report,
    Settings,
    bootstrap,
    clusters,
    figure_1_counts,
    fit,
    leave_cluster_out,
    leave_out_values,
    members_of,
    owner_sums,
    permutations,
    report,
    truncated_permutations,
    unseen_values,
    utilities,
    values,
)
from jaxval.games.kernel_regression import negative_squared_error
from jaxval.types import Points

SMALL = Settings(mixture=Mixture(num_clusters=6))


@pytest.fixture
def problem(key):
    keys = jax.random.split(key, 4)
    (x, y, _), (px, py, _), (vx, vy, _), (ux, uy, _) = (
        blobs(k, n) for k, n in zip(keys, (40, 80, 200, 60), strict=True)
    )
    utility = nearest_mean_utility(vx, vy)
    return utility, Points(x, y), Points(px, py), Points(ux, uy)


def test_cluster_values_are_leave_out_scores(key):
    x, y, _ = blobs(key, 20)
    game = nearest_mean_utility(x, y)(x, y)
    cluster = np.array([0, 1, 3, 3] * 5)
    found = leave_cluster_out(game, cluster, 5)
    for c in range(5):
        rest = float(game.score(jnp.asarray(cluster != c)))
        np.testing.assert_allclose(found.values[c], found.full - rest, atol=1e-15)
    assert found.values[2] == found.values[4] == 0
    assert found.training_runs == 4


def test_two_copies_of_a_cluster_are_worth_nothing_each():
    # Corollary 4.3.1 of the paper would have them share the Shapley value.
    either = Game(2, lambda mask: jnp.any(mask) * 1.0)
    assert leave_cluster_out(either, np.array([0, 1]), 2).values.tolist() == [0, 0]


def test_grouped_host_game():
    host = Game(3, lambda mask: float(np.asarray(mask).sum()), on_host=True)
    pairs = grouped(host, np.array([0, 1, 1]), 2)
    assert np.asarray(
        pairs.scores(jnp.array([[False, True], [True, True]]))
    ).tolist() == [2, 3]


def test_undefined_utilities_are_refused():
    bad = Game(2, lambda mask: jnp.where(mask.all(), 1.0, jnp.nan))
    with pytest.raises(ValueError, match="must be finite"):
        leave_cluster_out(bad, np.array([0, 1]), 2)
    with pytest.raises(ValueError, match="one player for each"):
        leave_out_values(bad, np.array([0, 1, 2]), 3)


def test_the_whole_of_it(key, problem):
    utility, points, pool, unseen = problem
    fitted = fit(key, utility, points, pool, settings=SMALL)
    out = values(fitted)
    cluster = np.asarray(fitted.points.cluster)
    totals = np.bincount(cluster, np.asarray(out.values), 6)
    present = np.bincount(cluster, minlength=6) > 0
    np.testing.assert_allclose(
        totals[present], fitted.clusters.values[present], atol=1e-12
    )
    v_c, q, d = (
        fitted.clusters.values,
        np.asarray(fitted.points.q),
        np.asarray(fitted.points.d),
    )
    safe = ~np.asarray(out.hazards.unsafe_sum | out.hazards.zero_distances)[cluster]
    expected = algorithm_1(v_c, q, d, cluster)
    np.testing.assert_allclose(np.asarray(out.values)[safe], expected[safe], atol=1e-12)
    assert fitted.cost.clusters == 1 + present.sum()
    p = len(fitted.sample)
    # Up to a block of orders more than 3p, and no more than p + 1 scores each.
    assert 0 < fitted.cost.representatives <= (3 * p + 8) * (p + 1)
    counts = report(fitted, out)
    assert counts.clusters == 6
    assert all(isinstance(line, str) for line in counts.sentences())


def test_variants_differ_inside_clusters_only(key, problem):
    utility, points, pool, _ = problem
    fitted = fit(key, utility, points, pool, settings=SMALL)
    cluster = np.asarray(fitted.points.cluster)
    flat = np.asarray(values(fitted, NO_ADJUSTMENT).values)
    for terms in (NO_ALPHA, NO_BETA):
        other = np.asarray(values(fitted, terms).values)
        np.testing.assert_allclose(
            np.bincount(cluster, other), np.bincount(cluster, flat), atol=1e-12
        )
    for c in np.unique(cluster):
        assert np.ptp(flat[cluster == c]) < 1e-15


def test_unseen_points(key, problem):
    utility, points, pool, unseen = problem
    fitted = fit(key, utility, points, pool, settings=SMALL)
    again = unseen_values(fitted, points).values
    np.testing.assert_allclose(again, values(fitted).values, rtol=1e-12)
    whole = np.asarray(unseen_values(fitted, unseen).values)
    one = unseen_values(fitted, Points(unseen.x[:1], unseen.y[:1])).values
    np.testing.assert_allclose(one[0], whole[0], rtol=1e-12)
    later = members_of(fitted, unseen)
    shared = np.asarray(unseen_values(fitted, unseen, later).values)
    cluster = np.asarray(later.cluster)
    there = np.unique(cluster)
    np.testing.assert_allclose(
        np.bincount(cluster, shared, 6)[there],
        fitted.clusters.values[there],
        atol=1e-12,
    )
    with pytest.raises(ValueError, match="same embedding"):
        unseen_values(fitted, Points(unseen.x[:, :1], unseen.y))


def test_members_may_be_the_whole_pool(key, problem):
    utility, points, pool, _ = problem
    wide = Settings(mixture=Mixture(num_clusters=6), members_from_pool=True)
    fitted = fit(key, utility, points, pool, settings=wide)
    everyone = np.asarray(
        unseen_values(
            fitted, Points(*map(np.concatenate, zip(points, pool, strict=True)))
        ).values
    )
    cluster = np.asarray(fitted.pool.cluster)
    np.testing.assert_allclose(
        np.bincount(cluster, everyone, 6), fitted.clusters.values, atol=1e-12
    )
    np.testing.assert_allclose(everyone[:40], values(fitted).values, rtol=1e-12)


def test_representatives_from_the_valued_points_alone(key, problem):
    utility, points, pool, _ = problem
    own = Settings(mixture=Mixture(num_clusters=6), representatives_from_pool=False)
    fitted = fit(key, utility, points, pool, settings=own)
    assert fitted.sample.max() < 40


@pytest.mark.parametrize("model", [nearest_neighbours(3), best_per_class(3)])
def test_other_regressions(key, problem, model):
    utility, points, _, _ = problem
    fitted = fit(key, utility, points, settings=SMALL, value_model=model)
    assert np.isfinite(np.asarray(values(fitted).values)).all()


def test_a_cluster_game_costs_no_training(key, problem):
    utility, points, pool, _ = problem

    def cluster_game(points, cluster, count):
        slow = grouped(utility(*points), cluster, count)
        return Game(
            count, slow.score, fast_leave_one_out=lambda: slow.leave_one_out_scores()
        )

    fast = fit(key, utility, points, pool, settings=SMALL, cluster_game=cluster_game)
    slow = fit(key, utility, points, pool, settings=SMALL)
    np.testing.assert_array_equal(fast.clusters.values, slow.clusters.values)
    assert fast.cost.clusters == 0


def test_same_key_same_values(key, problem):
    utility, points, pool, _ = problem
    a, b = (values(fit(key, utility, points, pool, settings=SMALL)) for _ in range(2))
    np.testing.assert_array_equal(a.values, b.values)


def test_bootstrap(key, problem):
    utility, points, pool, _ = problem
    one = Settings(mixture=Mixture(num_clusters=4), per_cluster=1)
    refit = lambda k, b, rest: fit(k, utility, b, rest, settings=one)
    out = bootstrap(key, refit, points, pool, num_resamples=3)
    fixed = bootstrap(key, refit, points, pool, num_resamples=3, resample=False)
    np.testing.assert_array_equal(out.values, fixed.values)
    assert (out.stderr >= 0).all()
    assert np.mean(out.stderr) > np.mean(fixed.stderr)
    assert out.counts.tolist() == [3] * 40


def test_owner_sums_are_efficient(key, problem):
    utility, points, pool, _ = problem
    out = np.asarray(values(fit(key, utility, points, pool, settings=SMALL)).values)
    owner = np.arange(40) % 4
    np.testing.assert_allclose(owner_sums(out, owner).sum(), out.sum(), atol=1e-14)
    np.testing.assert_allclose(owner_sums(out, owner)[1], out[1::4].sum(), atol=1e-14)


def test_a_single_cluster_and_points_alike(key):
    x, y = np.zeros((6, 2)), np.array([0, 1] * 3)
    own = clusters.given(lambda z: np.zeros(len(z), int), x, 1)
    fitted = fit(key, nearest_mean_utility(x, y), Points(x, y), clustering=own)
    out = np.asarray(values(fitted).values)
    assert np.ptp(out) < 1e-15


def test_bad_points(key, problem):
    utility, points, pool, _ = problem
    with pytest.raises(ValueError, match="embedded alike"):
        fit(key, utility, points, Points(pool.x[:, :1], pool.y))
    with pytest.raises(ValueError, match="one row a sample"):
        fit(key, utility, Points(points.x, points.y[:3]))
    with pytest.raises(ValueError, match="finite"):
        fit(key, utility, Points(points.x * np.nan, points.y))


def test_figure_1():
    counts = figure_1_counts(1800, 30, 60, 100)
    assert counts.tmc_shapley == 9_720_000
    assert counts.ecoval == 31 + 10_800
    assert counts.ecoval_light == 31
    assert counts.distributional_shapley == 100 * 1801


def test_closed_form_costs_no_training_and_equals_retraining(key, problem):
    _, points, pool, _ = problem
    vx, vy, _ = blobs(jax.random.key(5), 100)
    closed = utilities.closed_form(Points(vx, vy), 2)
    fast = fit(
        key,
        closed.utility,
        points,
        pool,
        settings=SMALL,
        cluster_game=closed.cluster_game,
    )
    slow = fit(key, closed.utility, points, pool, settings=SMALL)
    np.testing.assert_allclose(fast.clusters.values, slow.clusters.values, atol=1e-12)
    assert fast.cost.clusters == 0 < slow.cost.clusters


def test_closed_form_of_real_targets(key):
    x = np.asarray(jax.random.normal(key, (30, 2)))
    points = Points(x[:20], x[:20, 0])
    closed = utilities.closed_form(Points(x[20:], x[20:, 0]))
    small = Settings(mixture=Mixture(num_clusters=3))
    out = values(fit(key, closed.utility, points, settings=small))
    assert np.isfinite(np.asarray(out.values)).all()


def test_logistic_utility(key, problem):
    _, points, pool, _ = problem
    vx, vy, _ = blobs(jax.random.key(5), 100)
    few = Settings(mixture=Mixture(num_clusters=3), per_cluster=1)
    utility = utilities.logistic(Points(vx, vy))
    fitted = fit(key, utility, points, pool, settings=few)
    assert fitted.clusters.full > 0.8


def test_truncation_spares_runs(key, problem):
    utility, points, _, _ = problem
    game = utility(*points)
    full, runs = permutations(0.2)(key, game)
    cut, fewer = truncated_permutations(0.2, tolerance=0.05, patience=2)(key, game)
    assert fewer < runs
    assert len(cut.values) == len(full.values) == 40
    one, two = permutations()(key, utility(points.x[:1], points.y[:1]))
    assert two == 2
    assert len(one.values) == 1


def test_the_report_counts_the_points_of_the_allocation(key):
    # Cluster 1 has a member of the pool alone, cluster 2 is a class of its own.
    x = np.array([[0.0], [0.5], [1.0], [20.0], [21.0]])
    own = clusters.given(lambda x: np.searchsorted([5.0, 15.0], x[:, 0]), x, 3)
    points, pool = (
        Points(x, np.array([0, 1, 0, 2, 2])),
        Points(x[:1] + 9, np.zeros(1, int)),
    )
    score = lambda mask: 0.1 * mask.sum()
    size = lambda x, y: Game(len(x), score, on_host=True)
    fitted = fit(key, size, points, pool, clustering=own)
    mine = report(fitted, values(fitted))
    assert (mine.points, mine.points_without_members, mine.points_bounded) == (5, 0, 0)
    assert (mine.clusters_losing_classes, mine.clusters_without_members) == (2, 1)
    later = Points(np.array([[9.0], [9.5], [4.9], [20.0]]), np.zeros(4, int))
    counts = report(fitted, unseen_values(fitted, later))
    assert (counts.points, counts.points_without_members) == (4, 2)
    assert counts.points_at_zero == 2
    assert counts.points_bounded == 1
    said = " ".join(counts.sentences())
    assert "2 of 4 points lie there" in said
    assert "1 of 4 points is so unlike" in said
    assert "0 of" not in said


def test_every_finding_has_its_sentence():
    counts = {field.name: 0 for field in dataclasses.fields(Report)}
    counts |= {"clusters": 30, "points": 200, "largest_correction": 0.0}
    counts |= {"regression_r2": 0.5, "representative_noise": 0.1}
    quiet = Report(**counts | {"mixture_converged": True})
    assert quiet.sentences() == ()
    counts = [
        field.name
        for field in dataclasses.fields(Report)
        if field.name.startswith("clusters_")
    ]
    for name in [*counts, "points_bounded", "points_overcorrected"]:
        (said,) = dataclasses.replace(quiet, **{name: 3}).sentences()
        assert ("3 of 200" if name.startswith("points") else "3 of 30") in said
    for change in (
        {"mixture_converged": False},
        {"regression_r2": float("nan")},
        {"regression_r2": -1.0},
        {"representative_noise": 0.9},
    ):
        assert len(dataclasses.replace(quiet, **change).sentences()) == 1


def test_mixtures_of_more_numbers_than_points_are_said(key):
    x = np.asarray(jax.random.normal(key, (60, 8)))
    game = lambda x, y: Game(len(x), lambda mask: 0.01 * mask.sum(), on_host=True)
    few = Settings(mixture=Mixture(num_clusters=5), per_cluster=1)
    fitted = fit(key, game, Points(x, x[:, 0]), settings=few)
    counts = report(fitted, values(fitted))
    assert counts.parameters == 45
    assert counts.clusters_overfitted >= 4
    assert "numbers that the mixture fits" in " ".join(counts.sentences())


def test_identical_rows_value_unseen_points_within_reason(key):
    # The distances of rows that are alike are rounding errors of their mean.
    rng = np.random.default_rng(0)
    base = rng.normal(size=(8, 3))
    x, y = np.repeat(base, 3, axis=0), np.repeat(np.arange(8) % 2, 3)
    closed = utilities.closed_form(
        Points(rng.normal(size=(60, 3)), np.arange(60) % 2), 2
    )
    fitted = fit(
        key, closed.utility, Points(x, y), cluster_game=closed.cluster_game,
        settings=Settings(mixture=Mixture(num_clusters=8)), counts_training_runs=False,
    )  # fmt: skip
    later = unseen_values(fitted, Points(base + 0.05, np.arange(8) % 2))
    assert np.abs(np.asarray(later.values)).max() < 1
    assert report(fitted, later).clusters_zero_distances == 8
    assert fitted.cost.total == 0 < fitted.cost.scores


def test_closed_form_scores_by_the_metric_that_is_given(key):
    rng = np.random.default_rng(3)
    valid = Points(rng.normal(size=(30, 2)), np.arange(30) % 3)
    x, y = rng.normal(size=(12, 2)), np.arange(12) % 3
    closed = utilities.closed_form(valid, 3, penalty=0.5, metric=negative_squared_error)
    inner = np.column_stack([x, np.ones(12)])
    outer = np.column_stack([valid.x, np.ones(30)])
    indicators = lambda labels: (labels[:, None] == np.arange(3)) * 1.0
    ridge = 0.5 * np.mean(outer**2) * np.eye(3)
    weights = np.linalg.solve(inner.T @ inner + ridge, inner.T @ indicators(y))
    error = np.mean(((outer @ weights - indicators(valid.y)) ** 2).sum(1))
    everything = np.ones((1, 12), bool)
    found = float(closed.utility(x, y).scores(jnp.asarray(everything))[0])
    np.testing.assert_allclose(found, -error, rtol=1e-9)
    np.testing.assert_allclose(closed.empty_score(), -1.0, rtol=1e-6)
    with pytest.raises(ValueError, match="penalty must be"):
        utilities.closed_form(valid, penalty=0.0)
