"""Many trainings by one program: against one at a time, against the clock, and pyDVL.

    python benchmarks/retraining.py lanes          # 64 coalitions at once, or in turn
    python benchmarks/retraining.py leave-one-out  # 11 coalitions, 100 epochs, 3 seeds
    python benchmarks/retraining.py logistic       # logistic regression through pyDVL

`lanes` trains 64 coalitions of digits by the same jitted run, one by one and vmapped,
with the paper's CNN and with a small dense network, and prints seconds, their ratio and
the memory the compiled program asks for. `leave-one-out` must take under 3 minutes on
two cores. `logistic` values 100 points on 200 by permutations, each library on one
core in a process of its own; claim: 25 times fewer CPU seconds at the same utility.
pyDVL needs an environment of its own, made by the first run (see against_pydvl.py).
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
from against_pydvl import ONE_THREAD, pydvl_python


def digits_data(each):
    """Digits dealt to ten owners of one class each, and the other images."""
    import jax

    from jaxval import datasets

    split = datasets.digits(jax.random.key(0), 500)
    mine = datasets.by_class(split.x_train, split.y_train, (each,) * 10)
    return mine, split.x_valid, split.y_valid


def clock(task):
    """Wall and CPU seconds of the second call, after the compiling one."""
    task()
    wall, cpu = time.perf_counter(), time.process_time()
    task()
    return time.perf_counter() - wall, time.process_time() - cpu


def lanes(count=64, epochs=3):
    """One by one against 8 and 64 vmapped runs."""
    import jax

    from jaxval import models
    from jaxval.training import from_module, on_cpu

    data, _, _ = digits_data(80)
    masks = np.random.default_rng(0).random((count, 10)) < 0.5
    cpu = jax.default_backend() == "cpu"
    modules = {"CNN": models.cnn(), "MLP 128-128": models.mlp((128, 128), 10)}
    for name, module in modules.items():
        network = from_module(module, data.x)
        ours = on_cpu(network) if cpu else network
        compare(name, ours, data, masks, (8, count), epochs)
        if cpu and name == "CNN":
            # They are so much slower that eight coalitions must do.
            compare(f"{name}, XLA's own", network, data, masks[:8], (8,), epochs)
    return True


def compare(name, network, data, masks, widths, epochs):
    """Prints seconds and memory for these coalitions, in turn and several at once."""
    import jax
    import jax.numpy as jnp

    from jaxval.training import Recipe, train

    x, y, owner = map(jnp.asarray, (data.x, data.y, data.owner))
    start, recipe = network.init(jax.random.key(0)), Recipe(epochs=epochs)
    masks = jnp.asarray(masks)
    ordered = masks[jnp.argsort(masks.sum(1))]

    def one(mask):
        rows = mask[owner]
        return train(jax.random.key(0), network, start, x, y, rows, recipe).loss

    def row(label, fn, chunks, base=None):
        run = lambda: [jax.block_until_ready(fn(chunk)) for chunk in chunks]
        wall, spent = clock(run)
        print(
            f"{name:20} {len(masks):3} coalitions, {label:12} {wall:7.2f} s wall "
            f"{spent:7.2f} s CPU, {(base or wall) / wall:5.2f}x as fast, "
            f"{bytes_of(fn, chunks[0]) / 2**20:7.1f} MiB",
            flush=True,
        )
        return wall

    base = row("one by one", jax.jit(one), masks)
    forward = jax.jit(network.apply).lower(start, x[:128]).compile().cost_analysis()
    steps = epochs * np.ceil(np.asarray(masks)[:, owner].sum(1) / 128).sum()
    # Forwards and backwards together cost about three forwards.
    share = 3 * forward["flops"] * steps / base / matrix_product_rate()
    print(f"{name:20} one by one: {share:.0%} of the float32 matrix product's rate")
    for width in widths:
        chunks = ordered.reshape(-1, width, masks.shape[1])
        row(f"{width} vmapped", jax.jit(jax.vmap(one)), chunks, base)


def matrix_product_rate(size=2000):
    """Operations a second of a large float32 matrix product."""
    import jax
    import jax.numpy as jnp

    product, a = jax.jit(jnp.matmul), jnp.ones((size, size), jnp.float32)
    wall, _ = clock(lambda: [product(a, a).block_until_ready() for _ in range(5)])
    return 5 * 2 * size**3 / wall


def bytes_of(fn, *args):
    """Temporary memory of the compiled program."""
    return fn.lower(*args).compile().memory_analysis().temp_size_in_bytes


def leave_one_out():
    """Ten one-class contributors of digits, 100 epochs, 3 seeds: under 3 minutes."""
    import jax

    from jaxval import models
    from jaxval.coalitions import masks
    from jaxval.games.retraining import seed_scores
    from jaxval.training import Recipe, from_module
    from jaxval.types import Points

    data, x_valid, y_valid = digits_data(100)
    start, cpu = time.perf_counter(), time.process_time()
    scores = seed_scores(
        jax.random.key(0),
        data,
        Points(x_valid, y_valid),
        from_module(models.cnn(), data.x),
        Recipe(epochs=100),
        seeds=3,
    )(np.asarray(masks.leave_one_out(10)))
    wall = time.perf_counter() - start
    print(
        f"33 trainings of {len(data.y)} images, 100 epochs: {wall:.1f} s wall "
        f"(claim: 180), {time.process_time() - cpu:.1f} s CPU, compilation included"
    )
    values = scores[:1] - scores[1:]
    print("leave-one-out values:", values.mean(1).round(3).tolist())
    return wall < 180


def points():
    """100 training and 200 validation points of digits."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(x))[:300]
    x, y = x[rows] / 16.0, y[rows]
    return x[:100], y[:100], x[100:], y[100:]


