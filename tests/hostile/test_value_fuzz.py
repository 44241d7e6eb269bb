"""`value` on generated CSV bytes: exit 0 or 2, one line, nothing half-written."""

import contextlib
import io
import pathlib
import tempfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxval.experiments import __main__ as runner

NUMBERS = st.sampled_from(
    [
        "0",
        "1",
        "-2",
        "3.5",
        "1e3",
        "1e308",
        "-1e308",
        "1e-320",
        "1_0",
        "٣",
        "0x1",
        "1e999",
    ]
)
GAPS = st.sampled_from(["", " ", "nan", "NA", "null", "inf", "-inf", "?"])
WORDS = st.sampled_from(["a", "b", "owner", "None", "=1+1", "<b>", "[red]x[/red]", "é"])
TEXTS = st.text(st.characters(codec="utf-8"), max_size=4)
CELLS = st.one_of(NUMBERS, NUMBERS, NUMBERS, WORDS, GAPS, TEXTS)
CLEAN = [
    st.sampled_from(["0", "1"]),
    st.sampled_from(["a", "b", "c"]),
    st.floats(-9, 9).map("{:.3f}".format),
    st.sampled_from(["1e308", "-1e308", "1e200", "5e-324"]),
]


@st.composite
def tables(draw):
    """Bytes that are nearly a table: one thing or another is wrong with most."""
    columns = draw(st.integers(2, 5))
    names = ["y", "who", "a", "b", "c"][:columns]
    kinds = [draw(st.sampled_from([*CLEAN, CELLS])) for _ in names]
    rows = draw(st.integers(0, 24))
    cell = lambda kind: draw(CELLS if draw(st.integers(0, 60)) == 0 else kind)
    lines = [[cell(kind) for kind in kinds] for _ in range(rows)]
    if lines and draw(st.integers(0, 9)) == 0:
        lines[-1] = lines[-1][:-1]
    if draw(st.integers(0, 9)) == 0:
        names = draw(st.lists(CELLS, min_size=1, max_size=5))
    delimiter = draw(st.sampled_from([",", ",", ";", "\t"]))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    text = end.join(delimiter.join(line) for line in [names, *lines]) + end
    content = text.encode("utf-8")
    if draw(st.integers(0, 9)) == 0:
        place = draw(st.integers(0, len(content)))
        junk = draw(st.sampled_from([b"\x00", b"\xff\xfe", b'"', b"\r", b"\n\n", b","]))
        content = content[:place] + junk + content[place:]
    return content


OPTIONS = st.tuples(
    st.sampled_from(["size", "knn", "discrepancy"]),
    st.sampled_from(["shapley", "banzhaf", "leave-one-out"]),
    st.sampled_from([[], ["--owner", "who"], ["--owner", "who"], ["--owner", "y"]]),
    st.sampled_from([[], [], ["--valid", "0.5"], ["--valid", "0"], ["--valid", "nan"]]),
    st.sampled_from([[], [], ["--task", "regression"], ["--task", "classification"]]),
    st.sampled_from([[], [], ["--drop", "a"], ["--categorical", "a"]]),
)


def check(content, options):
    game, semivalue, *more = options
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        path, out = folder / "t.csv", folder / "out"
        path.write_bytes(content)
        words = ["value", str(path), "--target", "y", "--out", str(out)]
        words += ["--game", game, "--semivalue", semivalue, "--budget", "64"]
        words += [word for group in more for word in group]
        said, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
            status = runner.main(words)
        lines = errors.getvalue().splitlines()
        failures = [line for line in lines if line.startswith("error: ")]
        assert status in (0, 2), (status, lines)
        assert "Traceback" not in errors.getvalue()
        if status == 2:
            assert len(failures) == 1, lines
            assert lines[-1] == failures[0], lines
            assert said.getvalue() == ""
            assert not out.exists()
            return
        assert not failures
        (result,) = (out / "value").iterdir()
        names = {file.name for file in result.iterdir()}
        assert {"values.csv", "metrics.json", "config.json"} <= names
        assert ",nan," not in (result / "values.csv").read_text().split("\n", 1)[0]


QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]


@settings(
    max_examples=100, deadline=None, suppress_health_check=QUIET, derandomize=True,
    database=None,
)  # fmt: skip
@given(tables(), OPTIONS)
def test_any_bytes_are_a_table_or_one_line_of_error(content, options):
    check(content, options)


@pytest.mark.slow
@settings(max_examples=1000, deadline=None, suppress_health_check=QUIET, database=None)
@given(tables(), OPTIONS)
def test_many_bytes_are_a_table_or_one_line_of_error(content, options):
    check(content, options)
