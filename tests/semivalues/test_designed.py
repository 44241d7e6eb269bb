"""Estimators on the sampling design: unbiased, exact at the end, covered, resumed."""

import itertools
import math

import jax
import numpy as np
import pytest
from scipy import stats

from jaxval.coalitions.game import Game
from jaxval.semivalues import (
    bases,
    designed,
    exact,
    run,
    sampling_design,
    sampling_draws,
    stopping,
    weights,
)
from jaxval.semivalues.inclusion import combined_weights
from jaxval.types import Ends

N = 8
LAWS = {
    "shapley": weights.shapley,
    "banzhaf": weights.banzhaf,
    "beta_4_1": weights.beta(4, 1),
}
GENERAL = {
    "cross_fitted": designed.cross_fitted,
    "horvitz_thompson": designed.horvitz_thompson,
    "msr": designed.designed_msr,
    "stratified_svarm": designed.stratified_svarm,
}
CASES = {(m, w): make(N, LAWS[w]) for m, make in GENERAL.items() for w in LAWS} | {
    ("kernel_shap", "shapley"): designed.designed_kernel_shap(N),
    ("kernel_banzhaf", "banzhaf"): designed.designed_kernel_banzhaf(N),
}
UNBIASED = ("cross_fitted", "horvitz_thompson")


def tables():
    """Saturating, smooth, voting and rough games of eight players."""
    rng = np.random.default_rng(0)
    masks = (np.arange(2**N)[:, None] >> np.arange(N)) & 1
    size = masks.sum(1)
    worth = rng.normal(size=N)
    return {
        "saturating": 1.0 - 0.3**size + 0.05 * np.tanh(masks @ worth),
        "smooth": np.tanh(masks @ worth / 2),
        "voting": ((masks @ np.array([4, 3, 2, 2, 1, 1, 1, 1])) > 7) * 1.0,
        "rough": rng.normal(size=2**N),
    }


TABLES = tables()


def estimates(case, table, budget, keys):
    """Values, errors and degrees of many runs on one table, without a driver."""
    estimator, ends = CASES[case], Ends(table[0], table[-1])
    out = []
    for seed in keys:
        plan = sampling_design.plan_round(
            0, estimator.law, budget, is_paired=estimator.is_paired
        )
        samples = sampling_draws.draw_round(
            jax.random.key(seed), plan, sampling_draws.empty_samples(N)
        )
        scores = table[(samples.masks() * (1 << np.arange(N))).sum(1)]
        result = estimator.method(samples, scores, ends, estimator.shares)
        out.append(result.estimate)
    values = np.stack([e.values for e in out])
    stderr = np.stack([e.stderr for e in out])
    return values, stderr, np.stack([e.degrees for e in out])


def truth(case, table):
    return exact.from_table(table, np.asarray(CASES[case].log_weights))


@pytest.mark.parametrize(
    "game",
    [g if g == "smooth" else pytest.param(g, marks=pytest.mark.slow) for g in TABLES],
)
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_unbiased_with_true_errors_and_coverage(case, game):
    values, stderr, degrees = estimates(case, TABLES[game], 96, range(120))
    error = values - truth(case, TABLES[game])
    spread = error.std(0, ddof=1)
    # Ratios and fits may be biased by a fifth of their standard deviation.
    slack = 0.0 if case[0] in UNBIASED else 0.2
    bound = (5 / np.sqrt(len(values)) + slack) * spread + 1e-9
    assert (np.abs(error.mean(0)) < bound).all()
    claimed = np.sqrt((stderr**2).mean(0))
    loud = spread > 1e-9
    assert (claimed[loud] / spread[loud] > 0.7).all()
    assert (claimed[loud] / spread[loud] < 1.5).all()
    reach = stats.t.ppf(0.975, np.maximum(degrees, 1)) * stderr
    covered = (np.abs(error) <= reach + 1e-12).mean()
    assert covered > 0.88


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_exact_once_everything_is_enumerated(case):
    values, stderr, degrees = estimates(case, TABLES["rough"], 2**N, range(1))
    np.testing.assert_allclose(values[0], truth(case, TABLES["rough"]), atol=1e-11)
    assert (stderr == 0).all()
    assert np.isinf(degrees).all()


