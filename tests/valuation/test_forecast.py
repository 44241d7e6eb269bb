import re
import time

import numpy as np
import pytest

from jaxval.coalitions.game import Game
from jaxval.datasets import read_table
from jaxval.semivalues import permutation, sample_reuse
from jaxval.valuation import estimate, forecast, semivalues
from jaxval.valuation.factory import GameFactory
from jaxval.valuation.sampling import Plan


def slow_game(players, seconds):
    def scores(masks):
        time.sleep(seconds * len(masks))
        return np.asarray(masks, float).sum(axis=1)

    return Game(players, lambda mask: mask.sum() * 1.0, scores, on_host=True)


def test_hours_of_training_are_predicted():
    lines = []

    def warn(game, count, budget="--budget N"):
        forecast.warn_if_slow(
            game, count, ordered=True, what="trainings", note=lines.append, seeds=3,
            remedies=("--owner to value groups", budget, "--game logistic"),
        )  # fmt: skip

    warn(slow_game(159, 0.01), 200 * 2 * 158)
    pattern = (
        r"note: about 190,000 trainings, some (3\d|4\d) minutes: give --owner to value "
        r"groups, --budget N or --game logistic\."
    )
    assert re.fullmatch(pattern, lines[-1])
    # What is soon over is not predicted.
    warn(slow_game(3, 0.0), 8)
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("estimator", "budget", "words"),
    [
        ("auto", None, ("--budget N", "--game ridge")),
        ("auto", 9, ("a smaller --budget", "--game ridge")),
        ("exact", None, ("another --estimator", "--game ridge")),
    ],
)
def test_remedies_are_those_that_would_help(key, table, estimator, budget, words):
    data = read_table(key, table, "height", owner="who")
    factory = GameFactory(
        name="retraining", make=lambda seed, progress: None, description="",
        unit="", max_exact=6, is_trained=True,
    )  # fmt: skip
    plan = Plan(
        semivalue=semivalues.make("shapley"), estimator=estimator, budget=budget
    )
    assert estimate.remedies(data, factory, plan) == words


def test_an_orders_prefixes_are_timed_where_the_game_is_traced():
    game = Game(50, lambda mask: mask.sum() * 1.0)
    assert forecast.seconds_per_score(game, ordered=True) < 0.01
    assert forecast.seconds_per_score(game, ordered=False) < 0.1


@pytest.mark.parametrize(
    ("estimator", "calls"),
    [
        (permutation.permutation_sampling(10), 200 * 9),
        (permutation.antithetic(10), 200 * 18),
        (sample_reuse.msr(10), 200),
    ],
)
def test_scores_are_counted_beforehand(estimator, calls):
    """The endpoints are asked for once per run and not counted."""
    found = forecast.num_evaluations(estimator, 10, 200)
    assert abs(found - calls) <= 0.05 * calls
