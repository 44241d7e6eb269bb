import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.games import complexity as complexity_oracle
from oracles.games import mmd as mmd_oracle
from oracles.games import subsets

from jaxval.coalitions import masks
from jaxval.games import davinz
from jaxval.kernels.mmd import kernel_sums, rbf_ladder
from jaxval.types import Dataset

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


POWERSET = jax.jit(lambda game: game.powerset_scores())


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
    answers = jax.jit(
        lambda game, order: (
            game.powerset_scores(),
            game.scores(masks.powerset(n)),
            game.prefix_scores(order),
            game.leave_one_out_scores(),
        )
    )
    order = jnp.asarray(np.random.default_rng(1).permutation(n))
    powerset, scores, prefixes, (full, without) = answers(game, order)
    for got, chosen in (
        (powerset, masks.powerset(n)),
        (scores, masks.powerset(n)),
        (prefixes, masks.prefixes(order)),
        (np.r_[full, np.asarray(without)], masks.leave_one_out(n)),
    ):
        np.testing.assert_allclose(got, truth[index(chosen)], rtol=rtol, atol=1e-12)


@pytest.mark.parametrize(
    ("block", "outputs"), [("one", 1), ("one", 2), ("mixed", 2), ("aligned", 1)]
)
def test_every_answer_of_the_complexity_game_is_the_oracle(rows, block, outputs):
    assert_game(*make(rows, block, outputs))


@pytest.mark.parametrize(
    ("unbiased", "root"), [(False, True), (True, False), (True, True)]
)
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


def test_features_are_the_low_rank_kernel(rows):
    rng = np.random.default_rng(2)
    features, owner = rng.normal(size=(14, 3)), rows["owner"]
    game = davinz.complexity_of_features(
        features, rows["residual"], owner, zeta=0.5, relative=True
    )
    zeta = 0.5 * np.mean(np.sum(features**2, 1))
    of = lambda keep: complexity_oracle(
        features @ features.T, rows["residual"], keep, zeta
    )
    assert_game(game, np.array([table(of)(m, owner) for m in subsets(4)]))


def test_the_empty_coalition_may_have_a_score(rows):
    args = rows["gram"], rows["residual"], rows["owner"]
    zero = davinz.complexity(*args, zeta=ZETA)
    paid = davinz.complexity(*args, zeta=ZETA, empty_score=3.0)
    difference = np.asarray(POWERSET(paid))
    difference = difference - np.asarray(POWERSET(zero))
    np.testing.assert_allclose(difference, np.r_[3.0, np.zeros(15)], atol=1e-15)


def test_both_rules_for_kappa_are_their_formulas(rows):
    args = rows["gram"], rows["residual"], rows["owner"]
    whole = davinz.complexity(*args, zeta=ZETA)
    aligned = davinz.complexity(*args, zeta=ZETA, block=rows["owner"])
    sums = kernel_sums(rows["x"], rows["owner"], rows["valid"], rbf_ladder(1.0))
    far = davinz.discrepancy(sums)
    c, d = np.asarray(POWERSET(whole)), np.asarray(POWERSET(far))
    single, rest = 2 ** np.arange(4), [15, 14, 13, 11, 7]
    np.testing.assert_allclose(
        [davinz.kappa_of_singletons(g, far) for g in (whole, aligned)],
        d[single].sum() / c[single].sum(),
    )
    np.testing.assert_allclose(
        davinz.kappa_of_coalitions(whole, far), d[rest].sum() / c[rest].sum()
    )


@pytest.mark.parametrize(
    ("settings", "num_blocks"), [(davinz.PAPER, 1), (davinz.RELEASED_CODE, 3)]
)
def test_settings_compose_their_parts(rows, settings, num_blocks):
    rng = np.random.default_rng(4)
    settings = dataclasses.replace(settings, num_blocks=num_blocks)
    outputs, y = 0.1 * rng.normal(size=(14, 2)), rng.integers(0, 2, 14)
    data = Dataset(rows["x"], y, rows["owner"])
    parts = davinz.from_settings(settings, rows["gram"], outputs, data, rows["valid"])
    left = davinz.residual(outputs, y, settings.target)
    expected = {
        "true_class_logit": lambda: 1 - outputs[np.arange(14), y],
        "difference": lambda: np.eye(2)[y] - outputs,
    }[settings.target]()
    np.testing.assert_allclose(left, expected)
    everybody = jnp.ones(4, bool)
    score = -parts.kappa * float(parts.complexity.score(everybody))
    score -= float(parts.discrepancy.score(everybody))
    np.testing.assert_allclose(parts.game.score(everybody), score, rtol=1e-12)


def test_a_regulariser_that_dominates_warns(rows):
    with pytest.warns(davinz.RegulariserWarning, match="dominates"):
        davinz.complexity(rows["gram"], rows["residual"], rows["owner"], zeta=100.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gram": np.full((14, 14), np.nan)}, "gram must be finite"),
        ({"owner": np.zeros(14, int) + 1}, "without gaps"),
        ({"gram": -np.eye(14)}, "Add at least"),
        ({"gram": np.tri(14)}, "gram must be symmetric"),
        ({"residual": np.ones(13)}, "one row a sample"),
        ({"residual": ["a"] * 14}, "residual must hold real numbers"),
    ],
)
def test_bad_inputs_are_named(rows, change, message):
    rows = rows | change
    with pytest.raises(ValueError, match=message):
        davinz.complexity(rows["gram"], rows["residual"], rows["owner"], zeta=ZETA)


def test_residuals_of_unknown_classes_are_refused():
    with pytest.raises(ValueError, match="class numbers 0 to 1; got 5"):
        davinz.residual(np.zeros((2, 2)), np.array([0, 5]), "true_class_logit")
