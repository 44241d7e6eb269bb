import numpy as np
import pytest
from valuation.pets import run

from jaxval.valuation import command as value


@pytest.mark.parametrize(
    "estimator",
    ["permutation", "antithetic", "quasi-random", "stratified", "truncated", "msr",
     "least-squares", "adjusted"],
)  # fmt: skip
def test_estimators_agree_with_all_coalitions(table, estimator):
    """Within five standard errors of the exact values, with the error bar it claims."""
    common = {"data": table, "target": "kind", "owner": "who", "game": "discrepancy"}
    exactly = value.run(value.Config(**common, estimator="exact"))
    sampled = value.run(value.Config(**common, estimator=estimator, budget=800))
    truth = exactly.tables["values"].columns[2]
    found = sampled.tables["values"].columns[2]
    assert (np.asarray(truth.stderr) == 0).all()
    error = np.abs(np.asarray(found.values) - truth.values)
    biased = 0.05 * np.abs(truth.values).max() if estimator == "truncated" else 1e-9
    assert (error <= 5 * np.asarray(found.stderr) + biased).all()


def test_an_option_that_stops_nothing_is_said_to(table, capsys):
    assert run(table, "--game", "size", "--seconds", "5") == 0
    assert "note: --seconds has nothing to stop" in capsys.readouterr().err


def test_a_budget_below_all_coalitions_is_kept(table):
    config = value.Config(
        data=table, target="kind", owner="who", game="discrepancy", budget=5
    )
    found = value.run(config)
    assert "antithetic" in found.metrics["method"]
