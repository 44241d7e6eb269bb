"""Table 1 of DAVINZ: its correlations, its deal, and one small run."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxval.experiments import davinz_table_1 as study
from jaxval.experiments.parts import correlation, deals, methods, truth
from jaxval.runner.contract import SILENT


def test_correlations_against_the_mean_of_the_seeds():
    draws = np.array([[1.0, 2.0, 3.0, 5.0], [1.0, 2.0, 3.0, 3.0]])
    values = np.array([[1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]])
    np.testing.assert_allclose(correlation.agreement(draws, values), [[1, 1], [-1, -1]])


def test_a_seed_is_judged_by_the_others_alone():
    draws = np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    found = correlation.one_against_others(draws)
    # The means of the others are constant for seeds 0 and 2, and that says nothing.
    assert found[1].tolist() == [-1.0, -1.0]
    assert np.isnan(found[[0, 2]]).all()


def test_contributors_bring_one_class_each():
    deal = deals.one_class_each(jax.random.key(0), "digits", (5, 7, 6), 100)
    assert deal.data.sizes.tolist() == [5, 7, 6]
    np.testing.assert_array_equal(deal.data.y, deal.data.owner)
    assert set(np.unique(deal.valid.y)) == {0, 1, 2}


@pytest.mark.parametrize("wrong", [{"seeds": 1}, {"inits": 0}, {"epochs": 0}])
def test_bad_numbers_are_named(wrong):
    with pytest.raises(ValueError, match=f"--{next(iter(wrong))} must be at least"):
        study.Config(**wrong)


def test_a_small_study_reports_the_reliability_of_its_truth(monkeypatch):
    cheap = {name: methods.METHODS[name] for name in ("size", "random")}
    monkeypatch.setattr(methods, "METHODS", cheap)
    config = study.Config(
        sizes=(8, 10, 12, 9), valid=60, width=0.25, seeds=2, epochs=2, inits=2
    )
    result = study.run(config)
    rows = dict(
        zip(
            result.metrics["agreement"]["method"],
            result.metrics["agreement"]["pearson"],
            strict=True,
        )
    )
    assert list(rows) == [
        "size",
        "random",
        correlation.ONE_SEED,
        correlation.RELIABILITY,
    ]
    assert result.arrays["retrained"].shape == (2, 4)
    half = result.metrics["reliability"][0]["half"]
    np.testing.assert_equal(rows[correlation.RELIABILITY], half)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:influence functions")
def test_every_method_values_every_contributor():
    deal = deals.one_class_each(jax.random.key(0), "digits", (12,) * 10, 100)
    setup = methods.Setup(width=0.25, recipe=truth.recipe("adam", 3))
    for name, method in methods.METHODS.items():
        for label, values in method(jax.random.key(0), deal, setup).items():
            assert values.shape == (10,), (name, label)
            assert np.isfinite(values).all(), (name, label)


def test_a_killed_study_goes_on_where_it_was(monkeypatch, tmp_path):
    cheap = {name: methods.METHODS[name] for name in ("size", "random")}
    monkeypatch.setattr(methods, "METHODS", cheap)
    config = study.Config(
        sizes=(8, 10, 12), valid=60, width=0.25, seeds=2, epochs=1, inits=1
    )
    context = dataclasses.replace(SILENT, scratch=tmp_path / "partial")
    first = study.run(config, context)
    nothing = lambda *args, **kwargs: pytest.fail("trained again")
    monkeypatch.setattr(truth, "leave_one_out", nothing)
    again = study.run(config, context)
    np.testing.assert_array_equal(first.arrays["retrained"], again.arrays["retrained"])
    assert first.metrics["seconds"] == again.metrics["seconds"]
