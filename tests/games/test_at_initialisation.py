import jax
import numpy as np
import pandas as pd
import pytest

from jaxval import models
from jaxval.coalitions import queries
from jaxval.games import at_initialisation
from jaxval.types import Dataset, Points

RNG = np.random.default_rng(0)
OWNER = np.array([0, 0, 1, 1, 2, 2, 2, 1])
X, X_VALID = (RNG.normal(size=(n, 3)).astype(np.float32) for n in (8, 5))
Y, Y_VALID = np.arange(8) % 2, np.arange(5) % 2


def test_davinz_of_a_network_is_its_parts_by_hand(key):
    module = models.mlp([6], 2)
    parts = at_initialisation.davinz(
        key, module, Dataset(X, Y, OWNER), Points(X_VALID, Y_VALID)
    )
    apply_fn, params = models.apply_fn(module), models.init(key, module, X)

    def own(params, x, y):
        return apply_fn(params, x[None])[0, y]

    gradients = jax.jit(jax.vmap(jax.grad(own), (None, 0, 0)))(params, X, Y)
    rows = np.concatenate(
        [np.asarray(g, float).reshape(8, -1) for g in jax.tree.leaves(gradients)], 1
    )
    gram = rows @ rows.T
    left = 1 - np.asarray(apply_fn(params, X), float)[np.arange(8), Y]
    zeta = 1e-3 * np.trace(gram) / 8
    expected = np.sqrt(left @ np.linalg.solve(gram + zeta * np.eye(8), left) / 8)
    grand = np.ones((1, 3), bool)
    np.testing.assert_allclose(
        queries.scores(parts.complexity, grand), expected, rtol=1e-4
    )
    scores = queries.powerset_scores(parts.game)
    np.testing.assert_allclose(scores[0], scores[[1, 2, 4]].mean(), rtol=1e-9)


@pytest.mark.parametrize("kind", ["module", "network", "functions", "fixed"])
def test_every_kind_of_network_plays_the_same_games(key, kind):
    module, data = models.mlp([6], 2), Dataset(X, Y, OWNER)
    network = models.as_network(module)
    given = {
        "module": module,
        "network": network,
        "functions": (network.init, network.apply),
        "fixed": models.fixed(network.apply, network.init(key, X)),
    }[kind]
    valid = Points(X_VALID, Y_VALID)
    for make in (
        lambda net: at_initialisation.davinz(key, net, data, valid).game,
        lambda net: at_initialisation.kernel_regression_game(key, net, data, valid),
    ):
        np.testing.assert_array_equal(
            queries.powerset_scores(make(given)), queries.powerset_scores(make(module))
        )


def test_frames_and_labels_are_the_arrays(key, without_type_checks):
    module = models.mlp([6], 2)
    frame = Dataset(
        pd.DataFrame(X), pd.Series(np.array(["no", "yes"])[Y]), pd.Series(OWNER)
    )
    valid = Points(X_VALID, Y_VALID)
    games = [
        at_initialisation.davinz(key, module, data, valid).game
        for data in (frame, Dataset(X, Y, OWNER))
    ]
    frame, arrays = map(queries.powerset_scores, games)
    np.testing.assert_array_equal(frame, arrays)


def test_a_class_without_an_output_is_refused(key):
    data, valid = Dataset(X, Y + 1, OWNER), Points(X_VALID, Y_VALID)
    for make in (at_initialisation.davinz, at_initialisation.kernel_regression_game):
        with pytest.raises(ValueError, match="class numbers 0 to 1; got 2"):
            make(key, models.mlp([6], 2), data, valid)
