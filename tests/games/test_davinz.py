import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from oracles.games import complexity as complexity_oracle
from oracles.games import mmd as mmd_oracle
from oracles.games import subsets

from jaxval.coalitions import masks, queries
from jaxval.games import davinz
from jaxval.kernels.mmd import kernel_sums, rbf_ladder
from jaxval.kernels.mmd_rows import row_kernels
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
    grand_coalition = jnp.ones(4, bool)
    score = -parts.kappa * float(parts.complexity.score(grand_coalition))
    score -= float(parts.discrepancy.score(grand_coalition))
    np.testing.assert_allclose(parts.game.score(grand_coalition), score, rtol=1e-12)


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


def test_the_discrepancy_answers_by_row_of_the_target(rows):
    kernel = rbf_ladder(1.5, (0.5, 1.0))
    parts = rows["x"], rows["owner"], rows["valid"], kernel
    game = davinz.discrepancy(row_kernels(*parts), empty_score=0.25)
    plain = davinz.discrepancy(kernel_sums(*parts), empty_score=0.25)
    by_row = queries.row_scores(game, subsets(4))
    np.testing.assert_allclose(
        game.reduce_rows(by_row), queries.powerset_scores(plain), atol=1e-12
    )
    # Whole weights are a target whose rows are repeated.
    counts = np.array([3, 0, 1, 1, 0, 1])
    repeated = kernel_sums(*parts[:2], np.repeat(parts[2], counts, 0), kernel)
    np.testing.assert_allclose(
        game.reduce_rows(by_row, counts / counts.sum()),
        queries.powerset_scores(davinz.discrepancy(repeated, empty_score=0.25)),
        atol=1e-12,
    )


@pytest.mark.parametrize("empty_score", [0.0, -1.5, "mean_of_owners"])
def test_the_empty_score_of_the_settings_is_the_games(rows, empty_score):
    y = np.arange(14) % 2
    data = Dataset(rows["x"], y, rows["owner"])
    parts = davinz.from_settings(
        davinz.PAPER, rows["gram"], np.zeros((14, 2)), data, rows["valid"],
        empty_score=empty_score,
    )  # fmt: skip
    scores = queries.powerset_scores(parts.game)
    expected = empty_score
    if empty_score == "mean_of_owners":
        expected = scores[2 ** np.arange(4)].mean()
    np.testing.assert_allclose(scores[0], expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"readout": "own"}, "readout must be one of 'true_class_logit'"),
        ({"target": "own_logit"}, "target must be one of"),
        ({"kappa": "single"}, "kappa must be one of"),
        ({"kappa": -1.0}, "kappa must be a non-negative"),
        ({"num_blocks": 1.5}, "num_blocks must be a whole number"),
        ({"init": "NTK"}, "init must be one of"),
    ],
)
def test_settings_that_select_nothing_are_refused(change, message, without_type_checks):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(davinz.PAPER, **change)


@pytest.mark.parametrize("outputs", [1, 2])
def test_residuals_read_their_targets_however_they_are_spelled(
    outputs, without_type_checks
):
    f, y = np.full((3, outputs), 0.25), np.array([1, 0, 1])
    expected = davinz.residual(f, y, "difference")
    for spelled in (y[:, None], y.astype(np.float32), pd.Series(y), y > 0):
        got = davinz.residual(f, spelled, "difference")
        np.testing.assert_array_equal(got, expected)
    with pytest.raises(ValueError, match="target must be one of"):
        davinz.residual(f, y, "own_logits")


def test_features_with_a_regulariser_below_rounding_are_refused(rows):
    features = np.random.default_rng(0).normal(size=(14, 30))
    args = rows["residual"], rows["owner"]
    with pytest.raises(ValueError, match=r"zeta must be at least .* got 1\.0e-15"):
        davinz.complexity_of_features(features, *args, zeta=1e-15)
    game = davinz.complexity_of_features(features, *args, zeta=1e-6)
    gram = davinz.complexity(features @ features.T, *args, zeta=1e-6)
    np.testing.assert_allclose(POWERSET(game), POWERSET(gram), rtol=1e-6)


def test_equal_settings_trace_nothing_the_second_time(rows):
    traces = 0

    @jax.jit
    def ask(game):
        nonlocal traces
        traces += 1
        left_out, powerset = game.leave_one_out_scores(), game.powerset_scores()
        return left_out, powerset, game.prefix_scores(jnp.arange(4))

    kernel = rbf_ladder(1.5)
    sums = kernel_sums(rows["x"], rows["owner"], rows["valid"], kernel)
    features = np.random.default_rng(0).normal(size=(14, 3))
    part = rows["residual"], rows["owner"]
    makers = [
        lambda zeta: davinz.complexity(rows["gram"], *part, zeta=zeta),
        lambda zeta: davinz.complexity(
            rows["gram"], *part, zeta=zeta, block=rows["mixed"]
        ),
        lambda zeta: davinz.complexity_of_features(features, *part, zeta=zeta),
        lambda zeta: davinz.complexity_of_forms(np.ones(4), np.ones(4) * zeta),
        lambda zeta: davinz.discrepancy(sums, empty_score=zeta),
        lambda zeta: (
            davinz.davinz(
                davinz.complexity(rows["gram"], *part, zeta=zeta),
                davinz.discrepancy(sums),
                kappa=zeta,
            ).game
        ),
    ]
    for count, make in enumerate(makers, 1):
        for zeta in (0.1, 0.2):
            ask(make(zeta))
        assert traces == count
