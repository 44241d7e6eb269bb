import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles_games import complexity as complexity_oracle
from oracles_games import mmd as mmd_oracle
from oracles_games import subsets

from jaxval import masks
from jaxval.discrepancy import kernel_sums, rbf_ladder
from jaxval.games import davinz

SIZES = (5, 2, 4, 3)
ZETA = 0.1


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    owner = rng.permutation(np.repeat(np.arange(4), SIZES))
    features = rng.normal(size=(14, 20))
    return {
        "gram": features @ features.T / 20,
        "residual": rng.normal(size=14),
        "owner": owner,
        "x": rng.normal(size=(14, 3)),
        "valid": rng.normal(size=(6, 3)) + 0.5,
        "mixed": rng.permutation(np.arange(14) % 3),
    }


def table(score):
    def of(mask, owner):
        keep = np.flatnonzero(mask[owner])
        return score(keep) if keep.size else 0.0

    return of


def make(rows, block, outputs=1):
    residual = rows["residual"]
    if outputs > 1:
        residual = np.stack([residual, residual[::-1]], 1)
    chosen = {"one": None, "mixed": rows["mixed"], "aligned": rows["owner"]}[block]
    game = davinz.complexity(
        rows["gram"], residual, rows["owner"], zeta=ZETA, block=chosen
    )
    truth = np.array(
        [
            table(
                lambda keep: complexity_oracle(
                    rows["gram"], residual, keep, ZETA, chosen
                )
            )(mask, rows["owner"])
            for mask in subsets(4)
        ]
    )
    return game, truth


def assert_game(game, truth, rtol=1e-9):
    """Every structured answer agrees with a table over the power set."""
    n = game.num_players
    index = lambda m: np.asarray(m) @ 2 ** np.arange(n)
    np.testing.assert_allclose(game.powerset_scores(), truth, rtol=rtol, atol=1e-12)
    np.testing.assert_allclose(
        game.scores(masks.powerset(n)), truth, rtol=rtol, atol=1e-12
    )
    order = jnp.asarray(np.random.default_rng(1).permutation(n))
    np.testing.assert_allclose(
        game.prefix_scores(order),
        truth[index(masks.prefixes(order))],
        rtol=rtol,
        atol=1e-12,
    )
    full, without = game.leave_one_out_scores()
    chosen = truth[index(masks.leave_one_out(n))]
    np.testing.assert_allclose(
        np.r_[full, np.asarray(without)], chosen, rtol=rtol, atol=1e-12
    )


@pytest.mark.parametrize("block", ["one", "mixed", "aligned"])
@pytest.mark.parametrize("outputs", [1, 2])
def test_every_answer_of_the_complexity_game_is_the_oracle(rows, block, outputs):
    assert_game(*make(rows, block, outputs))


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("root", [False, True])
def test_every_answer_of_the_discrepancy_game_is_the_oracle(rows, unbiased, root):
    kernel = rbf_ladder(1.5, (0.5, 1.0, 2.0))
    sums = kernel_sums(rows["x"], rows["owner"], rows["valid"], kernel)
    game = davinz.discrepancy(sums, unbiased=unbiased, root=root)

    def score(keep):
        parts = np.asarray(kernel.bandwidths), np.asarray(kernel.weights)
        square = mmd_oracle(rows["x"][keep], rows["valid"], *parts, unbiased)
        return np.sqrt(max(square, 0.0)) if root else square

    truth = [table(score)(mask, rows["owner"]) for mask in subsets(4)]
    assert_game(game, np.array(truth))


def test_games_of_a_kind_compile_once(rows):
    traces = 0

    @jax.jit
    def everything(game):
        nonlocal traces
        traces += 1
        return game.powerset_scores(), game.prefix_scores(jnp.arange(4))

    kernel = rbf_ladder(1.0)
    for shift in (0.0, 1.0, 2.0):
        first, _ = make(rows | {"residual": rows["residual"] + shift}, "one")
        sums = kernel_sums(rows["x"] + shift, rows["owner"], rows["valid"], kernel)
        game = davinz.davinz(first, davinz.discrepancy(sums), kappa=1.0 + shift).game
        everything(game)
    assert traces == 1
