import jax
import numpy as np
import pytest
from datasets.tabular.tables import HEADER, NUM, PEOPLE, ROWS, write

from jaxval import datasets
from jaxval.datasets import DataError, read_table


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


def test_the_unedited_table_is_fine(key, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("\n".join([HEADER, *ROWS]))
    assert read_table(key, path, "y", owner="who").warnings == ()


def test_missing_columns(refuse):
    refuse(
        "has no column 'z' .the target.; its columns are a, b, word, who, y", target="z"
    )
    refuse("has no column 'z' .the owner.", owner="z")
    refuse(
        r"has no column 'Word' \(the owner\) \(did you mean 'word'\?\)", owner="Word"
    )
    refuse("has no column 'z' .named in the options.", drop=["z"])
    refuse("has no column 'z' .named in the options.", numeric=["z"])
    refuse("which column of .* is the target", target=None)
    refuse("can't be both target and owner", owner="y")


def test_a_validation_file_without_a_column(key, tmp_path):
    path, other = tmp_path / "t.csv", tmp_path / "v.csv"
    path.write_text("\n".join([HEADER, *ROWS]))
    other.write_text("a,b,y\n1,2,0\n3,4,1\n")
    with pytest.raises(DataError, match="v.csv has no column 'word' .a feature of"):
        read_table(key, path, "y", owner="who", valid=other)
    other.write_text("a,b,word\n1,2,u\n3,4,u\n")
    with pytest.raises(DataError, match="v.csv has no column 'y' .the target"):
        read_table(key, path, "y", owner="who", valid=other)


def test_owners(refuse):
    alone = [row.replace(",l,", ",k,") for row in ROWS]
    refuse("names one owner only, 'k'; at least 2", alone)
    rows = [*ROWS, "1,2,u,lonely,0"]
    refuse("has no training rows left: all were drawn for validation", rows, valid=0.95)


def test_validation_rows(refuse):
    refuse("leaves no validation rows", valid=0.001)
    refuse("leaves [01] training rows", task="regression", owner=None, valid=0.999)
    for fraction in (0.0, 1.0, "1.5", -0.1, float("nan")):
        refuse("must be between 0 and 1; got", valid=fraction)
    refuse("has a header but no rows", valid=[])


def test_too_few_rows_and_columns(refuse):
    refuse("has 3 rows; at least 4 are needed", ROWS[:3])
    refuse("no column left to predict 'y' from", drop=["a", "b", "word"])
    refuse(
        "has 150 different values in",
        [f"1,{i},n{i},{'kl'[i % 2]},{i % 2}" for i in range(150)],
        valid=ROWS,
    )
