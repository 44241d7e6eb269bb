import numpy as np
import pytest
from datasets.tabular.tables import NUM, PEOPLE, ROWS, write

from jaxval import datasets
from jaxval.datasets import DataError, read_table


def test_regression_is_scaled_by_the_training_rows(key, people):
    table = read_table(key, people, "cost", owner="clinic")
    assert table.task == datasets.REGRESSION
    assert table.class_names == ()
    low, high = table.target_range
    assert (table.dataset.y.min(), table.dataset.y.max()) == (0, 1)
    everything = np.concatenate([table.dataset.y, table.valid.y]) * (high - low) + low
    np.testing.assert_allclose(
        np.sort(everything), np.array(PEOPLE["cost"], float), rtol=1e-5
    )


def test_warnings(key, tmp_path, people):
    columns = {**PEOPLE, "same": ["1"] * NUM, "word": ["a"] * NUM}
    path = write(tmp_path / "more.csv", columns)
    healthy = {
        name: [
            cell for cell, ill in zip(cells, PEOPLE["ill"], strict=True) if ill == "no"
        ]
        for name, cells in columns.items()
    }
    valid = write(tmp_path / "valid.csv", healthy)
    table = read_table(key, path, "ill", owner="clinic", valid=valid)
    assert table.warnings == (
        "column 'same' is constant in the training rows and was left out.",
        "column 'word' is constant in the training rows and was left out.",
        "no validation row is of class yes.",
    )


def test_a_class_that_only_a_later_file_has(key, tmp_path):
    rows = [f"{i},{'ab'[i % 2]}" for i in range(20)]
    path, later = tmp_path / "mine.csv", tmp_path / "later.csv"
    path.write_text("\n".join(["x,kind", *rows]) + "\n")
    later.write_text("x,kind\n1,unclear\n")
    table = read_table(key, path, "kind")
    with pytest.raises(DataError, match=r"unclear.*Leave those rows out of that table"):
        table.encode(later)


def test_classes_of_one_side(refuse):
    refuse(
        r"v\.csv: no training row has the class\(es\) 7 of column 'y'",
        valid=["1,2,u,k,7", *ROWS],
    )


def test_constant_targets(refuse):
    for value, task in (("1", None), ("0.25", None), ("2", "regression")):
        rows = [row[:-1] + value for row in ROWS]
        refuse("target 'y' is constant in the training rows", rows, task=task)


def test_options_that_contradict(refuse):
    refuse("both numeric and categorical", numeric=["a"], categorical=["a"])
    refuse(
        "task must be 'classification' or 'regression'; got 'clustering'",
        task="clustering",
    )