@pytest.mark.parametrize("case", [c for c in CASES if c[1] == "shapley"], ids="-".join)
def test_shapley_values_are_efficient_by_construction(case):
    table = TABLES["rough"]
    values = estimates(case, table, 60, range(5))[0]
    if case[0] in ("msr", "stratified_svarm"):
        pytest.skip("differences of means by player are efficient in expectation only")
    np.testing.assert_allclose(values.sum(1), table[-1] - table[0], atol=1e-12)


@pytest.mark.parametrize("is_paired", [True, False])
@pytest.mark.parametrize("budget", [10, 40, 150, 254])
def test_inclusion_weights_add_up_to_one_in_expectation(is_paired, budget):
    law = sampling_design.size_law(np.full(N, 1 / N), is_mirrored=is_paired)
    total = np.zeros(N + 1)
    for seed in range(60):
        plan = sampling_design.plan_round(0, law, budget, is_paired=is_paired)
        assert plan.num_evaluations <= budget
        samples = sampling_draws.draw_round(
            jax.random.key(seed), plan, sampling_draws.empty_samples(N)
        )
        assert len(samples) == plan.num_evaluations
        total += np.bincount(samples.sizes, samples.weights, minlength=N + 1)
    np.testing.assert_allclose(total[1:N] / 60, 1.0, atol=0.35)


def test_without_repetition_within_a_round():
    law = sampling_design.size_law(np.full(N, 1 / N), is_mirrored=True)
    plan = sampling_design.plan_round(0, law, 120, is_paired=True)
    samples = sampling_draws.draw_round(
        jax.random.key(0), plan, sampling_draws.empty_samples(N)
    )
    masks = samples.masks()
    assert len(np.unique(masks, axis=0)) == len(masks)
    sizes = {s.sizes[0] for s in plan.strata if s.is_enumerated}
    for size in sizes:
        assert (masks.sum(1) == size).sum() == math.comb(N, size)


def test_rounds_together_weigh_like_one():
    law = sampling_design.size_law(np.full(N, 1 / N), is_mirrored=True)
    samples = sampling_draws.empty_samples(N)
    for number, budget in enumerate((24, 48, 96)):
        done = np.unique(samples.sizes[samples.is_enumerated]).tolist()
        plan = sampling_design.plan_round(
            number, law, budget, is_paired=True, enumerated=done
        )
        samples = sampling_draws.draw_round(jax.random.key(0), plan, samples)
    weight = combined_weights(samples)
    border = np.unique(samples.sizes[samples.is_enumerated])
    sums = np.bincount(samples.sizes, weight, minlength=N + 1)
    np.testing.assert_allclose(sums[border], 1.0, rtol=1e-12)


def test_thousands_of_players():
    law = sampling_design.size_law(np.full(5000, 1 / 5000), is_mirrored=True)
    plan = sampling_design.plan_round(0, law, 400, is_paired=True)
    samples = sampling_draws.draw_round(
        jax.random.key(0), plan, sampling_draws.empty_samples(5000)
    )
    assert len(samples) == 400
    assert samples.members.nbytes == 400 * 625


def saturating():
    def score(mask):
        return 1.0 - 0.5 ** mask.sum() + 0.1 * (mask[0] & mask[1])

    return Game(12, score)


def test_a_budget_is_one_round_and_is_not_overrun():
    out = run(
        jax.random.key(0), designed.cross_fitted(12), saturating(),
        until=stopping.budget(500),
    )  # fmt: skip
    assert out.num_evaluations == 500
    assert out.steps == 1
    truth = exact.values(saturating()).values
    assert (np.abs(out.values - truth) < 6 * out.stderr + 1e-12).all()


