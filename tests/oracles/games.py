"""Games scored by their definitions, in plain numpy, one coalition at a time."""

import itertools

import numpy as np


def subsets(num_players):
    """Every coalition as a boolean mask, player i being bit i of the row number."""
    numbers = np.arange(2**num_players)
    return (numbers[:, None] >> np.arange(num_players)[None, :]) % 2 > 0


def complexity(gram, residual, rows, zeta, block=None):
    """sqrt(y' (gram + zeta I)^-1 y / m) of some rows, block by block."""
    residual = residual.reshape(len(residual), -1)
    block = np.zeros(len(gram), int) if block is None else block
    total = 0.0
    for b in np.unique(block):
        keep = rows[block[rows] == b]
        h = gram[np.ix_(keep, keep)] + zeta * np.eye(len(keep))
        total += np.sum(residual[keep] * np.linalg.solve(h, residual[keep]))
    return np.sqrt(total / len(rows))


def mmd(x, valid, bandwidths, weights, unbiased=False):
    """Squared MMD by double loops over the rows."""

    def kernel(a, b):
        square = np.sum((a - b) ** 2)
        return sum(
            w * np.exp(-square / (2 * s**2))
            for s, w in zip(bandwidths, weights, strict=True)
        )

    def mean(a, b, skip):
        pairs = [
            kernel(p, q)
            for i, p in enumerate(a)
            for j, q in enumerate(b)
            if not (skip and i == j)
        ]
        return np.mean(pairs)

    return (
        mean(x, x, unbiased) + mean(valid, valid, unbiased) - 2 * mean(x, valid, False)
    )


def shapley(table, num_players):
    """Shapley values by walking every order over a table of the power set."""
    table, values = np.asarray(table), np.zeros(num_players)
    orders = list(itertools.permutations(range(num_players)))
    for order in orders:
        number = 0
        for player in order:
            values[player] += table[number + 2**player] - table[number]
            number += 2**player
    return values / len(orders)


def ridge_rows(x, x_valid, y, y_valid, owner, penalty, score, num_players):
    """`score(predicted, target)` of each validation row under every coalition."""
    table = []
    for mask in subsets(num_players):
        r = mask[owner]
        system = x[r].T @ x[r] + penalty * np.eye(x.shape[1])
        predicted = x_valid @ np.linalg.solve(system, x[r].T @ y[r])
        table.append([score(p, t) for p, t in zip(predicted, y_valid, strict=True)])
    return np.array(table)


def accuracy_of_row(predicted, target):
    """1 over the number of largest outputs where the target's is among them."""
    best = np.flatnonzero(predicted == predicted.max())
    return (target.argmax() in best) / len(best)


def margin_of_row(predicted, target):
    """The target's output less the largest other."""
    right = target.argmax()
    return predicted[right] - np.delete(predicted, right).max()


def negative_square_of_row(predicted, target):
    """Minus the squared error, summed over outputs."""
    return -np.sum((predicted - target) ** 2)
