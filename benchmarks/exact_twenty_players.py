"""Exact Shapley values of a 20-player DAVINZ game: 1,048,576 coalitions in seconds.

Twenty contributors of scikit-learn's digits, 1,200 rows. The complexity comes once from
contributor-aligned blocks of an RBF Gram matrix (the form is additive) and once from
additive statistics of random features of the same kernel (one small factorisation a
coalition); the discrepancy from kernel sums. Times are after compilation, which is
printed apart; a sample of coalitions is checked against NumPy.

    python benchmarks/exact_twenty_players.py [--features 32] [--limit 5]
"""

import argparse
import sys
import time

import numpy as np
from sklearn.datasets import load_digits

from jaxval.games import davinz
from jaxval.kernels.mmd import kernel_sums, rbf_ladder
from jaxval.kernels.pairwise import median_distance
from jaxval.semivalues import exact

PLAYERS, ROWS = 20, 1200


def problem(num_features):
    """Rows, owners of unequal sizes, a target sample, a Gram matrix, its features."""
    x, _ = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    x = x[rng.permutation(len(x))] / 16.0
    share = np.arange(1, PLAYERS + 1) / np.arange(1, PLAYERS + 1).sum()
    owner = rng.permutation(
        np.r_[np.arange(PLAYERS), rng.choice(PLAYERS, ROWS - PLAYERS, p=share)]
    )
    sigma = median_distance(x[:ROWS], x[ROWS:])
    squares = ((x[:ROWS, None] - x[None, :ROWS]) ** 2).sum(-1)
    waves = rng.normal(size=(x.shape[1], num_features)) / sigma
    phase = rng.uniform(0, 2 * np.pi, num_features)
    features = np.cos(x[:ROWS] @ waves + phase) * np.sqrt(2 / num_features)
    gram = np.exp(-squares / (2 * sigma**2))
    return x[:ROWS], owner, x[ROWS:], gram, features, sigma


def games(num_features, zeta=1e-2):
    """The two games, and for each the quadratic form of some rows by NumPy."""
    x, owner, valid, gram, features, sigma = problem(num_features)
    far = davinz.discrepancy(kernel_sums(x, owner, valid, rbf_ladder(sigma)))
    ones, forms = np.ones(ROWS), {}
    aligned = davinz.complexity(gram, ones, owner, zeta=zeta, block=owner)
    statistics = davinz.complexity_of_features(features, ones, owner, zeta=zeta)
    inner = features @ features.T
    forms["aligned blocks"] = aligned, gram * (owner[:, None] == owner[None])
    forms["additive statistics"] = statistics, inner
    for name, (game, kernel) in forms.items():
        kappa = davinz.kappa_of_singletons(game, far)
        yield name, davinz.davinz(game, far, kappa=kappa), kernel, owner, zeta


def worst_error(parts, kernel, owner, zeta):
    """Largest relative error of ten random coalitions' complexity."""
    rng, worst = np.random.default_rng(1), 0.0
    table = exact.table(parts.complexity)
    for number in rng.integers(1, 2**PLAYERS, 10):
        rows = np.flatnonzero((number >> owner) & 1)
        h = kernel[np.ix_(rows, rows)] + zeta * np.eye(len(rows))
        truth = np.sqrt(np.linalg.solve(h, np.ones(len(rows))).sum() / len(rows))
        worst = max(worst, abs(table[number] / truth - 1))
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", type=int, default=32)
    parser.add_argument("--limit", type=float, default=5.0)
    args = parser.parse_args()
    kept = True
    for name, parts, kernel, owner, zeta in games(args.features):
        seconds, cpu = [], []
        for _ in range(3):
            start, busy = time.perf_counter(), time.process_time()
            estimate = exact.values(parts.game)
            seconds.append(time.perf_counter() - start)
            cpu.append(time.process_time() - busy)
        error = worst_error(parts, kernel, owner, zeta)
        kept &= min(seconds[1:]) < args.limit and error < 1e-8
        print(
            f"{name}: {min(seconds[1:]):.2f} s ({min(cpu[1:]):.2f} CPU s), compiled on "
            f"the way {seconds[0]:.2f} s; sum of values {estimate.values.sum():.6f}; "
            f"worst relative error of ten coalitions {error:.1e}"
        )
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
