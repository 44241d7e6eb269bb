import csv

import jax
import numpy as np
import pytest

from jaxval import datasets
from jaxval.datasets import read_table

RNG = np.random.default_rng(0)
NUM = 60
PEOPLE = {
    "age": [str(a) for a in RNG.integers(20, 60, NUM)],
    "height": [f"{h:.3f}" for h in RNG.normal(1.7, 0.1, NUM)],
    "town": [["Ulm", "Bonn", "", "Kiel"][i % 4] for i in range(NUM)],
    "clinic": [f"clinic {i % 3}" for i in range(NUM)],
    "ill": [["no", "yes"][i % 5 == 0] for i in range(NUM)],
    "cost": [f"{100 + 3.5 * i}" for i in range(NUM)],
}


def write(path, columns, delimiter=","):
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


@pytest.fixture
def people(tmp_path):
    return write(tmp_path / "people.csv", PEOPLE)


def test_classification_round_trip(key, people):
    table = read_table(key, people, "ill", owner="clinic", valid=0.25, drop=["cost"])
    assert table.task == datasets.CLASSIFICATION
    assert table.class_names == ("no", "yes")
    assert table.owner_names == ("clinic 0", "clinic 1", "clinic 2")
    assert table.feature_names == (
        "age",
        "height",
        "town=Bonn",
        "town=Kiel",
        "town=Ulm",
        "town=missing",
    )
    assert table.dataset.x.shape == (45, 6)
    assert table.valid.x.shape == (15, 6)
    assert table.dataset.x.dtype == np.float32
    assert table.dataset.y.dtype == np.int32
    assert table.target_range == (0.0, 1.0)
    assert table.warnings == ()
    np.testing.assert_array_equal(table.dataset.x[:, 2:].sum(1), 1)
    np.testing.assert_allclose(table.dataset.x[:, :2].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(table.dataset.x[:, :2].std(0), 1, rtol=1e-5)


def test_rows_keep_their_targets_and_owners(key, tmp_path):
    """A column that counts the rows tells which row is where."""
    columns = {**PEOPLE, "number": [str(3 * i) for i in range(NUM)]}
    path = write(tmp_path / "t.csv", columns)
    table = read_table(key, path, "ill", owner="clinic", drop=["cost"])
    place = table.feature_names.index("number")
    number = np.concatenate([table.dataset.x[:, place], table.valid.x[:, place]])
    row = np.argsort(np.argsort(number))
    ill, clinic, height = (np.array(PEOPLE[c]) for c in ("ill", "clinic", "height"))
    names = np.array(table.class_names)
    y = np.concatenate([table.dataset.y, table.valid.y])
    np.testing.assert_array_equal(names[y], ill[row])
    train = row[: len(table.dataset.y)]
    owners = np.array(table.owner_names)[table.dataset.owner]
    np.testing.assert_array_equal(owners, clinic[train])
    raw = height[row].astype(float)
    mean, std = raw[: len(train)].mean(), raw[: len(train)].std()
    scaled = np.concatenate([table.dataset.x[:, 1], table.valid.x[:, 1]])
    np.testing.assert_allclose(scaled, (raw - mean) / std, atol=1e-5)


def test_validation_is_spread_over_classes_and_owners(key, people):
    table = read_table(key, people, "ill", owner="clinic", valid=0.5)
    assert np.bincount(table.valid.y).tolist() == [24, 6]
    assert table.dataset.sizes.tolist() == [10, 10, 10]
    other = read_table(jax.random.key(1), people, "ill", owner="clinic", valid=0.5)
    assert not np.array_equal(table.valid.x, other.valid.x)


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


def test_without_an_owner_every_row_is_a_player(key, people):
    table = read_table(key, people, "ill")
    assert table.dataset.num_owners == 48 == len(table.owner_names)
    assert table.owner_names[0].startswith("line ")
    assert "clinic=clinic 2" in table.feature_names


def test_a_file_to_validate_with(key, tmp_path, people):
    later = {name: cells[:7] for name, cells in PEOPLE.items() if name != "clinic"}
    later["town"] = ["Rome"] * 2 + later["town"][2:]
    path = write(tmp_path / "later.csv", later, delimiter=";")
    table = read_table(key, people, "ill", owner="clinic", valid=path)
    assert len(table.dataset.y) == NUM
    assert table.valid.x.shape == (7, len(table.feature_names))
    start = table.feature_names.index("town=Bonn")
    np.testing.assert_array_equal(table.valid.x[:2, start : start + 4], 0)
    assert table.warnings == (
        "2 validation cell(s) of column 'town' hold values that no training row has; "
        "they count as none of the levels.",
    )
    x, y = table.encode(path)
    np.testing.assert_array_equal(x, table.valid.x)
    np.testing.assert_array_equal(y, table.valid.y)


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


@pytest.mark.parametrize(
    ("target", "task"),
    [
        ([str(i % 3) for i in range(40)], "classification"),
        ([str(i % 3 + 0.5) for i in range(40)], "regression"),
        ([str(i) for i in range(40)], "regression"),
        ([str(i % 19) for i in range(40)], "regression"),
        (["ab"[i % 2] for i in range(40)], "classification"),
    ],
)
def test_the_task_is_seen_from_the_target(key, tmp_path, target, task):
    path = write(tmp_path / "t.csv", {"x": PEOPLE["height"][:40], "y": target})
    assert read_table(key, path, "y").task == task


def test_the_task_can_be_said(key, tmp_path):
    columns = {"x": PEOPLE["height"], "y": [str(10 * (i % 3)) for i in range(NUM)]}
    path = write(tmp_path / "t.csv", columns)
    assert read_table(key, path, "y").class_names == ("0", "10", "20")
    table = read_table(key, path, "y", task=datasets.REGRESSION)
    assert table.target_range == (0.0, 20.0)


def test_declared_columns(key, people):
    table = read_table(key, people, "ill", owner="clinic", categorical=["age"])
    assert table.feature_names[0].startswith("age=")
    same = read_table(key, people, "ill", owner="clinic", numeric=["age"])
    assert same.feature_names[0] == "age"


def test_numbers_in_names_are_ordered_as_numbers(key, tmp_path):
    columns = {
        "x": PEOPLE["height"],
        "y": [str(i % 2) for i in range(NUM)],
        "who": [str([2, 10, 1][i % 3]) for i in range(NUM)],
    }
    table = read_table(key, write(tmp_path / "t.csv", columns), "y", owner="who")
    assert table.owner_names == ("1", "2", "10")


def test_quotes_blank_lines_and_byte_order_mark(key, tmp_path):
    rows = [f'"{i}.5","a, ""b"" {i % 2}", {"uv"[i % 2]}' for i in range(12)]
    path = tmp_path / "t.csv"
    path.write_text("x, w,y\n" + "\n\n".join(rows) + "\n\n", "utf-8-sig")
    table = read_table(key, path, "y")
    assert table.feature_names == ("x", 'w=a, "b" 0', 'w=a, "b" 1')
    assert table.class_names == ("u", "v")
    assert table.owner_names[0] in ("line 2", "line 4", "line 6")


def test_parquet_is_the_csv(key, tmp_path, people):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pd.read_csv(people)
    frame.to_parquet(tmp_path / "people.parquet")
    one = read_table(key, people, "ill", owner="clinic")
    two = read_table(key, tmp_path / "people.parquet", "ill", owner="clinic")
    assert one.feature_names == two.feature_names
    for a, b in zip(one.dataset, two.dataset, strict=True):
        np.testing.assert_array_equal(a, b)


def test_parquet_without_pandas(key, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(datasets.DataError, match="needs pandas and pyarrow .*as CSV"):
        read_table(key, path, "y")


def test_npz_with_owners(key, tmp_path):
    path = tmp_path / "t.npz"
    x = RNG.normal(size=(30, 4))
    who = np.array(["b", "a", "c"])[np.arange(30) % 3]
    np.savez(path, x=x, y=np.arange(30) % 2, owner=who)
    table = read_table(key, path)
    assert table.owner_names == ("a", "b", "c")
    assert table.class_names == ("0", "1")
    assert table.feature_names == ("x0", "x1", "x2", "x3")
    np.testing.assert_allclose(table.dataset.x.std(0), 1, rtol=1e-5)


def test_npz_with_its_own_validation_rows(key, tmp_path):
    path = tmp_path / "t.npz"
    x = RNG.integers(0, 256, (20, 6, 6), np.uint8)
    np.savez(
        path,
        x_train=x,
        y_train=np.arange(20) % 2,
        owner=np.arange(20) // 5,
        x_test=x[:4],
        y_test=np.arange(4) % 2,
    )
    table = read_table(key, path)
    assert table.dataset.x.shape == (20, 6, 6, 1)
    np.testing.assert_allclose(table.valid.x[..., 0] * 255, x[:4], rtol=1e-6)
    assert table.dataset.sizes.tolist() == [5, 5, 5, 5]
    assert table.feature_names == ()
    # A fraction goes before the archive's own rows.
    assert read_table(key, path, valid=0.4).valid.x.shape == (8, 6, 6, 1)
    assert len(table.encode(path)[1]) == 20
