"""The command line with experiments made up for the purpose."""

import errno
import importlib
import json
import sys
import textwrap

import pytest

import jaxval.experiments
from jaxval.experiments import __main__ as runner

SQUARES = '''
"""Squares of the first numbers.

More about it.
"""
import dataclasses, errno, warnings
import numpy as np
from jaxval.runner.contract import SILENT, Context, Result
from jaxval.reporting.tables import Column, Table

@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Squares."""

    numbers: int = 3
    """How many."""
    fail: str = ""
    seed: int = 0

def run(config: Config, context: Context = SILENT) -> Result:
    if config.fail == "value":
        raise ValueError("numbers must be even;\\n  got 3.")
    if config.fail == "file":
        open("no/such/file")
    if config.fail == "interrupt":
        raise KeyboardInterrupt
    if config.fail == "late":
        context.scratch.mkdir(parents=True)
        (context.scratch / "part.npz").write_text("finished")
        raise KeyboardInterrupt
    if config.fail == "full":
        raise OSError(errno.ENOSPC, "No space left on device")
    if config.fail == "memory":
        raise MemoryError("too much")
    if config.fail == "bug":
        raise AttributeError("a bug")
    warnings.warn("odd\\n numbers")
    warnings.warn("odd numbers")
    with context.progress("squaring") as update:
        update(1, 1)
    squares = np.arange(config.numbers) ** 2.0
    table = Table("Squares", (Column("square", squares, squares / 10),))
    return Result(
        tables={"values": table}, metrics={"sum": squares.sum(), "nan": np.nan},
        sentences=("Squares [grow].",), arrays={"squares": squares},
        draw=lambda figure: figure.subplots().plot(squares),
    )
'''


@pytest.fixture
def squares(tmp_path, monkeypatch):
    folder = tmp_path / "made_up"
    folder.mkdir()
    (folder / "my_squares.py").write_text(textwrap.dedent(SQUARES))
    path = [*jaxval.experiments.__path__, str(folder)]
    monkeypatch.setattr(jaxval.experiments, "__path__", path)
    names = ("my_squares", "not_there")
    entries = {name: f"jaxval.experiments.{name}" for name in names}
    monkeypatch.setattr(runner, "EXPERIMENTS", entries)
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("jaxval.experiments.my_squares", None)


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def only_folder(root):
    (folder,) = (root / "my-squares").iterdir()
    return folder


def test_lists_what_there_is(squares, capsys):
    assert runner.main([]) == 0
    out = capsys.readouterr().out
    assert "my-squares" in out
    assert "Squares of the first numbers." in out
    assert "not-there" not in out


def test_saves_everything_and_says_where(squares, capsys):
    pytest.importorskip("matplotlib")
    assert runner.main(["my-squares"]) == 0
    folder = only_folder(squares / "results")
    assert files(folder) == [
        "arrays.npz",
        "config.json",
        "metrics.json",
        "picture.png",
        "report.html",
        "values.csv",
    ]
    captured = capsys.readouterr()
    assert str(folder.relative_to(squares)) in captured.out
    assert "Squares [grow]." in captured.out
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["metrics"] == {"sum": 5.0, "nan": None}
    assert metrics["warnings"] == ["odd numbers"]
    assert {"python", "jax", "jaxlib", "flax", "numpy", "jaxval"} == set(
        metrics["versions"]
    )
    assert {"device", "wall_seconds", "compile_seconds", "peak_memory"} < set(metrics)
    assert captured.err.splitlines() == ["warning: odd numbers"]
    text = (folder / "values.csv").read_text().splitlines()
    assert text == ["square,square_stderr", "0.0,0.0", "1.0,0.1", "4.0,0.4"]


def test_hash_is_of_the_configuration_alone(squares):
    for options in ([], ["--out", "results"], ["--seed", "1"], ["--seed", "0"]):
        assert runner.main(["my_squares", *options]) == 0
    assert len(list((squares / "results" / "my-squares").iterdir())) == 2


