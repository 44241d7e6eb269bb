"""Definitions in plain loops, for games of a few players."""

import itertools

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jaxval.coalitions import masks
from jaxval.coalitions.game import Game
from jaxval.execution.precision import float64
from jaxval.semivalues import weights


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


def table_game(scores):
    """Any game of few players, as an argument: one program serves them all."""
    scores = float64(scores)
    n = len(scores).bit_length() - 1
    return Game(n, Partial(_look_up, scores))


def _look_up(scores, mask):
    return scores[(mask * (1 << jnp.arange(mask.shape[0]))).sum()]


def five_player_tables():
    """Gloves, airport, voting, unanimity, a game of losses, a rough one: (6, 32)."""
    members = np.asarray(masks.powerset(5))
    size = members.sum(1)
    rng = np.random.default_rng(0)
    gloves = np.minimum(members[:, :2].sum(1), members[:, 2:].sum(1))
    airport = -(members * np.array([1.0, 2.0, 3.0, 5.0, 5.0])).max(1)
    voting = members @ np.array([4, 3, 2, 1, 0]) > 5
    unanimity = 3.0 * members[:, :2].all(1) - 2.0 * members[:, 1:4].all(1)
    losses = 7.0 - np.sqrt(size) + 0.3 * members[:, 0]
    return np.stack(
        [gloves, airport, voting, unanimity, losses, rng.normal(size=32)]
    ).astype(float)


NAMED_WEIGHTS = {
    "shapley": weights.shapley,
    "banzhaf": weights.banzhaf,
    "banzhaf_0.2": weights.weighted_banzhaf(0.2),
    "beta_16_1": weights.beta(16, 1),
    "beta_1_4": weights.beta(1, 4),
    "leave_one_out": weights.leave_one_out,
    "leave_three_out": weights.leave_group_out(3),
}
