"""`value` on small files of a person's own: what it writes, what it refuses."""

import csv
import dataclasses
import functools
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxval.coalitions.game import Game
from jaxval.experiments import __main__ as runner
from jaxval.games import knn
from jaxval.runner.contract import SILENT
from jaxval.semivalues import exact, intervals, permutation, sample_reuse
from jaxval.types import ValueEstimate
from jaxval.valuation import command as value
from jaxval.valuation import ecoval as value_ecoval
from jaxval.valuation import estimate as value_estimate
from jaxval.valuation import forecast as value_forecast
from jaxval.valuation import report as value_report
from jaxval.valuation.result import Found

SMALL = ["--width", "0.1", "--seeds", "2"]


def write(path, rows, header="height,colour,kind,who"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def rows_of(count, owners=3, seed=0):
    rng = np.random.default_rng(seed)
    return [
        f"{rng.normal():.4f},{'red' if rng.random() < 0.5 else 'blue'},"
        f"{'cat' if i % 2 else 'dog'},owner {i % owners}"
        for i in range(count)
    ]


@pytest.fixture
def table(tmp_path):
    return write(tmp_path / "pets.csv", rows_of(40))


def run(path, *options, out="out"):
    arguments = ["value", str(path), "--target", "kind", "--owner", "who"]
    return runner.main([*arguments, "--out", str(path.parent / out), *options])


def read(path, name="values.csv", out="out"):
    (folder,) = [p for p in (path.parent / out / "value").iterdir() if p.is_dir()]
    return list(csv.DictReader((folder / name).read_text().splitlines()))


def test_davinz_is_the_default_and_everything_is_written(table, capsys):
    assert run(table, *SMALL) == 0
    rows = read(table)
    assert [row["owner"] for row in rows] == ["owner 0", "owner 1", "owner 2"]
    assert sorted(row["rank"] for row in rows) == ["1", "2", "3"]
    columns = set(rows[0])
    assert {"shapley", "shapley_stderr", "places", "above_next", "size_only"} < columns
    assert {"discrepancy_only", "complexity_only", "random"} < columns
    # Everything on one side is the sum of its two halves.
    for row in rows:
        parts = float(row["discrepancy_only"]) + float(row["complexity_only"])
        assert float(row["shapley"]) == pytest.approx(parts, rel=1e-9)
    (folder,) = (table.parent / "out" / "value").iterdir()
    metrics = json.loads((folder / "metrics.json").read_text())["metrics"]
    total = metrics["score_of_everybody"] - metrics["score_of_nobody"]
    assert sum(float(row["shapley"]) for row in rows) == pytest.approx(total, rel=1e-9)
    captured = capsys.readouterr()
    assert max(map(len, captured.out.splitlines()[:-1])) <= 80
    assert "warning" not in captured.err


@pytest.mark.parametrize(
    "options",
    [
        [*SMALL, "--game", "kernel-regression"],
        [*SMALL, "--game", "complexity", "--semivalue", "banzhaf"],
        ["--game", "discrepancy"],
        ["--game", "knn", "--semivalue", "beta"],
        ["--game", "size"],
        [*SMALL, "--block", "5"],
        [*SMALL, "--semivalue", "leave-one-out"],
    ],
)
def test_games(table, options):
    assert run(table, *options) == 0
    assert len(read(table)) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ["--game", "logistic"],
        [*SMALL, "--game", "retraining", "--epochs", "2", "--semivalue",
         "leave-one-out"],
    ],
)  # fmt: skip
def test_games_that_train(table, options):
    assert run(table, *options) == 0
    assert len(read(table)) == 3


@pytest.mark.parametrize("game", ["davinz", "ridge", "knn", "kernel-regression"])
def test_regression(tmp_path, game):
    rng = np.random.default_rng(1)
    rows = [
        f"{x:.3f},{2 * x + 1:.3f},{i % 4}" for i, x in enumerate(rng.normal(size=30))
    ]
    path = write(tmp_path / "line.csv", rows, "x,y,who")
    options = ["--target", "y", "--owner", "who", "--game", game]
    options += SMALL if game in ("davinz", "kernel-regression") else []
    assert (
        runner.main(["value", str(path), *options, "--out", str(tmp_path / "o")]) == 0
    )
    assert len(read(path, out="o")) == 4


