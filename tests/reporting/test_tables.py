import csv
import io

import numpy as np
import pytest

from jaxval.reporting import Column, Table, bar_chart, to_csv, to_text
from jaxval.reporting.console import one_line_warnings, progress


def table():
    return Table(
        "Worth",
        (
            Column("contributor", ["a, b", "[red]"]),
            Column("size", np.array([3, 12])),
            Column("shapley", np.array([0.1, -1 / 3]), np.array([0.01, np.nan])),
            Column("hidden", [True, False], shown=False),
        ),
        "caption",
    )


def test_csv_keeps_every_digit_and_reads_back():
    rows = list(csv.DictReader(io.StringIO(to_csv(table()))))
    assert rows[0]["contributor"] == "a, b"
    assert float(rows[1]["shapley"]) == -1 / 3
    assert rows[1]["shapley_stderr"] == ""
    assert [row["hidden"] for row in rows] == ["yes", "no"]


def test_text_is_aligned_and_takes_no_markup():
    text = to_text(table())
    assert "[red]" in text
    assert "0.10 ±0.01" in text
    assert "hidden" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_unequal_columns_are_refused():
    with pytest.raises(ValueError, match="equally long"):
        Table("", (Column("a", [1]), Column("b", [1, 2])))


@pytest.mark.parametrize("values", [[1.0, -2.0], [0.0, 0.0], [np.nan, 1.0], [-1e-9]])
@pytest.mark.parametrize("width", [30, 80])
def test_bars_fit(values, width):
    labels = [f"a rather long name of contributor {i}" for i in range(len(values))]
    chart = bar_chart(labels, values, np.full(len(values), 0.1), width=width)
    lines = chart.splitlines()
    assert len(lines) == len(values)
    if width == 80:
        assert max(map(len, lines)) <= width


def test_longer_bars_are_longer():
    chart = bar_chart(["a", "b", "c"], [1.0, 2.0, 4.0])
    lengths = [line.count("█") for line in chart.splitlines()]
    assert lengths == sorted(lengths)
    assert lengths[2] > 1.8 * lengths[1]


def test_warnings_become_lines():
    import warnings

    lines = []
    with one_line_warnings(lines.append) as said:
        warnings.warn("a\nb", stacklevel=1)
        warnings.warn("a b", stacklevel=1)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert said == ["a b"]
    assert lines == ["warning: a b"]


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_shows_long_work_only(terminal, monkeypatch):
    import rich.console

    from jaxval.reporting import console

    monkeypatch.setattr(console, "_PATIENCE", 0.0)
    monkeypatch.setattr(console, "_INTERVAL", 0.0)
    file = io.StringIO()
    where = rich.console.Console(file=file, force_terminal=terminal, width=80)
    with progress("adding", where) as update:
        update(1, 4, "so far")
    assert "adding" in file.getvalue()
    assert "so far" in file.getvalue()


def test_short_work_shows_nothing(capsys):
    with progress("adding") as update:
        update(1, 1)
    assert capsys.readouterr().err == ""