def test_rounds_double_until_a_rule_fires_or_all_is_known():
    estimator = designed.cross_fitted(10)
    game = Game(10, lambda mask: mask.sum() ** 2.0)
    out = run(jax.random.key(0), estimator, game, until=lambda status: False)
    np.testing.assert_allclose(out.values, 10.0, rtol=1e-12)
    assert out.exact
    assert (out.stderr == 0).all()


def test_an_interrupted_run_loses_nothing_and_ends_on_the_same_bits(tmp_path):
    calls = itertools.count()
    worth = np.random.default_rng(0).normal(size=9)

    def score(mask, stop_at=None):
        if next(calls) == stop_at:
            raise KeyboardInterrupt
        return float(np.tanh(np.asarray(mask) @ worth))

    rule = stopping.any_of(stopping.budget(200), stopping.units(10**6))
    go = lambda game, path: run(
        jax.random.key(3), designed.cross_fitted(9), game, until=rule, checkpoint=path
    )
    game = Game(9, score, on_host=True)
    whole = go(game, None)
    used = next(calls)
    cut = Game(9, lambda m: score(m, stop_at=used + 120), on_host=True)
    with pytest.raises(KeyboardInterrupt):
        go(cut, tmp_path / "run.npz")
    begun = next(calls)
    resumed = go(game, tmp_path / "run.npz")
    # The two endpoints are asked again; nothing else that was scored is.
    assert next(calls) - begun - 1 <= used - (begun - used) + 6
    np.testing.assert_array_equal(resumed.values, whole.values)
    np.testing.assert_array_equal(resumed.stderr, whole.stderr)


def test_one_run_serves_every_semivalue():
    estimator = designed.cross_fitted(N)
    game = Game(N, lambda mask: (mask @ np.arange(N) > 12) * 1.0)
    out = run(jax.random.key(0), estimator, game, until=stopping.budget(150))
    for law in LAWS.values():
        result = out.state.revalued(law).estimate
        error = result.values - exact.values(game, law).values
        assert (np.abs(error) < 6 * result.stderr + 1e-12).all()
    few = run(
        jax.random.key(0), designed.horvitz_thompson(40, weights.banzhaf),
        Game(40, lambda mask: mask.sum() * 1.0), until=stopping.budget(100),
    )  # fmt: skip
    with pytest.raises(ValueError, match="did not draw"):
        few.state.revalued(weights.shapley)


def test_other_numbers_of_players_are_refused():
    with pytest.raises(ValueError, match="made for 4 players; the game has 5"):
        run(
            jax.random.key(0), designed.cross_fitted(4),
            Game(5, lambda mask: mask.sum() * 1.0), until=stopping.budget(10),
        )  # fmt: skip
    with pytest.raises(ValueError, match="leave_one_out"):
        designed.cross_fitted(5, weights.leave_one_out)


@pytest.mark.parametrize("kind", ["BySize", "Linear", "Quadratic"])
def test_moments_and_values_of_bases_are_those_of_enumeration(kind):
    basis = getattr(bases, kind)(N)
    masks = ((np.arange(2**N)[:, None] >> np.arange(N)) & 1).astype(bool)
    features = basis.features(masks)
    assert features.shape[1] == basis.num_terms
    theta = np.random.default_rng(0).normal(size=basis.num_terms)
    for size in range(1, N):
        some = masks.sum(1) == size
        with_player, mean = basis.moments(theta, size)
        game = features[some] @ theta
        expected = (game[:, None] * masks[some]).mean(0)
        np.testing.assert_allclose(with_player, expected, atol=1e-12)
        np.testing.assert_allclose(mean, game.mean(), atol=1e-12)
    for law in LAWS.values():
        shares = weights.size_distribution(weights.resolve(law, N))
        expected = exact.from_table(features @ theta, law)
        np.testing.assert_allclose(basis.values(shares) @ theta, expected, atol=1e-12)
