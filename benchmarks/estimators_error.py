"""Root-mean-square error against utility evaluations: all estimators, three games.

    python benchmarks/estimators_error.py --out results/estimators_error

Games of 12 players, known exactly by enumeration: glove market, random weighted voting
and kernel regression on handwritten digits (accuracy, 12 contributors of five images).
For each estimator and budget: the error over 40 keys, as a table, `errors.csv`, and a
picture. Enumeration needs 4,096 calls; budgets stop short of it.
"""

import argparse
import csv
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jaxval.coalitions.game import Game
from jaxval.execution.precision import double, float64
from jaxval.games import analytic, kernel_regression
from jaxval.semivalues import (
    Ends,
    exact,
    least_squares,
    permutation,
    regression_adjustment,
    sample_reuse,
    truncated,
    weights,
)

PLAYERS, KEYS = 12, 40
BUDGETS = (132, 264, 528, 1056, 2112)


def digits_table():
    """Accuracy of kernel regression by the digits of each coalition, all 2^12 of it."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order] / 16.0, y[order]
    rows = 5 * PLAYERS
    kernel = lambda a, b: np.exp(-((a[:, None] - b[None]) ** 2).sum(-1) / 8.0)
    train, valid = x[:rows], x[rows : rows + 200]
    game = kernel_regression.kernel_regression(
        kernel(train, train),
        kernel(valid, train),
        kernel_regression.one_hot(y[:rows], 10),
        kernel_regression.one_hot(y[rows : rows + 200], 10),
        owner=np.arange(rows) // 5,
        penalty=1e-2,
    )
    return exact.table(game)


def tables():
    votes = tuple(np.random.default_rng(1).integers(1, 20, PLAYERS).tolist())
    return {
        "gloves": exact.table(analytic.gloves(4, 8)),
        "voting": exact.table(analytic.voting(votes, quota=sum(votes) // 2 + 1)),
        "digits": digits_table(),
    }


def shapley_estimators():
    n = PLAYERS
    return {
        "permutation": permutation.permutation_sampling(n),
        "antithetic": permutation.antithetic(n),
        "quasi-random": permutation.quasi_random(n, num_directions=3),
        "stratified": permutation.stratified(n, num_rotations=6),
        "truncated": truncated.tmc(n, permutations=1, patience=3),
        "MSR, ratio": sample_reuse.msr(n, weights.shapley, coalitions=22),
        "MSR, plain": sample_reuse.msr_unbiased(n, weights.shapley, coalitions=22),
        "Leverage SHAP": least_squares.kernel_shap(n, pairs=11, groups=16),
        "adjusted, linear": regression_adjustment.regression_adjusted(n, coalitions=44),
        "adjusted, pairs": regression_adjustment.regression_adjusted(
            n, basis=regression_adjustment.quadratic(n), coalitions=44
        ),
    }


def look_up(scores, mask):
    return scores[(mask * (1 << jnp.arange(mask.shape[0]))).sum()]


def partial(fn):
    return fn if isinstance(fn, Partial) else Partial(fn)


@jax.jit
def estimates(functions, scores, start, keys):
    sample, fold, estimate, calls = functions
    game = Game(PLAYERS, Partial(look_up, scores))
    known = Ends(scores[0], scores[-1])

    def one(keys):
        def step(state, key):
            state = fold(state, sample(key, game, known))
            return state, (estimate(state).values, calls(state))

        return jax.lax.scan(step, start, keys)[1]

    return jax.vmap(one)(keys)


def errors(estimator, scores, truth):
    """RMSE over players and keys at the last step within each budget; NaN if none."""
    fns = (
        estimator.sample,
        estimator.fold,
        estimator.estimate,
        estimator.num_evaluations,
    )
    functions = tuple(partial(fn) for fn in fns)
    scores = float64(scores)
    with double():
        start = estimator.init(Ends(scores[0], scores[-1]))
        # Twice the steps of whole orders: truncation makes shorter ones.
        keys = jax.random.split(jax.random.key(0), (KEYS, 2 * max(BUDGETS) // 11))
        values, calls = map(np.asarray, estimates(functions, scores, start, keys))
    out = []
    for budget in BUDGETS:
        steps = (calls <= budget).sum(1)
        if (steps == 0).any():
            out.append(np.nan)
            continue
        last = values[np.arange(KEYS), steps - 1]
        out.append(float(np.sqrt(np.mean((last - truth) ** 2))))
    return out


def draw(results, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(results), figsize=(14, 4.5), sharex=True)
    for axis, (game, rows) in zip(axes, results.items(), strict=True):
        for i, (name, row) in enumerate(rows.items()):
            style = {"marker": "o^sdvPX*<>"[i], "linestyle": ["-", "--"][i >= 5]}
            axis.loglog(BUDGETS, row, label=name, markersize=4, **style)
        axis.set(title=game, xlabel="utility evaluations")
        axis.set_xticks(BUDGETS, [str(budget) for budget in BUDGETS], minor=False)
        axis.set_xticks([], minor=True)
        axis.grid(visible=True, which="both", alpha=0.2)
    axes[0].set_ylabel("root-mean-square error of the Shapley value")
    axes[-1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path, dpi=150, bbox_inches="tight")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("results/estimators_error")
    )
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    results = {}
    for game, scores in tables().items():
        truth = exact.from_table(scores, weights.shapley)
        size = np.sqrt(np.mean(truth**2))
        print(f"\n{game}: root mean square value {size:.4f}, error at evaluations")
        print(f"{'':18s}" + "".join(f"{budget:>10d}" for budget in BUDGETS))
        results[game] = {}
        for name, estimator in shapley_estimators().items():
            row = errors(estimator, scores, truth)
            results[game][name] = row
            print(f"{name:18s}" + "".join(f"{error:10.5f}" for error in row))
    with (out / "errors.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["game", "estimator", "num_evaluations", "rmse"])
        for game, rows in results.items():
            for name, row in rows.items():
                for budget, error in zip(BUDGETS, row, strict=True):
                    table.writerow([game, name, budget, error])
    draw(results, out / "errors.png")
    print(f"\nwrote {out / 'errors.csv'} and {out / 'errors.png'}")


if __name__ == "__main__":
    main()
