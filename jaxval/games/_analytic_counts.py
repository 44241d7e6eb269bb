"""Counts of coalitions behind the exact values of `games.analytic`."""

import math

import numpy as np
from scipy.special import gammaln, logsumexp


def glove_value(same, other):
    """The Shapley value of one of `same` gloves where `other` are of the other hand."""
    n, total = same + other, 0.0
    for s in range(same):
        for o in range(s + 1, other + 1):
            ways = _log_choose(same - 1, s) + _log_choose(other, o)
            total += math.exp(ways - _log_choose(n - 1, s + o)) / n
    return total


def voting_power(weights, quota):
    """Shapley-Shubik power: swings, counted by size and weight of the coalition."""
    n, total = len(weights), int(sum(weights))
    # (size, weight): how many coalitions of all players have them
    table = np.zeros((n + 1, total + 1), dtype=object)
    table[0, 0] = 1
    for weight in weights:
        joined = table[:-1, : total + 1 - weight]
        table[1:, weight:] = table[1:, weight:] + joined
    by_weight = {weight: _power(table, weight, quota, n) for weight in set(weights)}
    return np.array([by_weight[weight] for weight in weights])


def _power(table, weight, quota, n):
    """Swings of one player of this weight, over all sizes of the others' coalition."""
    without = table[:-1].copy()
    for size in range(1, n):
        if weight == 0:
            without[size] = without[size] - without[size - 1]
        else:
            without[size, weight:] -= without[size - 1, :-weight]
    swings = without[:, max(quota - weight, 0) : quota].sum(axis=1)
    return sum(
        int(count) / (n * math.comb(n - 1, size)) for size, count in enumerate(swings)
    )


def completion_chance(n, t, log_weights):
    """The chance to complete a coalition of `t` players, for a member of it."""
    s = np.arange(t - 1, n)
    return float(np.exp(logsumexp(_log_choose(n - t, s - t + 1) + log_weights[s])))


def size_chances(n, log_weights):
    """The chance that a coalition of each size is met, under a semi-value."""
    if log_weights is None:
        return np.full(n, 1.0 / n)
    return np.exp(_log_choose(n - 1, np.arange(n)) + np.asarray(log_weights, float))


def _log_choose(n, k):
    return gammaln(n + 1) - gammaln(np.asarray(k) + 1) - gammaln(n - np.asarray(k) + 1)
