"""Under `jax.distributed` nothing waits for other processes: one line, at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxval.coalitions import queries
from jaxval.coalitions.game import Game
from jaxval.distributional.estimator import distributional_shapley, iterations
from jaxval.distributional.point_scores import from_counts
from jaxval.execution.parallel import batched_map, device_mesh
from jaxval.games import linear_models, retraining
from jaxval.kernels import gradient_engine, readouts, tangent
from jaxval.semivalues import exact, msr, run, stopping, tmc
from jaxval.training import Recipe, squared_error, stateless
from jaxval.types import Dataset, Points

X = np.arange(8.0, dtype=np.float32).reshape(4, 2)
DATA = Dataset(X, X[:, 0], np.arange(4))
SIZE = Game(4, lambda mask: mask.sum() * 1.0)
HOST = Game(4, lambda mask: float(mask.sum()), on_host=True)
LINEAR = stateless(lambda key: jnp.zeros((2, 1)), lambda p, x: x @ p)
GRAM = {"readout": readouts.single_output}


def sampled(method, game, key):
    return run(key, method, game, until=stopping.budget(8))


def distributional(key):
    scores = from_counts(lambda counts: counts.sum() * 1.0, 3, num_points=2)
    rule = iterations(2, num_points=2, max_size=4)
    return run(key, distributional_shapley(3, 2, max_size=4), scores, until=rule)


def retrained(key):
    recipe = Recipe(loss=squared_error, batch_size=None, epochs=1)
    return retraining.retraining(key, DATA, Points(X, X[:, 0]), LINEAR, recipe)


def ridge():
    return linear_models.ridge(DATA, Points(X, X[:, 0]))


CASES = {
    "run": lambda key: sampled(msr(4), SIZE, key),
    "run on the host": lambda key: sampled(tmc(4), HOST, key),
    "run of points": distributional,
    "exact": lambda _: exact.values(SIZE),
    "leave one out": lambda _: exact.leave_one_out(HOST),
    "prefixes": lambda _: queries.prefix_scores(SIZE, np.arange(4)),
    "rows": lambda _: queries.row_scores(ridge(), np.ones((1, 4), bool)),
    "retraining": retrained,
    "tangent": lambda _: tangent.gram(jnp.matmul, jnp.ones((2, 1)), X, **GRAM),
    "gradients": lambda _: gradient_engine.gram(
        jnp.matmul, jnp.ones((2, 1)), X, **GRAM
    ),
    "mesh": lambda _: device_mesh(),
    "map": lambda _: batched_map(jnp.sin, jnp.arange(3.0), chunk_size=2),
}


@pytest.mark.parametrize("name", CASES)
def test_several_processes_are_refused_at_once(name, key, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda *_: 2)
    with pytest.raises(RuntimeError, match="works in one process, and JAX runs in 2"):
        CASES[name](key)
