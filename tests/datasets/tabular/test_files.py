import numpy as np
import pytest
from datasets.tabular.tables import RNG, ROWS, edited

from jaxval import datasets
from jaxval.datasets import DataError, read_table


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


def test_missing_files(key, tmp_path, refuse):
    with pytest.raises(DataError, match=r"there is no file .*gone\.csv"):
        read_table(key, tmp_path / "gone.csv", "y")
    refuse(r"there is no file .*gone\.csv", valid=str(tmp_path / "gone.csv"))


def test_files_that_are_no_tables(key, tmp_path, refuse):
    refuse("line 7 has 4 cells; the header has 5", edited(7, "7.5,", ""))
    refuse("names 'a' twice", header="a,a,word,who,y")
    refuse("column 2 of the header has no name", header="a,,word,who,y")
    refuse("numbers for a header", header="1,2,3,4,5")
    refuse("line 2 has only empty cells", [",,,,", *ROWS])
    refuse("has a header but no rows", [])
    path = tmp_path / "x.csv"
    for content, match in {
        b"": "is empty",
        b"a,y\n1,\xff\xfe\n": "not text in UTF-8",
        b'a,y\n1,"2\n': "not a CSV file",
    }.items():
        path.write_bytes(content)
        with pytest.raises(DataError, match=match):
            read_table(key, path, "y")


def test_archives(key, tmp_path):
    path = tmp_path / "t.npz"
    x, y = np.ones((8, 3, 3)), np.arange(8) % 2
    for arrays, match in [
        ({"a": x}, "must hold x and y, or x_train and y_train.*; it holds a"),
        ({"x": x, "y": y[:5]}, "one entry per row each"),
        ({"x": np.array(["a"] * 8), "y": y}, "x must be numbers"),
        ({"x": x, "y": np.eye(8)}, "y must be one number or word per row"),
        (
            {"x": np.where(x > 0, np.nan, x), "y": y},
            "row [1-8] has an input that is not",
        ),
        ({"x": x[:0], "y": y[:0]}, "has no rows"),
        ({"x": x, "y": np.where(y, np.nan, 1)}, "column 'y' is"),
        ({"x_train": x, "y_train": y, "x_test": x[:, 1:], "y_test": y}, "inputs have"),
    ]:
        np.savez(path, **arrays)
        with pytest.raises(DataError, match=match):
            read_table(key, path)
