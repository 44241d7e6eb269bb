"""Quickstart on three digits against plain NumPy, and what it says of them."""

import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxval import models
from jaxval.experiments import __main__ as runner
from jaxval.experiments import quickstart
from jaxval.experiments.parts import deals

SMALL = quickstart.Config(
    sizes=(4, 7, 5, 6), valid=40, width=0.05, seeds=2, check_seeds=2, check_epochs=2
)


def deal_of(config):
    key = jax.random.split(jax.random.key(config.seed), 4)[0]
    return deals.one_class_each(key, "digits", config.sizes, config.valid)


def network_of(config):
    return quickstart.network(config.network, config.width, len(config.sizes))


def keys_of(config):
    init_key = jax.random.split(jax.random.key(config.seed), 4)[1]
    return jax.random.split(init_key, config.seeds)


@pytest.fixture(scope="module")
def result():
    return quickstart.run(SMALL)


def gradients(key):
    """Gradients of each image's own logit, one per row, and the logits, in float64."""
    split = deal_of(SMALL)
    module = network_of(SMALL)
    params = models.init(key, module, split.data.x)
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    with jax.enable_x64(True):
        x = jnp.asarray(split.data.x, jnp.float64)
        wide = jax.tree.map(lambda p: jnp.asarray(p, jnp.float64), unravel(flat))
        weights, unravel = jax.flatten_util.ravel_pytree(wide)
        own = lambda w, xi, yi: models.apply_fn(module)(unravel(w), xi[None])[0, yi]
        rows = zip(x, np.asarray(split.data.y), strict=True)
        both = [jax.value_and_grad(own)(weights, xi, int(yi)) for xi, yi in rows]
    return np.array([g for _, g in both]), np.array([f for f, _ in both])


def mmd(x, t, bandwidths):
    def mean(a, b):
        squares = ((a[:, None, :] - b[None, :, :]) ** 2).sum(-1)
        return np.mean([np.exp(-squares / (2 * s**2)) for s in bandwidths])

    return np.sqrt(max(mean(x, x) + mean(t, t) - 2 * mean(x, t), 0.0))


def oracle(key):
    """The definition of DAVINZ's score in NumPy, coalition by coalition."""
    split = deal_of(SMALL)
    x = np.asarray(split.data.x, np.float64).reshape(len(split.data.x), -1)
    t = np.asarray(split.valid.x, np.float64).reshape(len(split.valid.x), -1)
    both = np.concatenate([x, t])
    squares = ((both[:, None, :] - both[None, :, :]) ** 2).sum(-1)
    median = np.sqrt(np.median(squares[np.triu_indices(len(both), 1)]))
    bandwidths = median * np.array([0.25, 0.5, 1.0, 2.0, 4.0])
    jacobian, outputs = gradients(key)
    theta, left = jacobian @ jacobian.T, 1.0 - outputs
    zeta = SMALL.zeta * np.trace(theta) / len(theta)
    complexity, discrepancy = {}, {}
    players = range(len(SMALL.sizes))
    for size in players:
        for members in itertools.combinations(players, size + 1):
            rows = np.isin(np.asarray(split.data.owner), members)
            h = theta[rows][:, rows] + zeta * np.eye(rows.sum())
            form = left[rows] @ np.linalg.solve(h, left[rows])
            number = sum(2**i for i in members)
            complexity[number] = np.sqrt(form / rows.sum())
            discrepancy[number] = mmd(x[rows], t, bandwidths)
    singles = [2**i for i in players]
    far = np.mean([discrepancy[i] for i in singles])
    kappa = far / np.mean([complexity[i] for i in singles])
    score = {i: -kappa * complexity[i] - discrepancy[i] for i in complexity}
    score[0] = np.mean([score[i] for i in singles])
    return np.array([score[i] for i in range(2 ** len(SMALL.sizes))])


def test_all_coalitions_agree_with_numpy(result):
    for row, key in zip(result.arrays["davinz"], keys_of(SMALL), strict=True):
        np.testing.assert_allclose(row, oracle(key), rtol=1e-5)


def test_values_follow_from_the_scores(result):
    """Shapley's definition over all orders, from the saved scores."""
    scores = result.arrays["davinz"].mean(0)
    n = len(SMALL.sizes)
    total, orders = np.zeros(n), list(itertools.permutations(range(n)))
    for order in orders:
        before = 0
        for i in order:
            total[i] += scores[before + 2**i] - scores[before]
            before += 2**i
    columns = {c.name: c for c in result.tables["values"].columns}
    np.testing.assert_allclose(
        columns["shapley"].values, total / len(orders), rtol=1e-9
    )
    leave_one_out = scores[-1] - np.delete(scores, [])[[15 - 2**i for i in range(n)]]
    np.testing.assert_allclose(
        columns["leave_one_out"].values, leave_one_out, rtol=1e-9
    )
    assert columns["size"].values.tolist() == list(SMALL.sizes)
    assert sorted(columns["rank"].values) == [1, 2, 3, 4]
    assert (np.asarray(columns["shapley"].stderr) > 0).all()


def test_all_coalitions_are_written(result):
    table = result.tables["scores"]
    assert len(table) == 16
    assert table.columns[0].values[:4] == ["", "0", "1", "0+1"]


def test_the_check_has_every_method(result):
    check = result.tables["check"]
    assert list(check.columns[0].values) == [
        "DAVINZ",
        "kernel regression",
        "size only",
        "discrepancy only",
        "complexity only",
        "ground truth, split-half",
    ]
    assert result.arrays["retrained_leave_one_out"].shape == (2, 4)
    assert len(result.sentences) == 2


def test_the_same_command_gives_the_same_numbers(result):
    again = quickstart.run(SMALL)
    np.testing.assert_array_equal(again.arrays["davinz"], result.arrays["davinz"])


def test_from_the_command_line(tmp_path, capsys):
    options = [
        "--sizes",
        "4",
        "7",
        "5",
        "--valid",
        "30",
        "--width",
        "0.05",
        "--seeds",
        "1",
        "--check-seeds",
        "0",
    ]
    assert runner.main(["quickstart", *options, "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "digit 2" in out
    assert max(map(len, out.splitlines()[:-1])) <= 80
    (folder,) = (tmp_path / "quickstart").iterdir()
    assert json.loads((folder / "config.json").read_text())["sizes"] == [4, 7, 5]
    assert (folder / "scores.csv").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", "0"], "--seeds must be at least 1; got 0."),
        (["--sizes", "5"], "--sizes must be 2 to 10 positive numbers"),
        (["--sizes", "5", "5000"], "class 1 has"),
        (["--zeta", "-1"], "zeta"),
    ],
)
def test_bad_settings(options, message, tmp_path, capsys):
    small = ["--valid", "30", "--width", "0.05", "--check-seeds", "0"]
    arguments = ["quickstart", *small, "--out", str(tmp_path / "new"), *options]
    assert runner.main(arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.startswith("error: ")
    assert not (tmp_path / "new").exists()
