import re

import pytest
from valuation.pets import SMALL, rows_of, run, write

GOOD = rows_of(24)


BAD_INPUT = {
    "missing file": (None, [], r"there is no file .*pets\.csv"),
    "missing column": (GOOD, ["--target", "breed"], r"has no column 'breed'"),
    "missing owner": (GOOD, ["--owner", "boss"], r"has no column 'boss'"),
    "non-numeric cell": (
        [*GOOD[:20], "tall,red,cat,owner 1", *GOOD[20:]],
        [],
        r"line 22, column 'height' is 'tall'",
    ),
    "NaN": ([*GOOD[:9], "nan,red,cat,owner 1", *GOOD[9:]], [], "'height' is miss"),
    "infinity": (
        [*GOOD[:9], "inf,red,cat,owner 1", *GOOD[9:]], [], "column 'height' is inf"
    ),
    "owner with no rows": (
        [*GOOD, "1.0,red,cat,only one"],
        ["--valid", "0.9"],
        r"has no training rows left",
    ),
    "one owner": (
        [row.rsplit(",", 1)[0] + ",me" for row in GOOD], [], "names one owner only"
    ),
    "empty validation": (GOOD, ["--valid", "0.000001"], "leaves no validation rows"),
    "classes of one side": (
        GOOD, ["--valid", "VALID"], r"horse",
    ),
    "constant target": (
        [row.replace("dog", "cat") for row in GOOD],
        [],
        "kind.*(constant|one class|same)",
    ),
    "too many for enumeration": (
        rows_of(60, owners=26),
        ["--estimator", "exact"],
        r"takes at most 24 players; .* has 26",
    ),
    "memory": (GOOD, ["--memory", "0.000005"], r"--block \d+ would fit"),
    "memory of a training": (
        GOOD, ["--game", "retraining", "--memory", "1e-6"], "give a smaller --width"
    ),
    "unseen without ecoval": (GOOD, ["--unseen", "x.csv"], "needs --game ecoval"),
    "width without a network": (
        GOOD, ["--game", "knn", "--width", "2"], "--width does nothing with --game knn"
    ),
    "ridge for classes": (GOOD, ["--game", "ridge"], "has 2 classes"),
    "bad seeds": (GOOD, ["--seeds", "0"], "--seeds must be at least 1; got 0"),
    "images for a table": (GOOD, ["--model", "cnn"], r"image|shape"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, capsys, name):
    rows, options, message = BAD_INPUT[name]
    path = tmp_path / "pets.csv"
    if rows is not None:
        write(path, rows)
    held_out = write(tmp_path / "valid.csv", ["1.0,red,horse,owner 1"])
    options = [str(held_out) if word == "VALID" else word for word in options]
    options = options if "--game" in options else [*SMALL, *options]
    assert run(path, *options) == 2
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert lines[-1].startswith("error: ")
    assert len([line for line in lines if line.startswith("error")]) == 1
    assert "Traceback" not in captured.err
    assert re.search(message, lines[-1]), lines[-1]
    assert captured.out == ""
    assert not (tmp_path / "out").exists()
