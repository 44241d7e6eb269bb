import json

import numpy as np
import pytest
from valuation.pets import read, rows_of, run, write

from jaxval.valuation import command as value
from jaxval.valuation import ecoval as value_ecoval


def metrics_of(path, out="out"):
    (folder,) = (path.parent / out / "value").iterdir()
    return json.loads((folder / "metrics.json").read_text())["metrics"]


def test_ecoval_values_unseen_points(table, tmp_path, capsys):
    later = write(tmp_path / "later.csv", rows_of(14, seed=9))
    options = ["--seeds", "2", "--resamples", "4", "--game", "ecoval"]
    assert run(table, *options, "--unseen", str(later)) == 0
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
    assert "Values of the unseen rows" in capsys.readouterr().out
    # Hazards of all fits, and the scale of the values, are written.
    metrics = metrics_of(table)
    assert len(metrics["hazards"]) == len(metrics["hazards_of_unseen"]) == 2
    assert metrics["empty_score"] < metrics["full_score"] < 0


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
    assert run(table, "--game", "ecoval", *options) == 2
    assert message in capsys.readouterr().err
