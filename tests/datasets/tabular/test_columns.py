import jax
import pytest
from datasets.tabular.tables import NUM, PEOPLE, ROWS, edited, write

from jaxval.datasets import read_table
from jaxval.datasets.tabular import cells


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


def test_columns_of_names_and_of_decimal_commas(refuse):
    header = "a;b;word;who;y"
    rows = [row.replace(",", ";").replace(".", ",") for row in ROWS]
    message = "column 'a' has 16 different values in 16 rows, such as '0,0': names"
    refuse(message, rows, header=header)


@pytest.mark.parametrize("cell", ["1e101", "-1e308"])
def test_numbers_whose_squares_overflow(refuse, cell):
    refuse(r"column 'a' is -?1e.?[0-9]+, too large", edited(3, "1.5", cell))


def test_validation_cells_far_from_the_training_rows(refuse):
    far = ["1e20,-1,u,k,0", *ROWS[1:6]]
    refuse("line 2, column 'a' is 1e\\+?20, too far from the training", valid=far)


def test_a_cell_is_parsed_once(monkeypatch, people):
    """Reading, checking, splitting and encoding look at the same numbers."""
    parsed = []
    number = cells.to_number
    monkeypatch.setattr(cells, "to_number", lambda c: parsed.append(c) or number(c))
    table = read_table(jax.random.key(0), people, "ill", owner="clinic")
    assert len(table.dataset.x) == 48
    # Columns of words alone are parsed cell by cell, each cell once.
    assert len(parsed) == 3 * NUM
