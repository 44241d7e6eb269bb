import dataclasses

import jax
import numpy as np
import pytest

from jaxval.experiments import ecoval_figures as study
from jaxval.experiments.parts import comparisons, deals
from jaxval.reporting.plots import save_picture

TINY = study.Config(
    utility="ridge",
    embedding="pca",
    dims=8,
    clusters=6,
    permutations=0.1,
    iterations=10,
    regression="ridge",
    draws=2,
    steps=4,
)


@pytest.fixture(scope="module")
def result():
    return study.run(TINY)


@pytest.mark.slow
def test_tables_name_every_method(result):
    methods = result.tables["methods"].columns[0].values
    for name in ("ecoval", "TMC Shapley", "class mean only", "random"):
        assert name in methods
    assert "TMC Shapley" not in result.tables["unseen"].columns[0].values
    assert len(result.tables["values"]) == 200
    assert all(isinstance(text, str) for text in result.sentences)


@pytest.mark.slow
def test_random_leads_random_by_nothing(result):
    table = result.tables["methods"]
    row = list(table.columns[0].values).index("random")
    assert table.columns[1].values[row] == 0.0


@pytest.mark.slow
def test_closed_form_makes_no_training_runs(result):
    cost = {column.name: column.values for column in result.tables["cost"].columns}
    assert cost["figure_1"][:1] == [120_000]
    assert set(cost["made"]) == {0}
    assert min(cost["scores"]) > 0
    runs = {c.name: c.values for c in result.tables["methods"].columns}
    assert set(runs["training_runs"]) == {0}
    # As many sets as were drawn, and U(S) with each.
    drawn = list(cost["method"]).index("Distributional Shapley")
    assert cost["scores"][drawn] == 10 * 201


@pytest.mark.slow
def test_two_draws_call_no_method_better(result):
    said = " ".join(result.sentences)
    assert "too few to say who is better" in said
    assert "better than" not in said
    assert "First of 2 draws" in said
    assert result.metrics["unseen_hazards"][0]["points"] == 400


@pytest.mark.slow
def test_curves_start_from_all_points(result):
    full = result.arrays["removal_ecoval"][:, 0]
    np.testing.assert_allclose(full, result.arrays["removal_random"][:, 0])
    np.testing.assert_allclose(full, result.arrays["addition_ecoval"][:, -1])


@pytest.mark.slow
def test_the_picture(result, tmp_path):
    pytest.importorskip("matplotlib")
    save_picture(tmp_path / "picture.png", result.draw)
    assert (tmp_path / "picture.png").stat().st_size > 10_000


def test_parts_of_a_draw_are_disjoint(key):
    data = deals.embedded_data(jax.random.key(0), "digits", None, "pca", 8, 1)
    sample = deals.draw_sample(key, data)
    sizes = [len(part.x) for part in sample]
    assert sizes == [200, 400, 250, 250, 400]
    rows = np.concatenate([part.x for part in sample])
    # Some digits are equal pixel by pixel; far fewer than a part holds.
    assert len(np.unique(rows.round(9), axis=0)) > len(rows) - 5


def test_noise_is_significant_once_in_twenty_at_most():
    rng = np.random.default_rng(0)
    gaps = lambda: {f"baseline {i}": rng.normal(size=5) for i in range(9)}
    wrong = [any(comparisons.significant(gaps()).values()) for _ in range(400)]
    assert np.mean(wrong) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


def test_differences_are_significant():
    rng = np.random.default_rng(1)
    noise = lambda: rng.normal(size=8)
    gaps = {"far": noise() + 20, "near": noise(), "further": noise() - 50}
    gaps |= {"same": np.zeros(8), "always": np.ones(8)}
    apart = comparisons.significant(gaps)
    assert apart == {
        "far": True, "near": False, "further": True, "same": False, "always": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("per_cluster", 0),
        ("steps", 0),
        ("permutations", -1.0),
        ("permutations", np.nan),
    ],
)
def test_options_that_cannot_be(name, number):
    with pytest.raises(ValueError, match=f"--{name.replace('_', '-')}"):
        dataclasses.replace(TINY, **{name: number})


def test_no_data_folder():
    with pytest.raises(ValueError, match="data folder"):
        study.run(dataclasses.replace(TINY, data="mnist", data_dir=None))


def test_the_verdict_names_each_baseline_once():
    noise = np.random.default_rng(2).normal(size=8)
    lead = {"worse": noise + 30, "alike": noise - noise.mean(), "better": noise - 30}
    said = comparisons.verdict("EcoVal", "removing points", lead)
    assert "worse than better; not significantly different from alike" in said
    assert "better than worse (paired t tests over 8 draws" in said
    few = {name: each[:1] for name, each in lead.items()}
    assert "1 draw is too few" in comparisons.verdict("EcoVal", "adding", few)
