"""Every way in which a person's table can be unusable, and the line that says so."""

import numpy as np
import pytest

from jaxval.datasets import DataError, read_table

HEADER = "a,b,word,who,y"
ROWS = [f"{i * 1.5},{-i},{'uvw'[i % 3]},{'kl'[i % 2]},{i % 2}" for i in range(20)]


def edited(line, old, new):
    """The rows with one cell changed in the given line of the file."""
    rows = list(ROWS)
    assert old in rows[line - 2]
    rows[line - 2] = rows[line - 2].replace(old, new, 1)
    return rows


@pytest.fixture
def refuse(key, tmp_path):
    def check(match, rows=ROWS, header=HEADER, target="y", owner="who", **options):
        path = tmp_path / "t.csv"
        path.write_text("\n".join([header, *rows]) + "\n")
        if isinstance(options.get("valid"), list):
            other = tmp_path / "v.csv"
            other.write_text("\n".join([header, *options["valid"]]) + "\n")
            options["valid"] = other
        with pytest.raises(DataError, match=match) as caught:
            read_table(key, path, target, owner=owner, **options)
        message = str(caught.value)
        assert "\n" not in message
        assert message.endswith((".", ")"))

    return check


def test_the_unedited_table_is_fine(key, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("\n".join([HEADER, *ROWS]))
    assert read_table(key, path, "y", owner="who").warnings == ()


def test_missing_files(key, tmp_path, refuse):
    with pytest.raises(DataError, match=r"there is no file .*gone\.csv"):
        read_table(key, tmp_path / "gone.csv", "y")
    refuse(r"there is no file .*gone\.csv", valid=str(tmp_path / "gone.csv"))


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


def test_cells_that_are_no_numbers(refuse):
    bad = edited(7, "7.5", "seven")
    refuse("line 7, column 'a' is 'seven', but 9.% of the column are numbers", bad)
    refuse("line 7, column 'a' is 'seven', not a number", bad, numeric=["a"])
    refuse("line 2, column 'word' is 'u', not a number", numeric=["word"])
    refuse(r"\(15 more such cells\.\)", numeric=["word"])
    refuse(
        "line 2, column 'word' is 'u', not a number", target="word", task="regression"
    )


@pytest.mark.parametrize("cell", ["nan", "inf", "-inf", "NaN"])
def test_cells_that_are_not_finite(refuse, cell):
    refuse(f"line 7, column 'a' is .*{cell}", edited(7, "7.5", cell))
    refuse("line 7, column 'b' is", edited(7, "-5", cell), target="b")


def test_empty_cells(refuse):
    refuse("line 7, column 'a' is empty. Fill it in", edited(7, "7.5", ""))
    refuse("line 7, column 'who' .the owner. is missing", edited(7, ",l,", ",,"))
    refuse(
        "line 3, column 'y' .* is missing|line 3, column 'y' is empty",
        edited(3, "l,1", "l,"),
    )
    refuse("line 2, column 'word' .*is missing", edited(2, "u", ""), target="word")


def test_bad_cells_of_the_validation_file(refuse):
    refuse(
        r"v\.csv, line 3, column 'a' is 'x', not a number",
        valid=[ROWS[0], "x,1,u,k,0", ROWS[1]],
    )


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


def test_classes_of_one_side(refuse):
    refuse(
        r"v\.csv: no training row has the class\(es\) 7 of column 'y'",
        valid=["1,2,u,k,7", *ROWS],
    )


def test_constant_targets(refuse):
    for value, task in (("1", None), ("0.25", None), ("2", "regression")):
        rows = [row[:-1] + value for row in ROWS]
        refuse("target 'y' is constant in the training rows", rows, task=task)


def test_too_few_rows_and_columns(refuse):
    refuse("has 3 rows; at least 4 are needed", ROWS[:3])
    refuse("no column left to predict 'y' from", drop=["a", "b", "word"])
    refuse(
        "has 150 different values in",
        [f"1,{i},n{i},{'kl'[i % 2]},{i % 2}" for i in range(150)],
        valid=ROWS,
    )


def test_columns_of_names_and_of_decimal_commas(refuse):
    header = "a;b;word;who;y"
    rows = [row.replace(",", ";").replace(".", ",") for row in ROWS]
    message = "column 'a' has 16 different values in 16 rows, such as '0,0': names"
    refuse(message, rows, header=header)


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


def test_options_that_contradict(refuse):
    refuse("both numeric and categorical", numeric=["a"], categorical=["a"])
    refuse(
        "task must be 'classification' or 'regression'; got 'clustering'",
        task="clustering",
    )


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


def test_a_class_that_only_a_later_file_has(key, tmp_path):
    rows = [f"{i},{'ab'[i % 2]}" for i in range(20)]
    path, later = tmp_path / "mine.csv", tmp_path / "later.csv"
    path.write_text("\n".join(["x,kind", *rows]) + "\n")
    later.write_text("x,kind\n1,unclear\n")
    table = read_table(key, path, "kind")
    with pytest.raises(DataError, match=r"unclear.*Leave those rows out of that table"):
        table.encode(later)
