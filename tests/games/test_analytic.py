import jax.numpy as jnp
import numpy as np
import pytest
from oracles.games import shapley, subsets

from jaxval.games import analytic

COSTS = np.array([3.0, 1.0, 4.0, 1.0, 5.0])
TERMS = analytic.random_unanimity_sum(5, 6, max_size=4, seed=0)
RNG = np.random.default_rng(0)
B = RNG.normal(size=(5, 5))
B = B + B.T
OWN = RNG.normal(size=5)
WORTH = np.array([0.5, 1.0, 4.0, 4.5, 6.0, 9.0])

GAMES = {
    "additive": (analytic.additive(OWN), OWN),
    "gloves": (analytic.gloves(2, 3), analytic.gloves_shapley(2, 3)),
    "airport": (analytic.airport(COSTS), analytic.airport_shapley(COSTS)),
    "voting": (
        analytic.voting((4, 3, 2, 0, 2), 6),
        analytic.voting_shapley((4, 3, 2, 0, 2), 6),
    ),
    "size": (analytic.size_game(WORTH), analytic.size_game_values(WORTH)),
    "unanimity": (
        analytic.unanimity_sum(TERMS),
        analytic.unanimity_sum_values(TERMS),
    ),
    "pairwise": (analytic.pairwise(OWN, B), analytic.pairwise_values(OWN, B)),
}


@pytest.mark.parametrize("name", GAMES)
def test_shapley_values_are_the_definition(name):
    game, values = GAMES[name]
    np.testing.assert_allclose(
        values, shapley(game.powerset_scores(), 5), rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("name", GAMES)
def test_the_tabulated_power_set_is_the_scores(name):
    game, _ = GAMES[name]
    np.testing.assert_allclose(
        game.powerset_scores(), game.scores(jnp.asarray(subsets(5))), atol=1e-12
    )


@pytest.mark.parametrize("name", ["size", "unanimity", "pairwise"])
def test_any_semivalue_is_the_definition(name):
    size = np.arange(5)
    log_weights = np.log(0.3) * size + np.log(0.7) * (4 - size)
    values = {
        "size": lambda: analytic.size_game_values(WORTH, log_weights),
        "unanimity": lambda: analytic.unanimity_sum_values(TERMS, log_weights),
        "pairwise": lambda: analytic.pairwise_values(OWN, B, log_weights),
    }[name]()
    table = np.asarray(GAMES[name][0].powerset_scores())
    expected = np.zeros(5)
    for number, mask in enumerate(subsets(5)):
        for i in np.flatnonzero(~mask):
            step = table[number + 2**i] - table[number]
            expected[i] += np.exp(log_weights[mask.sum()]) * step
    np.testing.assert_allclose(values, expected, rtol=1e-10)


def test_voting_power_of_fifty_one_players_adds_up():
    weights = [3 + (7 * i) % 40 for i in range(51)]
    power = analytic.voting_shapley(weights, sum(weights) // 2 + 1)
    np.testing.assert_allclose(power.sum(), 1.0, rtol=1e-12)
    assert np.all(np.diff(power[np.argsort(weights)]) >= 0)


def test_unanimity_values_of_ten_thousand_players_are_finite():
    members = np.zeros((1, 10_000), bool)
    members[0, :300] = True
    terms = analytic.UnanimitySum(jnp.ones(1), jnp.asarray(members))
    values = analytic.unanimity_sum_values(terms)
    np.testing.assert_allclose(values.sum(), 1.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: analytic.voting((1, 2), 9), "quota"),
        (lambda: analytic.gloves(0, 2), "num_left"),
        (lambda: analytic.airport(np.array([-1.0])), "costs"),
        (lambda: analytic.pairwise([0.0, 0.0], np.tri(2)), "symmetric"),
        (lambda: analytic.random_unanimity_sum(2, 1, max_size=3, seed=0), "max_size"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