@pytest.mark.parametrize(
    "estimator",
    ["permutation", "antithetic", "quasi-random", "stratified", "truncated", "msr",
     "least-squares", "adjusted"],
)  # fmt: skip
def test_estimators_agree_with_all_coalitions(table, estimator):
    """Within five standard errors of the exact values, with the error bar it claims."""
    common = {"data": table, "target": "kind", "owner": "who", "game": "discrepancy"}
    exactly = value.run(value.Config(**common, estimator="exact"))
    sampled = value.run(value.Config(**common, estimator=estimator, budget=800))
    truth = exactly.tables["values"].columns[2]
    found = sampled.tables["values"].columns[2]
    assert (np.asarray(truth.stderr) == 0).all()
    error = np.abs(np.asarray(found.values) - truth.values)
    biased = 0.05 * np.abs(truth.values).max() if estimator == "truncated" else 1e-9
    assert (error <= 5 * np.asarray(found.stderr) + biased).all()


def test_values_are_those_of_the_library(table):
    """kNN by way of the command is kNN by way of the library."""
    import jax

    from jaxval.datasets.tabular.table import read_table

    config = value.Config(data=table, target="kind", owner="who", game="knn")
    found = value.run(config).tables["values"].columns[2].values
    data_key = jax.random.split(jax.random.key(0), 3)[0]
    data = read_table(data_key, table, "kind", owner="who")
    distances = knn.pairwise_distances(data.x_valid, data.dataset.x)
    game = knn.knn(distances, data.dataset.y, data.y_valid, data.dataset.owner, k=5)
    np.testing.assert_allclose(found, exact.values(game).values, rtol=1e-12)


def test_many_players_are_sampled_and_said_so(tmp_path, capsys):
    path = write(tmp_path / "many.csv", rows_of(80, owners=30))
    assert run("discrepancy", path, "--game", "--budget", "2000") == 0
    captured = capsys.readouterr()
    assert "30 players are too many" in captured.err
    assert "pairs of orders" in captured.out
    assert len(read(path)) == 30
    assert len(read(path, "best_and_worst.csv")) == 16
    assert all(float(row["shapley_stderr"]) > 0 for row in read(path))


def test_every_row_is_a_player_without_owners(table):
    options = ["--target", "kind", "--drop", "who", "--game", "knn", "--budget", "300"]
    out = str(table.parent / "out")
    assert runner.main(["value", str(table), *options, "--out", out]) == 0
    assert len(read(table)) == 32


def slow_game(players, seconds):
    def scores(masks):
        time.sleep(seconds * len(masks))
        return np.asarray(masks, float).sum(axis=1)

    return Game(players, lambda mask: mask.sum() * 1.0, scores, on_host=True)


def test_hours_of_training_are_foretold():
    config = value.Config(data=pathlib.Path("x.csv"), target="y", game="retraining")
    heard = []
    foretell = functools.partial(
        value_forecast.forecast, ordered=True, classes=True, advise=heard.append
    )
    foretell(config, slow_game(159, 0.01), 200 * 2 * 158, 3)
    (line,) = heard
    pattern = (
        r"note: about 190,000 trainings, some (3\d|4\d) minutes: give --owner to value "
        r"groups, --budget N or --game logistic\."
    )
    assert re.fullmatch(pattern, line)
    grouped = dataclasses.replace(config, owner="who", budget=63_000)
    foretell(grouped, slow_game(159, 0.01), 63_000, 3)
    assert "give a smaller --budget or --game logistic." in heard[-1]
    # What is soon over isn't foretold.
    foretell(config, slow_game(3, 0.0), 8, 3)
    assert len(heard) == 2


def test_an_orders_prefixes_are_timed_where_the_game_is_traced():
    game = Game(50, lambda mask: mask.sum() * 1.0)
    assert value_forecast.seconds_of_a_score(game, ordered=True) < 0.01
    assert value_forecast.seconds_of_a_score(game, ordered=False) < 0.1


