"""Exact tangent Gram matrices: many times faster than Jacobians, near the matmul rate.

    python benchmarks/tangent_gram.py [--only mlp10 cnn resnet18 mlp10-rate ...]

The first three compare with neural-tangents' default implementation (Jacobian
contraction, vectorised over samples) in this process: the same network, parameters,
samples and readout. The last two give the fraction of the machine's own float32
matrix-product rate, measured in the same run, that the operations of the best route
come to. They count a symmetric matrix's products once, the forward and the backward
pass of the network, and nothing else. Compilation is timed apart; every time is the
best of `--repeats`, the checks that `tangent.gram` makes of itself included.
"""

import argparse
import resource
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxval import models
from jaxval.kernels import readouts, tangent
from jaxval.kernels.layers.capture import capture
from jaxval.kernels.neural_tangents import engine as neural_tangents_engine
from jaxval.types import Points


class Problem(NamedTuple):
    """A network, and samples of its shape."""

    module: object
    shape: tuple[int, ...]
    rows: int
    readout: object


PEERS = {
    "mlp10": Problem(models.mlp([512] * 10, 1), (64,), 256, readouts.single_output),
    "cnn": Problem(models.cnn(), (28, 28, 1), 512, readouts.true_class_logit),
    "resnet18": Problem(models.resnet18(), (32, 32, 3), 64, readouts.true_class_logit),
}
RATES = {
    "mlp10-rate": PEERS["mlp10"]._replace(rows=4096),
    "resnet18-rate": PEERS["resnet18"]._replace(rows=96),
}


class Timing(NamedTuple):
    """Seconds of the first call and of the best later one; its processor seconds."""

    first: float
    wall: float
    cpu: float


def time_calls(fn, repeats):
    """Run `fn` once to compile it, then `repeats` times."""
    start = time.perf_counter()
    result = jax.block_until_ready(fn())
    first, best, cpu = time.perf_counter() - start, np.inf, np.inf
    for _ in range(repeats):
        start, used = time.perf_counter(), processor_seconds()
        result = jax.block_until_ready(fn())
        best = min(best, time.perf_counter() - start)
        cpu = min(cpu, processor_seconds() - used)
    return Timing(first - best, best, cpu), result


def processor_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def matmul_rate(size=2048):
    """Float32 operations a second of a square matrix product, wall and processor."""
    a = jax.random.normal(jax.random.key(0), (size, size))
    product = jax.jit(lambda a: jnp.matmul(a, a, precision="highest"))
    timing, _ = time_calls(lambda: product(a), 8)
    return 2 * size**3 / timing.wall, 2 * size**3 / timing.cpu


def arguments(problem):
    data_key, init_key = jax.random.split(jax.random.key(0))
    x = jax.random.normal(data_key, (problem.rows, *problem.shape))
    params = models.init(init_key, problem.module, x)
    classes = jnp.arange(problem.rows) % 10
    return models.apply_fn(problem.module), params, Points(x, classes)


def operations(problem, args):
    """Of both passes, and of every weight's cheapest route, symmetric pairs once."""
    fn, params, (x, y) = args
    captured = lambda p, x, y: capture(fn, p, (problem.readout,), x, y)
    _, weights = jax.eval_shape(captured, params, x, y)
    n, total = problem.rows, 0
    pairs = n * (n + 1) // 2
    for weight in weights:
        groups, positions, inputs, outputs = weight.sizes
        layer = 2 * groups * positions * inputs * outputs
        by_pairs = pairs * groups * positions**2 * 2 * (inputs + outputs + 1)
        by_gradients = n * layer + pairs * 2 * groups * inputs * outputs
        total += 2 * n * layer + min(by_pairs, by_gradients)
    return total


def against_peer(name, problem, repeats):
    args = arguments(problem)
    ours, gram = time_calls(
        lambda: tangent.gram(*args, readout=problem.readout), repeats
    )
    theirs, peer = time_calls(
        lambda: neural_tangents_engine.gram(*args, readout=problem.readout),
        min(repeats, 2),
    )
    gap = float(jnp.abs(gram - peer).max() / jnp.abs(peer).max())
    print(
        f"{name} N={problem.rows}: jaxval {ours.wall:.4g} s, neural-tangents "
        f"{theirs.wall:.4g} s: {theirs.wall / ours.wall:.1f}x (processor seconds "
        f"{ours.cpu:.4g} and {theirs.cpu:.4g}: {theirs.cpu / ours.cpu:.1f}x); "
        f"compilation {ours.first:.1f} s and {theirs.first:.1f} s; largest difference "
        f"{gap:.1e} of the largest entry",
        flush=True,
    )


def against_matmul(name, problem, repeats):
    args = arguments(problem)
    count = operations(problem, args)
    before = matmul_rate()
    timing, _ = time_calls(
        lambda: tangent.gram(*args, readout=problem.readout), repeats
    )
    wall, cpu = (max(pair) for pair in zip(before, matmul_rate(), strict=True))
    print(
        f"{name} N={problem.rows}: {count / 1e9:.4g} Gflop in {timing.wall:.4g} s = "
        f"{count / timing.wall / 1e9:.4g} Gflop/s, {count / timing.wall / wall:.2f} of "
        f"the matrix product's {wall / 1e9:.4g} (by processor seconds: "
        f"{count / timing.cpu / cpu:.2f}); compilation {timing.first:.1f} s",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=[*PEERS, *RATES])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}", flush=True)
    for name in options.only or [*PEERS, *RATES]:
        if name in PEERS:
            against_peer(name, PEERS[name], options.repeats)
        else:
            against_matmul(name, RATES[name], options.repeats)


if __name__ == "__main__":
    main()
