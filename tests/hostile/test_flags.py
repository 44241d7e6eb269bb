"""The estimators and the questions to a game, once under each of JAX's own flags."""

import os
import subprocess
import sys
import textwrap

import pytest

FLAGS = [
    "jax_debug_nans",
    pytest.param("jax_debug_infs", marks=pytest.mark.slow),
    pytest.param(
        "jax_numpy_dtype_promotion=strict",
        marks=pytest.mark.xfail(reason="sums of integers and floats remain"),
    ),
    "jax_debug_key_reuse",
    pytest.param("jax_enable_x64", marks=pytest.mark.slow),
    pytest.param("jax_check_tracer_leaks", marks=pytest.mark.slow),
]

EVERYTHING = """
    import sys
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.tree_util import Partial

    flag, _, value = sys.argv[1].partition("=")
    jax.config.update(flag, value or True)

    from jaxval.coalitions import grouped, queries
    from jaxval.coalitions.game import Game
    from jaxval.execution.precision import float64
    from jaxval.semivalues import (
        antithetic, exact, intervals, kernel_banzhaf, kernel_shap, msr, msr_unbiased,
        permutation_sampling, quasi_random, regression_adjusted,
        regression_adjustment, run, stopping, stratified, tmc, weights,
    )

    N = 5

    def bent(worth, mask):
        return jnp.tanh(worth @ mask.astype(worth.dtype))

    worth = np.random.default_rng(0).normal(size=N)
    games = {
        "traced": Game(N, Partial(bent, float64(worth))),
        "host": Game(N, lambda mask: float(np.tanh(worth @ mask)), on_host=True),
    }
    methods = [
        permutation_sampling(N),
        antithetic(N, weights.beta(4, 1)),
        quasi_random(N),
        stratified(N, num_rotations=2),
        msr(N, weights.weighted_banzhaf(0.3)),
        msr_unbiased(N),
        regression_adjusted(N),
        regression_adjusted(N, basis=regression_adjustment.quadratic(N)),
        kernel_shap(N, groups=4),
        kernel_banzhaf(N, groups=4),
        tmc(N, permutations=4),
    ]
    tables = {}
    for kind, game in games.items():
        tables[kind] = exact.values(game).values
        exact.leave_one_out(game)
        exact.leave_groups_out(game, np.array([0, 0, 1, 1, 2]))
        queries.prefix_scores(game, np.arange(N))
        exact.values(2.0 * game - game)
        exact.values(grouped(game, np.array([0, 1, 1, 0, 2]), 3))
        for method in methods:
            # Nothing is known after one step: the first look must bear that.
            seen = []
            rule = stopping.any_of(stopping.ranks_stable(), stopping.budget(150))
            every = 1 if kind == "traced" else 16
            out = run(jax.random.key(0), method, game, until=rule, every=every,
                      progress=seen.append)
            assert np.isfinite(out.values).all()
            assert np.isfinite(out.stderr).all(), method.settings
            intervals.student(out.estimate)
            intervals.rank_confidence(out.estimate, out.covariance)
    np.testing.assert_allclose(tables["traced"], tables["host"], rtol=1e-9)
    print("done", len(methods) * len(games))
"""


@pytest.mark.parametrize("flag", FLAGS)
def test_everything_runs_under_the_flag(flag):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(EVERYTHING), flag],
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith("done 22")
