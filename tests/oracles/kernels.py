"""Networks that between them use a weight in every way the layer engine knows."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxval import models

ROWS, CLASSES = 6, 3


class Convolutions(nn.Module):
    average: bool = False
    groups: int = 1
    strides: int = 1
    bias: bool = True

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3), strides=self.strides, use_bias=self.bias)(x)
        x = nn.relu(x)
        pool = nn.avg_pool if self.average else nn.max_pool
        x = pool(x, (2, 2), (2, 2))
        x = nn.Conv(
            8,
            (3, 3),
            feature_group_count=self.groups,
            kernel_dilation=2,
            use_bias=self.bias,
        )(x)
        x = nn.ConvTranspose(2, (2, 2), strides=(2, 2))(jnp.tanh(x))
        return nn.Dense(CLASSES, use_bias=self.bias)(x.reshape(x.shape[0], -1))


class Words(nn.Module):
    @nn.compact
    def __call__(self, x):
        place = self.param("place", nn.initializers.normal(1.0), (1, x.shape[1], 6))
        h = nn.Embed(11, 6)(x) + place
        h = h + nn.MultiHeadDotProductAttention(num_heads=2)(nn.LayerNorm()(h))
        return nn.Dense(CLASSES)(nn.relu(nn.Dense(5)(h)).mean(1))


class Tied(nn.Module):
    @nn.compact
    def __call__(self, x):
        table = nn.Embed(11, 6)
        h = jnp.tanh(nn.Dense(6)(table(x))).mean(1)
        return table.attend(h)[:, :CLASSES]


class Recurrent(nn.Module):
    @nn.compact
    def __call__(self, x):
        again = nn.Dense(6)
        h = jnp.tanh(nn.Dense(6)(x))
        for _ in range(2):
            h = jnp.tanh(again(h))
        return nn.Dense(CLASSES)(h)


def _ntk_scaled(weights, x):
    hidden = jnp.tanh(jnp.matmul(x, weights[0] * (1 / 5**0.5)))
    return jax.checkpoint(jax.jit(lambda w, h: jnp.matmul(h, w.T / 7)))(
        weights[1], hidden
    )


def _nnx():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Linear(5, 7, rngs=rngs)
            self.norm = nnx.LayerNorm(7, rngs=rngs)
            self.last = nnx.Linear(7, CLASSES, rngs=rngs)

        def __call__(self, x):
            return self.last(nnx.relu(self.norm(self.first(x))))

    graph, params = nnx.split(Net(nnx.Rngs(0)))
    return lambda params, x: nnx.merge(graph, params)(x), params


def _inputs():
    rng = np.random.default_rng(0)
    return {
        "vectors": rng.normal(size=(ROWS, 5)),
        "images": rng.normal(size=(ROWS, 8, 8, 2)),
        "words": rng.integers(0, 11, (ROWS, 4)),
    }


LINEN = {
    "mlp": (models.mlp([7, 6], CLASSES), "vectors"),
    "mlp with bias": (models.mlp([7, 6], CLASSES, bias=True), "vectors"),
    "ntk mlp": (models.mlp([7], CLASSES, parametrisation=models.NTK), "vectors"),
    "max pooling": (Convolutions(), "images"),
    "average pooling": (Convolutions(average=True), "images"),
    "strides": (Convolutions(strides=2, bias=False), "images"),
    "groups": (Convolutions(groups=2), "images"),
    "resnet": (models.ResNet((1, 1), (4, 8), CLASSES), "images"),
    "words": (Words(), "words"),
    "tied": (Tied(), "words"),
    "recurrent": (Recurrent(), "vectors"),
}
NAMES = [*LINEN, "nnx", "plain"]


def network(name):
    """`apply_fn`, parameters and inputs as NumPy, float64; always the same."""
    with jax.enable_x64(False):
        return _network(name)


def _network(name):
    inputs = _inputs()
    if name == "nnx":
        fn, params = _nnx()
        return fn, _numpy(params), inputs["vectors"]
    if name == "plain":
        keys = jax.random.split(jax.random.key(0))
        weights = [
            jax.random.normal(k, s) for k, s in zip(keys, [(5, 7), (3, 7)], strict=True)
        ]
        return _ntk_scaled, _numpy(weights), inputs["vectors"]
    module, kind = LINEN[name]
    x = jnp.asarray(inputs[kind][:1])
    params = jax.jit(module.init)(jax.random.key(0), x)["params"]
    return models.apply_fn(module), _numpy(params), inputs[kind]


def cast(tree, dtype):
    """Real leaves as `dtype`, complex ones as its pair, the others as they are."""
    pair = np.complex128 if dtype == np.float64 else np.complex64

    def one(a):
        if jnp.issubdtype(a.dtype, jnp.complexfloating):
            return jnp.asarray(a, pair)
        if jnp.issubdtype(a.dtype, jnp.floating):
            return jnp.asarray(a, dtype)
        return a if jnp.issubdtype(a.dtype, jax.dtypes.extended) else jnp.asarray(a)

    return jax.tree.map(one, tree)


def jacobians(fn, params, x):
    """All outputs' gradients in float64, `(n, outputs, parameters)`.

    Real and imaginary parts of complex parameters are parameters each.
    """
    leaves, tree = jax.tree.flatten(params)
    kind = lambda a, kinds: jnp.issubdtype(a.dtype, kinds)
    real = {i: a for i, a in enumerate(leaves) if kind(a, jnp.floating)}
    pairs = {i: a for i, a in enumerate(leaves) if kind(a, jnp.complexfloating)}
    parts = real, {i: jnp.real(a) for i, a in pairs.items()}
    parts = (*parts, {i: jnp.imag(a) for i, a in pairs.items()})

    def alone(parts, xi):
        real, re, im = parts
        moved = {**real, **{i: re[i] + 1j * im[i] for i in re}}
        whole = [moved.get(i, a) for i, a in enumerate(leaves)]
        return fn(jax.tree.unflatten(tree, whole), xi[None])[0]

    def one(xi):
        grads = jax.tree.leaves(jax.jacrev(alone)(parts, xi))
        return jnp.concatenate([g.reshape(g.shape[0], -1) for g in grads], 1)

    return np.asarray(jax.jit(jax.vmap(one))(x))


def _numpy(tree):
    return jax.tree.map(lambda a: np.asarray(a, np.float64), tree)
