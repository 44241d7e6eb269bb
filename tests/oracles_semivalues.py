"""Definitions in plain loops, for games of a few players."""

import itertools

import numpy as np


def score(game, members):
    mask = np.zeros(game.num_players, bool)
    mask[list(members)] = True
    return float(game.score(mask))


def semivalue(game, log_weights):
    """Every coalition without the player, one at a time."""
    n = game.num_players
    out = np.zeros(n)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        for k in range(n):
            for members in itertools.combinations(others, k):
                gain = score(game, (*members, i)) - score(game, members)
                out[i] += np.exp(log_weights[k]) * gain
    return out


def shapley_by_orders(game):
    """The mean contribution over all n! orders."""
    n = game.num_players
    orders = list(itertools.permutations(range(n)))
    out = np.zeros(n)
    for order in orders:
        scores = [score(game, order[:k]) for k in range(n + 1)]
        out[list(order)] += np.diff(scores)
    return out / len(orders)
