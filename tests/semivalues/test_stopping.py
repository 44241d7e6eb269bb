import dataclasses

import numpy as np
import pytest

from jaxval.semivalues import Status, stopping
from jaxval.types import ValueEstimate


def status(values, stderr, count, **rest):
    values = np.asarray(values, float)
    stderr = np.broadcast_to(np.asarray(stderr, float), values.shape)
    estimate = ValueEstimate(values, stderr, np.full(values.shape, count))
    return Status(estimate=estimate, **rest)


BY_ESTIMATE = [stopping.stderr_below(0.1), stopping.ranks_stable(0.9, tie=0.5)]


@pytest.mark.parametrize("rule", BY_ESTIMATE)
def test_nothing_fires_before_enough_units_on_zeros_or_on_nan(rule):
    assert not rule(status([0, 0], 0.0, 29))
    assert not rule(status([0, 0], 0.0, 200))
    assert not rule(status([3, 1], 0.01, 29))
    assert not rule(status([3, 1], np.nan, 1000))
    assert not rule(status([-3, -1], np.nan, 1000))
    assert rule(status([3, 1], 0.01, 60))
    assert rule(status([-3, -1], 0.01, 60))
    assert rule(status([0, 0], 0.0, 300))


def test_stderr_asks_every_player():
    rule = stopping.stderr_below(0.1)
    assert not rule(status([1, 2], [0.01, 0.2], 100))
    assert not rule(status([1, 2], [0.01, 0.0], 100))
    assert rule(status([1, 2], [0.01, 0.05], 100))


def test_ranks_are_told_apart_or_tied():
    close = status([1.0, 0.9], 0.1, 100)
    assert not stopping.ranks_stable()(close)
    assert stopping.ranks_stable(tie=1.0)(close)
    assert not stopping.ranks_stable(tie=0.2)(close)
    # The same errors, but of values that move together.
    together = np.array([[0.01, 0.0099], [0.0099, 0.01]])
    assert stopping.ranks_stable()(dataclasses.replace(close, covariance=together))


def test_equal_players_never_look_stable_without_a_tie():
    assert not stopping.ranks_stable()(status([1.0, 1.0], 1e-9, 10_000))
    assert not stopping.ranks_stable()(status([0.0, 0.0], 0.0, 10_000))


def test_counters_and_combinations():
    now = status([1.0], 0.5, 10, num_evaluations=99, seconds=3.0)
    yes, no = stopping.units(10), stopping.budget(100)
    assert yes(now)
    assert not no(now)
    assert stopping.time_limit(3)(now)
    assert not stopping.time_limit(4)(now)
    assert stopping.any_of(yes, no)(now)
    assert not stopping.all_of(yes, no)(now)


@pytest.mark.parametrize(
    "make",
    [
        lambda: stopping.any_of(),
        lambda: stopping.all_of(),
        lambda: stopping.budget(0),
        lambda: stopping.units(0),
        lambda: stopping.stderr_below(0.0),
        lambda: stopping.ranks_stable(1.5),
    ],
)
def test_what_is_refused(make):
    with pytest.raises(ValueError, match=r"must|needs"):
        make()
