"""Equal settings are equal functions: the second construction compiles nothing."""

import dataclasses
import logging
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from jaxval.coalitions.game import Game
from jaxval.execution.precision import float64
from jaxval.semivalues import (
    antithetic,
    kernel_banzhaf,
    kernel_shap,
    msr,
    msr_unbiased,
    orders,
    permutation_sampling,
    quasi_random,
    regression_adjusted,
    regression_adjustment,
    run,
    stopping,
    stratified,
    tmc,
    truncated,
    weights,
)

N = 5
FACTORIES = {
    "permutation_sampling": lambda: permutation_sampling(N),
    "of rotations": lambda: permutation_sampling(N, draw=orders.rotations(2)),
    "antithetic": lambda: antithetic(N, weights.beta(4, 1)),
    "quasi_random": lambda: quasi_random(N, num_directions=2),
    "stratified": lambda: stratified(N, num_rotations=2),
    "msr": lambda: msr(N, weights.weighted_banzhaf(0.4)),
    "msr_unbiased": lambda: msr_unbiased(N),
    "regression_adjusted": lambda: regression_adjusted(N),
    "quadratic": lambda: regression_adjusted(
        N, basis=regression_adjustment.quadratic(N)
    ),
    "kernel_shap": lambda: kernel_shap(N, groups=4),
    "kernel_banzhaf": lambda: kernel_banzhaf(N, groups=4, probability=0.3),
    "tmc": lambda: tmc(N, permutations=4, band=truncated.absolute(0.1)),
    "data_shapley": lambda: truncated.data_shapley(N, permutations=4),
}


def bent(worth, mask):
    return jnp.tanh(worth @ mask.astype(worth.dtype))


class Compilations(logging.Handler):
    """Counts the programs that JAX says it compiles."""

    def __init__(self):
        super().__init__()
        self.names = []

    def emit(self, record):
        if "Compiling" in record.getMessage():
            self.names.append(record.getMessage().split(" with ")[0])


@pytest.mark.parametrize("name", FACTORIES)
def test_the_second_construction_compiles_nothing(name, key):
    traces, heard = [], Compilations()

    def score(worth, mask):
        traces.append(1)
        return bent(worth, mask)

    def go(seed):
        worth = np.random.default_rng(seed).normal(size=N)
        game = Game(N, Partial(score, float64(worth)))
        # A budget that no step divides, so that steps are shortened too.
        return run(key, FACTORIES[name](), game, until=stopping.budget(203))

    first = go(0)
    before = len(traces)
    assert before > 0
    log = logging.getLogger("jax")
    log.addHandler(heard)
    try:
        with jax.log_compiles():
            second = go(1)
    finally:
        log.removeHandler(heard)
    assert len(traces) == before
    assert heard.names == []
    assert first.steps > 0
    assert not np.array_equal(first.values, second.values)


@pytest.mark.parametrize("name", FACTORIES)
def test_estimators_pickle(name, key):
    worth = float64(np.arange(1.0, N + 1) / N)
    game = Game(N, Partial(bent, worth))
    method = FACTORIES[name]()
    again = pickle.loads(pickle.dumps(method))
    rule = stopping.budget(100)
    one, two = (run(key, m, game, until=rule) for m in (method, again))
    np.testing.assert_array_equal(one.values, two.values)
    assert method.settings == again.settings


def test_settings_that_are_equal_are_equal_functions():
    for make in (
        lambda: orders.orthogonal(3),
        lambda: orders.rotations(3),
        lambda: weights.beta(4, 1),
        lambda: weights.weighted_banzhaf(0.2),
        lambda: weights.leave_group_out(2),
        lambda: truncated.absolute(0.5),
        lambda: truncated.relative_to_full(0.01),
        lambda: regression_adjustment.quadratic(4),
        lambda: tmc(4).sample,
        lambda: kernel_shap(4).fold,
        lambda: stopping.any_of(stopping.budget(3), stopping.units(4)),
    ):
        assert make() == make()
        assert hash(make()) == hash(make())


def test_an_estimator_is_keyword_only():
    method = kernel_shap(4)
    assert dataclasses.replace(method, unit="other").unit == "other"
    with pytest.raises(TypeError):
        type(method)("settings", "unit")