@pytest.mark.parametrize(
    ("estimator", "calls"),
    [
        (permutation.permutation_sampling(10), 200 * 9),
        (permutation.antithetic(10), 200 * 18),
        (sample_reuse.msr(10), 200),
    ],
)
def test_scores_are_counted_beforehand(estimator, calls):
    """Two scores, of nobody and everybody, are asked for once a run."""
    found = value_forecast.calls_of(estimator, 10, 200)
    assert abs(found - calls) <= 0.05 * calls


def test_an_option_that_stops_nothing_is_said_to(table, capsys):
    assert run("size", table, "--game", "--seconds", "5") == 0
    assert "note: --seconds has nothing to stop" in capsys.readouterr().err


def test_a_budget_below_all_coalitions_is_kept(table):
    config = value.Config(
        data=table, target="kind", owner="who", game="discrepancy", budget=5
    )
    found = value.run(config)
    assert "antithetic" in found.metrics["method"]


def metrics_of(path, out="out"):
    (folder,) = (path.parent / out / "value").iterdir()
    return json.loads((folder / "metrics.json").read_text())["metrics"]


def test_ecoval_values_points_that_come_later(table, tmp_path, capsys):
    later = write(tmp_path / "later.csv", rows_of(14, seed=9))
    options = ["--seeds", "2", "--resamples", "4", "--game", "ecoval"]
    assert run("--unseen", *table, options, str(later)) == 0
    unseen = read(table, "unseen.csv")
    assert len(unseen) == 14
    points, owners = read(table, "points.csv"), read(table)
    assert len(points) == 32
    mine = sum(float(p["ecoval"]) for p in points if p["owner"] == "owner 0")
    assert mine == pytest.approx(float(owners[0]["ecoval"]), rel=1e-9)
    # Of many later rows the best and the worst are printed.
    ends = read(table, "unseen_best_and_worst.csv")
    every = sorted((float(row["ecoval"]) for row in unseen), reverse=True)
    assert [float(row["ecoval"]) for row in ends] == every[:6] + every[-6:]
    assert "What the rows that came later are worth" in capsys.readouterr().out
    # Hazards of all fits, and the scale of the values, are written.
    metrics = metrics_of(table)
    assert len(metrics["hazards"]) == len(metrics["hazards_of_unseen"]) == 2
    assert metrics["score_of_nobody"] < metrics["score_of_everybody"] < 0


def test_ecovals_error_bars_are_of_the_rows_not_of_refits(tmp_path):
    # Rows of six kinds: the clusters are those kinds whatever the mixture starts from.
    rng = np.random.default_rng(0)
    rows = [f"{c},{s},{c + s + rng.normal():.3f},{rng.integers(3)}"
            for c, s in rng.integers(0, [2, 3], (80, 2))]  # fmt: skip
    path = write(tmp_path / "kinds.csv", rows, "colour,size,price,who")
    config = value.Config(
        data=path, target="price", owner="who", game="ecoval", seeds=2, resamples=4
    )
    found = value.run(config)
    values = found.tables["values"].columns[2]
    draws, bootstrap = found.arrays["draws"], found.arrays["bootstrap"]
    assert bootstrap.shape == (4, 3)
    np.testing.assert_allclose(np.asarray(values.stderr), bootstrap.std(0, ddof=1))
    np.testing.assert_allclose(np.asarray(values.values), draws.mean(0))
    refits = draws.std(0, ddof=1) / np.sqrt(2)
    assert (np.asarray(values.stderr) > 100 * refits).all()


@pytest.mark.parametrize("rows", [20, 80, 456, 900, 6000])
def test_ecovals_clusters_are_fitted_with_no_more_numbers_than_rows(rows):
    dims = value_ecoval._dimensions(rows)
    mixture = value_ecoval._settings(rows, dims).mixture
    assert mixture.parameters(dims) <= rows / mixture.num_clusters
    assert mixture.covariance == ("full" if rows == 6000 else "spherical")


def found_of(values, stderr, rivals, sampled="9 seeds"):
    values, stderr = np.asarray(values, float), np.asarray(stderr, float)
    estimate = ValueEstimate(values, stderr, np.full(len(values), 9))
    sure = intervals.rank_confidence(estimate)
    return Found(
        estimate, sure, stderr, "", "", sampled, rivals, None, 0, values[None], {}
    )


