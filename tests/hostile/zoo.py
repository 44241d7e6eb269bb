"""Networks that users bring, small, as plain functions where that says all."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

OUTPUTS = 3
WIDTH, TOKENS, VOCABULARY = 6, 4, 23


class Net(NamedTuple):
    """A network, its parameters (float32 or as they must be) and a kind of inputs."""

    fn: Any
    params: Any
    inputs: str = "vectors"
    tolerance: float = 1e-5


def inputs(kind, rows, seed=0):
    rng = np.random.default_rng([seed, rows])
    shapes = {"vectors": (6,), "images": (6, 6, 4), "sequences": (TOKENS, WIDTH)}
    if kind in shapes:
        return rng.normal(size=(rows, *shapes[kind])).astype(np.float32)
    vocabulary = int(kind.removeprefix("words of "))
    words = np.minimum(rng.zipf(1.3, (rows, TOKENS)), vocabulary) - 1
    return words.astype(np.int32)


def normal(seed, **shapes):
    rng = np.random.default_rng(seed)
    scaled = lambda s: rng.normal(size=s) / np.sqrt(max(1, np.prod(s[:-1])))
    return {name: scaled(s).astype(np.float32) for name, s in shapes.items()}


def row(vector):
    return vector[None, None]


def standardised(h, axis=-1):
    centred = h - h.mean(axis, keepdims=True)
    return centred / jnp.sqrt((centred**2).mean(axis, keepdims=True) + 1e-5)


def attention(p, h):
    q, k, v = (jnp.einsum("ntd,dhe->nthe", h, p[name]) for name in "qkv")
    weights = jax.nn.softmax(jnp.einsum("nthe,nshe->nhts", q, k) / 2.0, -1)
    return jnp.einsum(
        "nthe,hed->ntd", jnp.einsum("nhts,nshe->nthe", weights, v), p["o"]
    )


def transformer(p, x):
    h = p["table"][x] + p["place"][None]
    h = h + attention(p, standardised(h) * row(p["scale"]) + row(p["shift"]))
    h = h + jax.nn.gelu(h @ p["up"]) @ p["down"]
    return h.mean(1) @ p["out"]


def convolve(x, kernel, **options):
    numbers = ("NHWC", "HWIO", "NHWC")
    strides = options.pop("window_strides", (1, 1))
    padding = options.pop("padding", "SAME")
    return lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=numbers, **options
    )


def head(p, h):
    return jnp.tanh(h).mean((1, 2)) @ p["out"]


def scanned(p, x):
    step = lambda h, w: (jnp.tanh(h @ w), None)
    return lax.scan(step, x, p["layers"])[0] @ p["out"]


def recurrent(p, x):
    def step(h, xt):
        h = jnp.tanh(xt @ p["in"] + h @ p["again"])
        return h, None

    start = jnp.zeros((x.shape[0], WIDTH), x.dtype)
    return lax.scan(step, start, x.swapaxes(0, 1))[0] @ p["out"]


def gru(p, x):
    h = jnp.zeros((x.shape[0], WIDTH), x.dtype)
    for t in range(TOKENS):
        both = jnp.concatenate([x[:, t], h], 1)
        reset, update = (jax.nn.sigmoid(both @ p[name]) for name in ("r", "z"))
        new = jnp.tanh(jnp.concatenate([x[:, t], reset * h], 1) @ p["n"])
        h = (1 - update) * h + update * new
    return h @ p["out"]


def conditional(p, x):
    yes, no = lambda h: jnp.tanh(h @ p["a"]), lambda h: jnp.sin(h @ p["b"])
    return lax.cond(p["a"].sum() > 0, yes, no, x) @ p["out"]


def experts(p, x):
    gates = jax.nn.softmax(x @ p["gate"], -1)
    hidden = jax.nn.relu(jnp.einsum("nd,edh->neh", x, p["experts"]))
    return jnp.einsum("ne,neh->nh", gates, hidden) @ p["out"]


def low_rank(p, x):
    # The frozen weight is no parameter of the kernel.
    frozen = np.sin(np.arange(36.0)).reshape(6, 6).astype(np.float32)
    return jnp.tanh(x @ frozen + x @ p["a"] @ p["b"]) @ p["out"]


def weight_norm(p, x):
    v = p["v"]
    w = p["g"][None] * v / jnp.sqrt((v**2).sum(0, keepdims=True))
    return jnp.tanh(x @ w) @ p["out"]


def tied(p, x):
    h = jnp.tanh(p["table"][x] @ p["mix"]).mean(1)
    return (h @ p["table"].T)[:, :OUTPUTS]


def embedded(p, x):
    return jnp.tanh(p["table"][x]).mean(1) @ p["out"]


def spectral(p, x):
    h = jnp.fft.rfft(x, axis=1)
    h = jnp.fft.irfft(h * p["filter"][None], n=x.shape[1], axis=1)
    return jnp.tanh(h) @ p["out"]


def complex_dense(p, x):
    h = x @ p["w"] + p["b"][None]
    return jnp.real(h * jnp.conj(h)) @ p["out"]


def complexes(seed, **shapes):
    real, imaginary = normal(seed, **shapes), normal(seed + 100, **shapes)
    return {name: real[name] + 1j * imaginary[name] for name in shapes}


def half(p, x):
    h = jax.nn.relu(x.astype(p["w"].dtype) @ p["w"] + p["b"][None])
    return h @ p["out"]


def mixed(p, x):
    low = jax.tree.map(lambda a: a.astype(jnp.bfloat16), p)
    return half(low, x).astype(p["w"].dtype)


def squeeze_excite(p, x):
    h = jax.nn.relu(convolve(x, p["k"]))
    gate = jax.nn.sigmoid(h.mean((1, 2)) @ p["gate"])
    return head(p, h * gate[:, None, None])


def group_norm(p, x):
    h = convolve(x, p["k"])
    grouped = h.reshape(*h.shape[:3], 2, -1)
    grouped = standardised(grouped, (1, 2, 4))
    return head(
        p, grouped.reshape(h.shape) * row(p["scale"])[None] + row(p["shift"])[None]
    )


def integer_pooling(p, x):
    largest = lax.reduce_window(x, np.int32(0), lax.max, (1, 2), (1, 2), "VALID")
    return jnp.tanh(p["table"][largest]).mean(1) @ p["out"]


class Dropped(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(6, 8, rngs=rngs)
        self.norm = nnx.LayerNorm(8, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, deterministic=True, rngs=rngs)
        self.last = nnx.Linear(8, OUTPUTS, rngs=rngs)

    def __call__(self, x):
        return self.last(self.dropout(nnx.relu(self.norm(self.first(x)))))


def split_whole():
    graph, params = nnx.split(Dropped(nnx.Rngs(0)))
    return lambda params, x: nnx.merge(graph, params)(x), params


def bfloat16(tree):
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.bfloat16), tree)


_out = {"out": (WIDTH, OUTPUTS)}
_mlp = normal(30, w=(6, 8), b=(8,), out=(8, OUTPUTS))
_image = {"out": (5, OUTPUTS)}
_heads = dict.fromkeys("qkv", (WIDTH, 2, 3))
_words = f"words of {VOCABULARY}"

NETWORKS = {
    "transformer": Net(
        transformer,
        normal(
            1,
            **_heads,
            **_out,
            o=(2, 3, WIDTH),
            table=(VOCABULARY, WIDTH),
            place=(TOKENS, WIDTH),
            scale=(WIDTH,),
            shift=(WIDTH,),
            up=(WIDTH, 9),
            down=(9, WIDTH),
        ),
        _words,
    ),
    "attention": Net(
        lambda p, x: jnp.tanh(attention(p, x)).mean(1) @ p["out"],
        normal(2, **_heads, **_out, o=(2, 3, WIDTH)),
        "sequences",
    ),
    "group norm": Net(
        group_norm,
        normal(3, k=(3, 3, 4, 4), scale=(4,), shift=(4,), out=(4, 3)),
        "images",
    ),
    "squeeze and excite": Net(
        squeeze_excite, normal(4, k=(3, 3, 4, 5), gate=(5, 5), **_image), "images"
    ),
    "depthwise": Net(
        lambda p, x: head(
            p, convolve(convolve(x, p["k"], feature_group_count=4), p["mix"])
        ),
        normal(5, k=(3, 3, 1, 4), mix=(1, 1, 4, 5), **_image),
        "images",
    ),
    "dilated": Net(
        lambda p, x: head(p, convolve(x, p["k"], rhs_dilation=(2, 2))),
        normal(6, k=(3, 3, 4, 5), **_image),
        "images",
    ),
    "strided": Net(
        lambda p, x: head(p, convolve(x, p["k"], window_strides=(2, 1))),
        normal(7, k=(3, 2, 4, 5), **_image),
        "images",
    ),
    "transposed": Net(
        lambda p, x: head(
            p, convolve(x, p["k"], lhs_dilation=(2, 2), padding=((1, 2), (2, 1)))
        ),
        normal(8, k=(3, 3, 4, 5), **_image),
        "images",
    ),
    "scan": Net(scanned, normal(9, layers=(3, 6, 6), **_out)),
    "cond": Net(conditional, normal(10, a=(6, 6), b=(6, 6), **_out)),
    "remat": Net(
        jax.checkpoint(lambda p, x: jnp.tanh(jnp.tanh(x @ p["a"]) @ p["b"]) @ p["out"]),
        normal(11, a=(6, 6), b=(6, 6), **_out),
    ),
    "low rank": Net(low_rank, normal(12, a=(6, 2), b=(2, 6), **_out)),
    "experts": Net(experts, normal(13, gate=(6, 3), experts=(3, 6, 6), **_out)),
    "weight norm": Net(weight_norm, normal(14, v=(6, 6), g=(6,), **_out)),
    "tied": Net(tied, normal(15, table=(VOCABULARY, WIDTH), mix=(6, 6)), _words),
    "recurrent": Net(
        recurrent, normal(16, **{"in": (6, 6)}, again=(6, 6), **_out), "sequences"
    ),
    "gru": Net(gru, normal(17, r=(12, 6), z=(12, 6), n=(12, 6), **_out), "sequences"),
    "spectral": Net(
        spectral, {**complexes(18, filter=(4,)), **normal(19, out=(6, OUTPUTS))}
    ),
    "complex dense": Net(
        complex_dense, {**complexes(20, w=(6, 5), b=(5,)), **normal(21, out=(5, 3))}
    ),
    "bfloat16": Net(half, bfloat16(_mlp), tolerance=0.05),
    "mixed precision": Net(mixed, _mlp, tolerance=0.05),
    "dropout split whole": Net(*split_whole()),
    "integer pooling": Net(
        integer_pooling, normal(22, table=(VOCABULARY, 6), **_out), _words
    ),
    "plain": Net(
        lambda w, x: jnp.tanh(x @ w[0]) @ w[1].T,
        [*normal(23, a=(6, 7), b=(3, 7)).values()],
    ),
}
NETWORKS |= {
    f"vocabulary of {size}": Net(
        embedded, normal(size, table=(size, WIDTH), **_out), f"words of {size}"
    )
    for size in (2, 50, 3000)
}