def test_a_rerun_replaces_and_a_failed_one_does_not(squares):
    assert runner.main(["my_squares", "--out", "here"]) == 0
    folder = only_folder(squares / "here")
    (folder / "stale.txt").write_text("left over")
    assert runner.main(["my_squares", "--out", "here"]) == 0
    assert "stale.txt" not in files(folder)
    before = files(squares / "here")
    assert runner.main(["my_squares", "--out", "here", "--fail", "value"]) == 2
    assert files(squares / "here") == before


@pytest.mark.parametrize(
    ("fail", "status", "message"),
    [
        ("value", 2, "error: numbers must be even; got 3."),
        ("file", 2, "error: No such file or directory: no/such/file"),
        ("memory", 2, "error: out of memory; take fewer rows, a smaller --width or"),
        ("interrupt", 130, "interrupted; nothing was saved"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(squares, capsys, fail, status, message):
    assert runner.main(["my_squares", "--fail", fail]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert captured.err.startswith(message)
    assert not (squares / "results").exists()


def test_an_interruption_says_what_was_saved(squares, capsys):
    assert runner.main(["my_squares", "--fail", "late"]) == 130
    said = capsys.readouterr().err
    assert said.startswith(
        "interrupted; finished parts are saved in results/my-squares/"
    )
    assert said.endswith(".partial/, and rerunning the command resumes it\n")
    # The list of commands names what was left behind.
    assert runner.main([]) == 0
    assert ".partial/ (1 files, 0.0 MiB)" in capsys.readouterr().out


def test_a_full_disk_names_the_folder(squares, capsys, monkeypatch):
    assert runner.main(["my_squares", "--fail", "full"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: No space left on device: results/my-squares/")

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("jaxval.runner.results.save", full)
    assert runner.main(["my_squares"]) == 2
    assert "No space left on device: results/my-squares/" in capsys.readouterr().err


def test_traceback_on_request(squares, capsys, monkeypatch):
    assert runner.main(["my_squares", "--fail", "value", "--traceback"]) == 2
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("JAXVAL_TRACEBACK", "1")
    assert runner.main(["my_squares", "--fail", "value"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_bug_is_not_dressed_up(squares):
    with pytest.raises(AttributeError, match="a bug"):
        runner.main(["my_squares", "--fail", "bug"])


def test_bad_options(squares, capsys):
    assert runner.main(["my_squares", "--numbers", "three"]) == 2
    assert runner.main(["my_squares", "--no-such-option"]) == 2
    assert runner.main(["my-sqares"]) == 2
    assert "did you mean my-squares?" in capsys.readouterr().err
    assert not (squares / "results").exists()


def test_help(squares, capsys):
    assert runner.main(["my_squares", "--help"]) == 0
    out = capsys.readouterr().out
    assert "--numbers INT" in out
    assert "--out PATH" in out


def test_an_output_folder_that_cannot_be(squares, capsys):
    (squares / "taken").write_text("a file")
    assert runner.main(["my_squares", "--out", "taken"]) == 2
    assert capsys.readouterr().err == "error: --out: taken is a file; give a folder.\n"


def test_without_matplotlib_a_note_takes_the_pictures_place(
    squares, capsys, monkeypatch
):
    from jaxval.runner import results

    monkeypatch.setattr(results, "can_draw", lambda: False)
    assert runner.main(["my_squares"]) == 0
    assert "pip install 'jaxval[plot]'" in capsys.readouterr().err
    assert "picture.png" not in files(squares)


def test_example_data(tmp_path, capsys):
    assert runner.main(["example-data", str(tmp_path / "new")]) == 0
    assert files(tmp_path / "new") == ["breast_cancer.csv", "diabetes.csv"]
    lines = (tmp_path / "new" / "breast_cancer.csv").read_text().splitlines()
    assert len(lines) == 570
    assert lines[0].endswith("diagnosis,hospital")