def jaxval_logistic(permutations):
    """CPU seconds of the walk, compiled beforehand and not, and the utility's error."""
    import jax
    import jax.numpy as jnp
    from sklearn.linear_model import LogisticRegression

    from jaxval import Dataset, semivalues
    from jaxval.games.linear_models import logistic
    from jaxval.types import Points

    x, y, x_valid, y_valid = points()
    game = logistic(Dataset(x, y, np.arange(100)), Points(x_valid, y_valid))
    walk = semivalues.permutation.permutation_sampling(100)
    until = semivalues.stopping.units(permutations)
    seconds = []
    for seed in range(2):
        start = time.process_time()
        semivalues.run(jax.random.key(seed), walk, game, until=until)
        seconds.append(time.process_time() - start)
    rng = np.random.default_rng(1)
    coalitions = rng.random((1000, 100)) < rng.uniform(0.1, 1.0, (1000, 1))
    ours = jax.jit(lambda g, m: g.scores(m))(game, jnp.asarray(coalitions))

    def theirs(**options):
        fits = (LogisticRegression(**options).fit(x[s], y[s]) for s in coalitions)
        return np.array([fit.score(x_valid, y_valid) for fit in fits])

    usual, optimum = theirs(max_iter=1000), theirs(max_iter=10_000, tol=1e-8)
    apart = lambda a, b: float(200 * np.abs(np.asarray(a) - b).mean())
    return {
        "first": seconds[0],
        "seconds": seconds[1],
        "off": apart(ours, usual),
        "off_optimum": apart(ours, optimum),
        "their_off_optimum": apart(usual, optimum),
    }


def pydvl_logistic(permutations):
    """CPU seconds of the same walk by pyDVL and scikit-learn."""
    import warnings

    from pydvl.valuation import Dataset, MaxUpdates
    from pydvl.valuation.methods import ShapleyValuation
    from pydvl.valuation.samplers import PermutationSampler
    from pydvl.valuation.scorers import SupervisedScorer
    from pydvl.valuation.utility import ModelUtility
    from sklearn.linear_model import LogisticRegression

    warnings.simplefilter("ignore")
    x, y, x_valid, y_valid = points()
    scorer = SupervisedScorer("accuracy", Dataset(x_valid, y_valid), default=0.0)
    utility = ModelUtility(LogisticRegression(max_iter=1000), scorer)
    start = time.process_time()
    ShapleyValuation(
        utility, PermutationSampler(seed=0), MaxUpdates(permutations), progress=False
    ).fit(Dataset(x, y))
    return {"seconds": time.process_time() - start}


def logistic(env, permutations, peer_permutations):
    """Both libraries on one core, in turn; the peer on fewer permutations, scaled."""
    python = pydvl_python(pathlib.Path(env).absolute())
    theirs = measure(python, "pydvl", peer_permutations)
    ours = measure(sys.executable, "jaxval", permutations)
    expected = theirs["seconds"] * permutations / peer_permutations
    ratio = expected / ours["seconds"]
    print(
        f"pyDVL {theirs['seconds']:.1f} CPU s for {peer_permutations} permutations "
        f"({expected:.1f} for {permutations}); jaxval {ours['seconds']:.2f} for "
        f"{permutations} ({ours['first']:.2f} with compilation): {ratio:.0f}x "
        f"(claim 25x); utilities of 1,000 coalitions differ by {ours['off']:.2f} of "
        "200 validation points on average (claim: at most 1), and from the optimum "
        f"(tolerance 1e-8) ours by {ours['off_optimum']:.2f}, scikit-learn's usual "
        f"ones by {ours['their_off_optimum']:.2f}"
    )
    return ratio >= 25 and ours["off"] <= 1


def measure(python, name, permutations):
    """One library's numbers, from a process of its own on one core."""
    command = [python, __file__, f"worker-{name}", "--permutations", permutations]
    done = subprocess.run(
        list(map(str, command)),
        env={**os.environ, **ONE_THREAD},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main():
    workers = {"worker-jaxval": jaxval_logistic, "worker-pydvl": pydvl_logistic}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "part", choices=["lanes", "leave-one-out", "logistic", *workers]
    )
    parser.add_argument("--env", default=".venv-pydvl")
    parser.add_argument("--permutations", type=int, default=100)
    parser.add_argument("--peer-permutations", type=int, default=100)
    args = parser.parse_args()
    if args.part in workers:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        print(json.dumps(workers[args.part](args.permutations)))
        return None
    if args.part == "logistic":
        kept = logistic(args.env, args.permutations, args.peer_permutations)
    else:
        kept = {"lanes": lanes, "leave-one-out": leave_one_out}[args.part]()
    return None if kept else 1


if __name__ == "__main__":
    sys.exit(main())
