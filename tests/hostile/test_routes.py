"""Every route of every kind of layer, forced at shapes where it would not be chosen."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxval.execution.options import Execution
from jaxval.execution.precision import EXACT
from jaxval.kernels import gradient_engine, layers, readouts, tangent
from jaxval.kernels.layers import check, routes
from jaxval.kernels.layers.routes import Route
from jaxval.kernels.layers.weights import Weight, Window

ROWS = (1, 2, 31, 65)
COLUMNS = 7
FEW = ("words", "zipf")


def window(kernel, strides=1, padding=(0, 0), spread=1, dilation=1, groups=1):
    return Window(
        kernel=(kernel,) * 2,
        strides=(strides,) * 2,
        padding=(padding,) * 2,
        input_dilation=(spread,) * 2,
        kernel_dilation=(dilation,) * 2,
        groups=groups,
    )


def dense(rng, n, groups=1, positions=1):
    a = rng.normal(size=(n, groups, 5, positions))
    b = rng.normal(size=(n, groups, positions, 4))
    return (a,), (b,), (None,), None, np.einsum("ngap,ngpb->ngab", a, b)


def table(rng, n, tokens, vocabulary, draw="uniform"):
    size = (n, tokens)
    if draw == "zipf":
        words = np.minimum(rng.zipf(1.3, size), vocabulary) - 1
    elif draw == "repeated":
        words = np.repeat(rng.integers(0, vocabulary, (n, 1)), tokens, 1)
    else:
        words = rng.integers(0, vocabulary, size)
    b = rng.normal(size=(n, 1, tokens, 3))
    gradient = np.zeros((n, vocabulary, 3))
    for i in range(n):
        np.add.at(gradient[i], words[i], b[i, 0])
    return (words.astype(np.int32),), (b,), (None,), vocabulary, gradient


def convolution(rng, n, window, channels=4, uses=1):
    """The patches by their definition, one output position after the other."""
    inputs, cotangents, gradient = [], [], 0.0
    for _ in range(uses):
        image = rng.normal(size=(n, 1, channels, 6, 5))
        seen = patches(image[:, 0], window)  # (n, groups, inputs, positions)
        b = rng.normal(size=(n, window.groups, seen.shape[3], 2))
        gradient = gradient + np.einsum("ngap,ngpb->ngab", seen, b)
        inputs.append(image)
        cotangents.append(b)
    return tuple(inputs), tuple(cotangents), (window,) * uses, None, gradient


def patches(image, window):
    n, channels, *space = image.shape
    spread, (low, high) = window.input_dilation[0], window.padding[0]
    wide = [(s - 1) * spread + 1 for s in space]
    canvas = np.zeros((n, channels, *(w + low + high for w in wide)))
    holes = np.zeros((n, channels, *wide))
    holes[:, :, ::spread, ::spread] = image
    canvas[:, :, low : low + wide[0], low : low + wide[1]] = holes
    (k, _), dilation, step = (
        window.kernel,
        window.kernel_dilation[0],
        window.strides[0],
    )
    reach = (k - 1) * dilation + 1
    where = [range(0, s - reach + 1, step) for s in canvas.shape[2:]]
    cut = [
        canvas[:, :, i : i + reach : dilation, j : j + reach : dilation]
        for i in where[0]
        for j in where[1]
    ]
    seen = np.stack(cut, -1)  # (n, channels, k, k, positions)
    # Inputs of a weight are ordered by offset, then by channel of the group.
    seen = seen.reshape(n, window.groups, channels // window.groups, k * k, -1)
    return seen.swapaxes(2, 3).reshape(n, window.groups, -1, seen.shape[-1])


KINDS = {
    "dense": lambda rng, n: dense(rng, n),
    "dense over positions": lambda rng, n: dense(rng, n, positions=6),
    "dense in groups": lambda rng, n: dense(rng, n, groups=3, positions=2),
    "one word": lambda rng, n: table(rng, n, 1, 50),
    "words": lambda rng, n: table(rng, n, 5, 2000),
    "words of a small table": lambda rng, n: table(rng, n, 5, 11),
    "repeated words": lambda rng, n: table(rng, n, 4, 300, "repeated"),
    "zipf": lambda rng, n: table(rng, n, 6, 700, "zipf"),
    "convolution": lambda rng, n: convolution(rng, n, window(2, padding=(1, 1))),
    "strided": lambda rng, n: convolution(rng, n, window(2, 2, (1, 2))),
    "dilated": lambda rng, n: convolution(rng, n, window(2, dilation=2)),
    "transposed": lambda rng, n: convolution(rng, n, window(2, 1, (1, 2), spread=2)),
    "grouped": lambda rng, n: convolution(rng, n, window(2, groups=2)),
    "depthwise": lambda rng, n: convolution(rng, n, window(2, 1, (1, 1), groups=4)),
    "used twice": lambda rng, n: convolution(rng, n, window(2), uses=2),
}
SINGLE = ("dense", "one word")


def sample(kind, n, seed=0):
    """A weight in float32 and its gradients in float64, `(n, size)`."""
    rng = np.random.default_rng([seed, n])
    inputs, cotangents, windows, vocabulary, gradient = KINDS[kind](rng, n)
    single = lambda a: a if a.dtype == np.int32 else a.astype(np.float32)
    weight = Weight(
        tuple(map(single, inputs)), tuple(map(single, cotangents)), windows, vocabulary
    )
    return weight, gradient.reshape(n, -1)


contract = jax.jit(routes.contract_weight, static_argnums=(2, 3))


def agree(tile, truth):
    assert tile.shape == truth.shape
    gap = np.abs(np.asarray(tile, np.float64) - truth).max()
    assert gap <= 2e-6 * np.abs(truth).max()


def routes_of(kind):
    return [Route.PAIRS, Route.GRADIENTS] + [Route.HADAMARD] * (kind in SINGLE)


def all_routes(kind, rows, columns):
    """Gradients, and the square and the rectangle by every route, in one program."""
    part = lambda right, route: routes.contract_weight(rows, right, EXACT, route)
    squares = [part(None, route) for route in routes_of(kind)]
    rectangles = [part(columns, route) for route in routes_of(kind)]
    return routes.gradient_rows(rows), squares, rectangles


@pytest.mark.parametrize("kind", KINDS)
def test_every_route_at_every_size(kind):
    columns, across = sample(kind, COLUMNS, seed=1)
    every = jax.jit(lambda *args: all_routes(kind, *args))
    for n in ROWS:
        rows, gradient = sample(kind, n)
        stored, squares, rectangles = every(rows, columns)
        agree(stored, gradient)
        for square, rectangle in zip(squares, rectangles, strict=True):
            agree(square, gradient @ gradient.T)
            agree(rectangle, gradient @ across.T)


@pytest.mark.parametrize("kind", KINDS)
def test_halves(kind):
    for n in (*ROWS, 64) if kind in FEW else (64,):
        rows, gradient = sample(kind, n)
        agree(contract(rows, None, EXACT, Route.HALVED), gradient @ gradient.T)
    rows, gradient = sample(kind, 4)
    halved = jax.jit(lambda rows: routes._halved(rows, EXACT, smallest=1))
    agree(halved(rows), gradient @ gradient.T)


@pytest.mark.parametrize("room", [1, 2**12])
@pytest.mark.parametrize("kind", KINDS)
def test_every_route_in_small_workspaces(kind, room, monkeypatch):
    for name in ("_WORKSPACE", "_CACHE", "_PATCHES"):
        monkeypatch.setattr(routes, name, room)
    (rows, gradient), (columns, across) = sample(kind, 12), sample(kind, 7, seed=1)
    stored, squares, rectangles = jax.jit(lambda *args: all_routes(kind, *args))(
        rows, columns
    )
    agree(stored, gradient)
    for square, rectangle in zip(squares, rectangles, strict=True):
        agree(square, gradient @ gradient.T)
        agree(rectangle, gradient @ across.T)


def test_routes_that_do_not_exist_are_refused():
    several, _ = sample("words", 3)
    with pytest.raises(ValueError, match="one position"):
        routes.contract_weight(several, None, EXACT, Route.HADAMARD)
    with pytest.raises(ValueError, match="rows that are the columns"):
        routes.contract_weight(several, several, EXACT, Route.HALVED)


LAYERS = {
    "dense and bias": lambda p, x: jnp.tanh(x @ p["w"] + p["b"][None]),
    "embedding": lambda p, x: jnp.tanh(p["table"][x]).sum(1),
    "convolution": lambda p, x: jnp.tanh(
        jax.lax.conv_general_dilated(
            x, p["k"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
    ).sum((1, 2)),
}


def layer(name, n):
    rng = np.random.default_rng(n)
    normal = lambda *shape: rng.normal(size=shape).astype(np.float32)
    if name == "dense and bias":
        return {"w": normal(5, 3), "b": normal(3)}, normal(n, 5)
    if name == "embedding":
        words = np.minimum(rng.zipf(1.3, (n, 4)), 400) - 1
        return {"table": normal(400, 3)}, words.astype(np.int32)
    return {"k": normal(3, 3, 2, 3)}, normal(n, 5, 5, 2)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("store", [False, True])
def test_from_the_network_to_the_tile(name, store):
    """What the trace leaves at a layer, stored or not, against explicit gradients."""
    total = (readouts.sum_of_outputs,)
    represent = jax.jit(
        lambda p, x: layers.represent(LAYERS[name], p, total, x, None, store=store)
    )
    explicit = jax.jit(
        lambda p, x: gradient_engine.gradients(LAYERS[name], p, x, readout=total)
    )
    for n in (2, 31):
        params, x = layer(name, n)
        with jax.enable_x64(True):
            double = jax.tree.map(lambda a: a.astype(np.float64), params)
            rows = x if x.dtype == np.int32 else x.astype(np.float64)
            truth = np.concatenate(explicit(double, rows), 1)
        block = represent(params, x)
        assert bool(block.weights) != store
        agree(jax.jit(layers.contract)(block, None), truth @ truth.T)


def test_rows_that_are_checked_are_at_both_ends_and_between():
    for n in (1, 2, 3, 4, 31, 1000):
        rows = check.sampled(n)
        assert rows[0] == 0
        assert rows[-1] == n - 1
        assert len(set(rows)) == min(n, 4)
    middles = np.array([check.sampled(1000, m)[1:3] for m in range(200)])
    assert middles[:, 0].max() <= 500 <= middles[:, 1].min()
    assert np.std(middles, 0).min() > 100


def faulty_pairs(left, right, matmul_precision, true_pairs=routes._pairs):
    """The table's branch as it once was: all rows receive all rows' matches."""
    tile = true_pairs(left, right, matmul_precision)
    return tile if left.vocabulary is None else tile + tile.sum(0, keepdims=True)


def embedding(params, x):
    hidden = jnp.tanh(params["words"]["table"][x]).sum(1)
    return hidden @ params["out"]


@pytest.fixture
def wrong_engine(monkeypatch):
    """An engine whose pairs route is wrong for tables, for sizes used nowhere else."""
    monkeypatch.setattr(routes, "_pairs", faulty_pairs)
    rng = np.random.default_rng(0)
    params = {
        "words": {"table": rng.normal(size=(1999, 7)).astype(np.float32)},
        "out": rng.normal(size=(7, 2)).astype(np.float32),
    }
    return params, rng.integers(0, 1999, (34, 3)).astype(np.int32)


def test_a_wrong_route_is_named_and_the_gradient_engine_takes_over(wrong_engine):
    params, x = wrong_engine
    options = {"readout": readouts.sum_of_outputs}
    truth = gradient_engine.gram(embedding, params, x, **options)
    with pytest.warns(tangent.LayerEngineWarning, match="halved") as caught:
        gram = tangent.gram(embedding, params, x, **options)
    assert "['words']['table']" in str(caught[0].message)
    assert "['out']" not in str(caught[0].message)
    np.testing.assert_array_equal(gram, truth)
    blocks = Execution(batch_size=17)
    with pytest.warns(tangent.LayerEngineWarning, match="pairs"):
        gram = tangent.gram(embedding, params, x, x[:17], execution=blocks, **options)
    np.testing.assert_allclose(gram, truth[:, :17], rtol=1e-5, atol=1e-5)
    inside = jax.jit(lambda p: tangent.gram(embedding, p, x, **options))(params)
    assert np.isnan(inside).all()


def test_what_was_wrong_is_right():
    """2,000 x 8, five words, 31 x 12 rows: entries were wrong by 27% and more."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(2000, 8)).astype(np.float32)
    rows, columns = (np.minimum(rng.zipf(1.2, (n, 5)), 2000) - 1 for n in (31, 12))
    network = lambda p, x: jnp.tanh(p[x]).sum((1, 2))[:, None]

    def gradients(words):
        out = np.zeros((len(words), *table.shape))
        slope = 1 - np.tanh(table.astype(np.float64)) ** 2
        for i, row in enumerate(words):
            np.add.at(out[i], row, slope[row])
        return out.reshape(len(words), -1)

    left, right = gradients(rows), gradients(columns)
    options = {"readout": readouts.single_output}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agree(tangent.gram(network, table, rows, **options), left @ left.T)
        agree(tangent.gram(network, table, rows, columns, **options), left @ right.T)
