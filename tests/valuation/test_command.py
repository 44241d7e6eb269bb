"""The command `value` on small files: what it writes."""

import json

import numpy as np
import pytest
from valuation.pets import SMALL, read, rows_of, run, write

from jaxval.experiments import __main__ as runner
from jaxval.games import knn
from jaxval.semivalues import exact
from jaxval.valuation import command as value


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
    total = metrics["full_score"] - metrics["empty_score"]
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


def test_many_players_are_sampled_and_said_so(tmp_path, capsys):
    path = write(tmp_path / "many.csv", rows_of(80, owners=30))
    assert run(path, "--game", "discrepancy", "--budget", "2000") == 0
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


def test_values_are_those_of_the_library(table):
    """kNN by way of the command is kNN by way of the library."""
    import jax

    from jaxval.datasets.tabular.table import read_table

    config = value.Config(data=table, target="kind", owner="who", game="knn")
    found = value.run(config).tables["values"].columns[2].values
    data_key = jax.random.split(jax.random.key(0), 3)[0]
    data = read_table(data_key, table, "kind", owner="who")
    distances = knn.pairwise_distances(data.valid.x, data.dataset.x)
    game = knn.knn(distances, data.dataset.y, data.valid.y, data.dataset.owner, k=5)
    np.testing.assert_allclose(found, exact.values(game).values, rtol=1e-12)