NAMES = tuple("abcdefghijkl")


@pytest.mark.parametrize(
    ("values", "stderr", "rival", "words"),
    [
        # Noise: nobody is told apart from anybody.
        (range(5), [9] * 5, [3, 1, 4, 0, 2], "not known well enough"),
        # Well known, but five owners can't rule out that it is the same ranking.
        (range(5), [0.01] * 5, [0, 1, 4, 3, 2], "too few to say whether"),
        (
            range(12),
            [0.01] * 12,
            list(range(12))[::-1],
            "says something that no simpler",
        ),
        (range(12), [0.01] * 12, range(12), "could be had from that alone"),
        (range(3), [0.0] * 3, range(3), "as far as 3 owners can tell"),
    ],
)
def test_the_verdict_claims_no_more_than_is_known(values, stderr, rival, words):
    rivals = {"size only": np.asarray(rival, float)}
    found = found_of(list(values), stderr, rivals)
    agree = value_report._agreement(found)
    second = value_report._sentences(NAMES, found, agree)[1]
    assert words in second
    assert ("says something" in words) == ("says something" in second)


def test_two_that_are_not_told_apart_are_not_ranked():
    found = found_of([1.0, 1.1], [1.0, 1.0], {})
    (sentence,) = value_report._sentences(NAMES, found, {})
    assert "not even these two are told apart" in sentence


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--budget", "3"], "leave --budget out"),
        (["--stderr", "1e-5"], "leave --stderr out"),
        (["--seconds", "1"], "leave --seconds out"),
        (["--model", "vgg13"], "--model does nothing with --game ecoval"),
        (["--epochs", "3"], "needs --game retraining"),
        (["--alpha", "3"], "--alpha does nothing with --semivalue shapley"),
        (["--memory", "1e-6"], "GiB are there"),
        (["--resamples", "1"], "--resamples must be at least 2"),
    ],
)
def test_ecoval_ignores_no_option(table, capsys, options, message):
    assert run("ecoval", table, "--game", *options) == 2
    assert message in capsys.readouterr().err


def bad(tmp_path, name, rows, header="height,colour,kind,who"):
    return write(tmp_path / name, rows, header)


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


def test_a_killed_run_goes_on_to_the_same_file(tmp_path):
    """`kill -9` in the middle, the same command again: the identical CSV."""
    path = write(tmp_path / "many.csv", rows_of(200, owners=40))
    command = [
        sys.executable, "-m", "jaxval.experiments", "value", str(path), "--target",
        "kind", "--owner", "who", "--game", "discrepancy", "--budget", "1000000",
        "--out",
    ]  # fmt: skip
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    victim = subprocess.Popen([*command, str(tmp_path / "killed")], **quiet)
    scratch = tmp_path / "killed" / "value"
    deadline = time.monotonic() + 120
    while not list(scratch.glob("*.partial/*/*.npz")) and victim.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert victim.poll() is None, "the run was over before it could be killed"
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    assert not list(scratch.glob("*/values.csv"))
    for folder in ("killed", "whole"):
        done = subprocess.run(
            [*command, str(tmp_path / folder)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    (one,) = scratch.glob("*/values.csv")
    (other,) = (tmp_path / "whole" / "value").glob("*/values.csv")
    assert one.read_bytes() == other.read_bytes()
    assert not list(scratch.glob("*.partial"))


def test_a_finished_seed_is_not_enumerated_again(tmp_path, monkeypatch):
    path = write(tmp_path / "few.csv", rows_of(60, owners=3))
    config = value.Config(data=path, target="kind", owner="who", game="knn", seeds=1)
    context = dataclasses.replace(SILENT, scratch=tmp_path / "partial")
    first = value.run(config, context)
    forbidden = lambda *args, **kwargs: pytest.fail("scored again")
    monkeypatch.setattr(value_estimate, "_scored", forbidden)
    again = value.run(config, context)
    np.testing.assert_array_equal(first.arrays["draws"], again.arrays["draws"])
