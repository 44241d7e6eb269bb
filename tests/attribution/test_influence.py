import jax.numpy as jnp
import numpy as np
import pytest

from jaxval.attribution import influence
from jaxval.attribution.solvers import conjugate_gradient, lissa
from jaxval.coalitions import queries
from jaxval.training.losses import cross_entropy, negative, squared_error
from jaxval.types import Dataset, Points

RNG = np.random.default_rng(0)
N, L2 = 200, 0.1
X = RNG.normal(size=(N, 3)).astype(np.float32)
Y = (X @ np.array([1.0, -1.0, 0.5]) + 0.3 * RNG.normal(size=N)).astype(np.float32)
X_VALID, Y_VALID = X[:40] + 0.1, Y[:40]
DATA, VALID = Dataset(X, Y, np.arange(N) % 5), Points(X_VALID, Y_VALID)
LABELS = (Y > 0).astype(np.int32)


def apply_fn(params, x):
    return x @ params["w"][:, None]


def logits(params, x):
    return x @ params


def loss(outputs, y):
    return 0.5 * squared_error(outputs, y)


def fit(rows):
    x, y = X[rows].astype(float), Y[rows].astype(float)
    return np.linalg.solve(x.T @ x / N + L2 * np.eye(3), x.T @ y / N)


def valid_loss(w):
    return 0.5 * np.mean((X_VALID.astype(float) @ w - Y_VALID) ** 2)


@pytest.mark.parametrize(
    "inverse", [None, lissa(scale=5.0, steps=400)], ids=["cg", "lissa"]
)
def test_influences_are_the_first_order_change_of_refitting(inverse):
    params = {"w": jnp.asarray(fit(np.arange(N)), jnp.float32)}
    values = influence.influences(
        apply_fn, params, loss, DATA, VALID,
        damping=0.0, penalty=L2, inverse=inverse, batch_size=64,
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
            apply_fn, params, loss, DATA, VALID,
            damping=0.0, inverse=lissa(scale=0.01, steps=400),
        )  # fmt: skip


def test_classification_of_a_group():
    values = influence.influences(
        logits, jnp.zeros((3, 2)), cross_entropy, DATA._replace(y=LABELS),
        Points(X_VALID, LABELS[:40]), damping=0.01,
    )  # fmt: skip
    assert values.shape == (N,)
    assert np.isfinite(values).all()


def solved(inverse=None, **change):
    arguments = {"x": X, "y": LABELS, "x_valid": X_VALID, "y_valid": LABELS[:40]}
    arguments |= change
    data = Dataset(arguments["x"], arguments["y"], DATA.owner)
    return influence.solved_influences(
        logits, jnp.zeros((3, 2)), cross_entropy, data,
        Points(arguments["x_valid"], arguments["y_valid"]),
        damping=0.01, inverse=inverse,
    )  # fmt: skip


def test_the_residual_is_that_of_the_system():
    p = {"w": jnp.asarray(fit(np.arange(N)), jnp.float32)}
    hessian = X.T @ X / N + L2 * np.eye(3)
    gradient = X_VALID.T @ (X_VALID @ np.asarray(p["w"]) - Y_VALID) / len(X_VALID)
    for steps in (1, 2):
        found = influence.solved_influences(
            apply_fn, p, loss, DATA, VALID, damping=0.0, penalty=L2,
            inverse=conjugate_gradient(max_steps=steps),
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
    early = solved(conjugate_gradient(max_steps=1), x=crooked)
    assert early.residual > 0.1
    with pytest.warns(influence.UnsolvedWarning, match=r"left \d+% of the validation"):
        influence.influences(
            logits, jnp.zeros((3, 2)), cross_entropy,
            Dataset(crooked, LABELS, DATA.owner), Points(X_VALID, LABELS[:40]),
            damping=0.01,
            inverse=conjugate_gradient(max_steps=1),
        )  # fmt: skip


def test_a_series_that_grows_is_an_error_before_it_overflows():
    with pytest.raises(ValueError, match="diverged"):
        solved(lissa(scale=1e-3, steps=10))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.arange(N) % 3}, "must hold class numbers 0 to 1; got 2"),
        ({"y_valid": np.full(40, -1)}, "valid.y must hold numbers 0, 1"),
        ({"y": np.zeros(5, int)}, "one row a sample"),
        ({"x": np.where(X > 2, np.nan, X)}, "data.x must be finite"),
        ({"x_valid": X_VALID[:0], "y_valid": np.zeros(0, int)}, "valid.y is empty"),
        ({"x_valid": X_VALID[:, :2]}, "must have the same features"),
    ],
)
def test_bad_data_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        solved(**change)


def test_influences_on_each_query_average_to_those_on_all():
    p = {"w": jnp.asarray(fit(np.arange(N)), jnp.float32)}
    options = {"damping": 0.0, "penalty": L2}
    table = influence.query_influences(apply_fn, p, loss, DATA, VALID, **options)
    assert table.shape == (N, 40)
    whole = influence.influences(apply_fn, p, loss, DATA, VALID, **options)
    np.testing.assert_allclose(table.mean(axis=1), whole, atol=1e-6)
    # By hand: the gradient of row i is its error times x_i.
    errors = X.astype(float) @ fit(np.arange(N)) - Y
    missed = X_VALID.astype(float) @ fit(np.arange(N)) - Y_VALID
    hessian = X.T.astype(float) @ X / N + L2 * np.eye(3)
    direction = np.linalg.solve(hessian, (missed[:, None] * X_VALID).T)
    expected = (errors[:, None] * X) @ direction / N
    np.testing.assert_allclose(table, expected, atol=1e-4 * np.abs(expected).max())

    game = influence.influence_game(table, DATA.owner)
    masks = RNG.random((6, 5)) < 0.5
    rows = queries.row_scores(game, masks)
    assert rows.shape == (6, 40)
    np.testing.assert_allclose(rows.mean(axis=1), queries.scores(game, masks))
    np.testing.assert_allclose(
        rows[:, 7], masks @ influence.influence(table[:, 7], DATA.owner)
    )


@pytest.mark.parametrize("solver", [conjugate_gradient, lambda: lissa(scale=9.0)])
def test_equal_attributions_trace_nothing_again(solver):
    traces = []

    def traced(params, x):
        traces.append(x.shape)
        return x @ params["w"][:, None]

    once = 0
    for seed in range(3):
        p = {"w": jnp.asarray(np.random.default_rng(seed).random(3), jnp.float32)}
        data = DATA._replace(y=Y + seed)
        for ask in (influence.solved_influences, influence.query_influences):
            before = len(traces)
            # Damping and penalty are numbers of the same program.
            ask(traced, p, negative(negative(squared_error)), data, VALID,
                damping=1.0 + seed, penalty=0.1 * seed, inverse=solver())  # fmt: skip
            once = max(once, len(traces) - before)
            # The check of the outputs' shape is all that looks at the network again.
            assert seed == 0 or len(traces) - before <= 1
    assert once > 1


def test_classes_come_in_any_spelling():
    expected = solved().values
    for spell in (lambda y: np.eye(2)[y], lambda y: np.array(["no", "yes"])[y]):
        found = solved(y=spell(LABELS), y_valid=spell(LABELS[:40]))
        np.testing.assert_array_equal(found.values, expected)
    with pytest.raises(ValueError, match="data.y must hold class numbers 0 to 1, one"):
        influence.influences(
            logits, jnp.zeros((3, 2)), negative(cross_entropy),
            DATA._replace(y=LABELS + 1), Points(X_VALID, LABELS[:40]), damping=0.1,
        )  # fmt: skip
