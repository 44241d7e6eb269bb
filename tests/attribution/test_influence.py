import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxval.attribution import influence
from jaxval.types import Dataset

RNG = np.random.default_rng(0)
N, L2 = 200, 0.1
X = RNG.normal(size=(N, 3)).astype(np.float32)
Y = (X @ np.array([1.0, -1.0, 0.5]) + 0.3 * RNG.normal(size=N)).astype(np.float32)
X_VALID, Y_VALID = X[:40] + 0.1, Y[:40]
DATA = Dataset(X, Y, np.arange(N) % 5)


def apply_fn(params, x):
    return x @ params["w"][:, None]


def loss(outputs, y):
    return 0.5 * (outputs[0] - y) ** 2


def fit(rows):
    x, y = X[rows].astype(float), Y[rows].astype(float)
    return np.linalg.solve(x.T @ x / N + L2 * np.eye(3), x.T @ y / N)


def valid_loss(w):
    return 0.5 * np.mean((X_VALID.astype(float) @ w - Y_VALID) ** 2)


@pytest.mark.parametrize(
    "inverse", [None, influence.lissa(scale=5.0, steps=400)], ids=["cg", "lissa"]
)
def test_influences_are_the_first_order_change_of_refitting(inverse):
    params = {"w": jnp.asarray(fit(np.arange(N)), jnp.float32)}
    values = influence.influences(
        apply_fn, params, loss, DATA, X_VALID, Y_VALID,
        damping=0.0, l2=L2, inverse=inverse, batch_size=64,
    )  # fmt: skip
    full = valid_loss(fit(np.arange(N)))
    refit = [valid_loss(fit(np.delete(np.arange(N), i))) - full for i in range(N)]
    assert np.corrcoef(values, refit)[0, 1] > 0.999
    np.testing.assert_allclose(values, refit, atol=0.1 * np.abs(refit).max())


def test_owners_sum_their_rows_in_an_additive_game():
    values = RNG.normal(size=N)
    owners = influence.influence(values, DATA.owner)
    game = influence.influence_game(values, DATA.owner)
    np.testing.assert_allclose(owners, [values[i::5].sum() for i in range(5)])
    full, without = game.leave_one_out_scores()
    np.testing.assert_allclose(float(full) - np.asarray(without), owners)


def test_divergence_is_an_error():
    params = {"w": jnp.zeros(3)}
    with pytest.raises(ValueError, match="diverged"):
        influence.influences(
            apply_fn, params, loss, DATA, X_VALID, Y_VALID,
            damping=0.0, inverse=influence.lissa(scale=0.01, steps=400),
        )  # fmt: skip


def test_classification_of_a_group():
    logits = lambda p, x: x @ p
    cross = lambda out, y: -jax.nn.log_softmax(out)[y]
    data = Dataset(X, (Y > 0).astype(np.int32), DATA.owner)
    values = influence.influences(
        logits, jnp.zeros((3, 2)), cross, data, X_VALID, (Y_VALID > 0).astype(np.int32),
        damping=0.01,
    )  # fmt: skip
    assert values.shape == (N,)
    assert np.isfinite(values).all()


def solved(inverse=None, **change):
    logits = lambda p, x: x @ p
    cross = lambda out, y: -jax.nn.log_softmax(out)[y]
    labels = (Y > 0).astype(np.int32)
    arguments = {"x": X, "y": labels, "x_valid": X_VALID, "y_valid": labels[:40]}
    arguments |= change
    data = Dataset(arguments["x"], arguments["y"], DATA.owner)
    return influence.solved_influences(
        logits, jnp.zeros((3, 2)), cross, data, arguments["x_valid"],
        arguments["y_valid"], damping=0.01, inverse=inverse,
    )  # fmt: skip


def test_the_residual_is_that_of_the_system():
    p = {"w": jnp.asarray(fit(np.arange(N)), jnp.float32)}
    hessian = X.T @ X / N + L2 * np.eye(3)
    gradient = X_VALID.T @ (X_VALID @ np.asarray(p["w"]) - Y_VALID) / len(X_VALID)
    for steps in (1, 2):
        found = influence.solved_influences(
            apply_fn, p, loss, DATA, X_VALID, Y_VALID, damping=0.0, l2=L2,
            inverse=influence.conjugate_gradient(max_steps=steps),
        )  # fmt: skip
        # Steepest descent, then one more direction: by hand in the Krylov space.
        space = np.stack([np.linalg.matrix_power(hessian, i) @ gradient
                          for i in range(steps)], 1)  # fmt: skip
        weights = np.linalg.solve(space.T @ hessian @ space, space.T @ gradient)
        left = hessian @ space @ weights - gradient
        expected = np.linalg.norm(left) / np.linalg.norm(gradient)
        np.testing.assert_allclose(found.residual, expected, rtol=1e-3)


def test_a_solver_that_stops_early_is_warned_of():
    assert solved().residual < 1e-3
    crooked = X * np.array([1.0, 1.0, 30.0], np.float32)
    early = solved(influence.conjugate_gradient(max_steps=1), x=crooked)
    assert early.residual > 0.1
    labels = (Y > 0).astype(np.int32)
    with pytest.warns(influence.UnsolvedWarning, match=r"left \d+% of the validation"):
        influence.influences(
            lambda p, x: x @ p, jnp.zeros((3, 2)),
            lambda out, y: -jax.nn.log_softmax(out)[y],
            Dataset(crooked, labels, DATA.owner), X_VALID, labels[:40], damping=0.01,
            inverse=influence.conjugate_gradient(max_steps=1),
        )  # fmt: skip


def test_a_series_that_grows_is_an_error_before_it_overflows():
    with pytest.raises(ValueError, match="diverged"):
        solved(influence.lissa(scale=1e-3, steps=10))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.arange(N) % 3}, "y must hold class numbers 0 to 1"),
        ({"y_valid": np.full(40, -1)}, "y_valid must hold class numbers"),
        ({"y": np.zeros(5, int)}, "one row a sample"),
        ({"x": np.where(X > 2, np.nan, X)}, "x must be finite"),
        ({"x_valid": X_VALID[:0], "y_valid": np.zeros(0, int)}, "y_valid is empty"),
        ({"x_valid": X_VALID[:, :2]}, "must have the same features"),
    ],
)
def test_bad_data_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        solved(**change)
