import dataclasses

import numpy as np
import pytest

from jaxval.experiments import ecoval, ecoval_data
from jaxval.reporting.plots import save_picture

TINY = ecoval.Config(
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
    return ecoval.run(TINY)


@pytest.mark.slow
def test_tables_name_every_rival(result):
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
    light = list(cost["method"]).index("ecoval, no alpha")
    assert cost["made"][light] == 0


@pytest.mark.slow
def test_curves_start_from_everybody(result):
    full = result.arrays["removal_ecoval"][:, 0]
    np.testing.assert_allclose(full, result.arrays["removal_random"][:, 0])
    np.testing.assert_allclose(full, result.arrays["addition_ecoval"][:, -1])


@pytest.mark.slow
def test_the_picture(result, tmp_path):
    pytest.importorskip("matplotlib")
    save_picture(tmp_path / "picture.png", result.draw)
    assert (tmp_path / "picture.png").stat().st_size > 10_000


def test_parts_of_a_draw_are_disjoint(key):
    known = ecoval_data.material("digits", None, "pca", 8, 1, 0)
    draw = ecoval_data.deal(key, known)
    sizes = [len(part.x) for part in draw]
    assert sizes == [200, 400, 250, 250, 400]
    rows = np.concatenate([part.x for part in draw])
    # Some digits are equal pixel by pixel; far fewer than a part holds.
    assert len(np.unique(rows.round(9), axis=0)) > len(rows) - 5


def test_bad_options():
    with pytest.raises(ValueError, match="--per-cluster"):
        dataclasses.replace(TINY, per_cluster=0)
    with pytest.raises(ValueError, match="data folder"):
        ecoval.run(dataclasses.replace(TINY, data="mnist", data_dir=None))
