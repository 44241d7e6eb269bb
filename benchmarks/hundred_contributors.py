"""DAVINZ Shapley values of a hundred contributors: 1,000 orders in under 4 minutes.

2,000 images from 100 contributors of ascending sizes (2 to 38 rows each). The score is
DAVINZ, the complexity by one Cholesky factorisation of the whole 2,000 x 2,000 tangent
kernel for each order (all 101 prefixes from it), the discrepancy by kernel sums.

    python benchmarks/hundred_contributors.py --out results/hundred
    python benchmarks/hundred_contributors.py --out results/hundred --resume
    python benchmarks/hundred_contributors.py --self-test

`--resume` continues a run that was cut off, to the identical table. `--self-test` shows
it: it runs once undisturbed, once killed by SIGKILL in the middle and resumed, and
compares the two CSV files byte by byte.
"""

import argparse
import csv
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np

PLAYERS, ROWS = 100, 2000


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default="results/hundred")
    parser.add_argument("--permutations", type=int, default=1000)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--every", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--die-after", type=int, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def images():
    """The digits of scikit-learn, and enough of them shifted by a pixel to fill up."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = x.reshape(-1, 8, 8) / 16.0
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order], y[order]
    more = ROWS + 200 - len(x)
    x = np.concatenate([x, np.roll(x[:more], 1, axis=2)]).reshape(-1, 64)
    return x, np.concatenate([y, y[:more]])


def owners():
    """Contributors of ascending size, 2,000 rows in all."""
    sizes = np.linspace(2, 38, PLAYERS).round().astype(int)
    sizes[-1] += ROWS - sizes.sum()
    return np.repeat(np.arange(PLAYERS), sizes)


def problem(folder, seed):
    """Tangent kernel and residual, computed once and kept for a resumed run."""
    from jaxval.kernels import readouts, tangent

    kept = folder / "problem.npz"
    if kept.exists():
        with np.load(kept) as file:
            return dict(file)
    x, y = images()
    target = np.where(y % 2 == 1, 1.0, -1.0)
    hidden, out = jax.random.split(jax.random.key(seed))
    params = (jax.random.normal(hidden, (64, 256)), jax.random.normal(out, (256, 1)))
    rows = x[:ROWS].astype(np.float32)
    gram = tangent.gram(_network, params, rows, readout=readouts.single_output)
    left = target[:ROWS] - np.asarray(_network(params, rows))[:, 0]
    found = {"gram": np.asarray(gram), "residual": left, "x": rows, "valid": x[ROWS:]}
    partial = folder / "partial.npz"
    np.savez(partial, **found)
    os.replace(partial, kept)
    return found


def _network(params, x):
    first, second = params
    return jax.nn.relu(x @ first / 8.0) @ second / 16.0


def davinz_game(found):
    from jaxval.games import davinz
    from jaxval.kernels.mmd import kernel_sums, rbf_ladder
    from jaxval.kernels.pairwise import median_distance

    owner = owners()
    whole = davinz.complexity(
        found["gram"], found["residual"], owner, zeta=1e-2, relative=True
    )
    ladder = rbf_ladder(median_distance(found["x"], found["valid"]))
    sums = kernel_sums(found["x"], owner, found["valid"], ladder)
    return davinz.davinz(whole, davinz.discrepancy(sums), kappa=1.0).game


def write(path, estimate, outcome):
    from jaxval.semivalues import intervals

    low, high = intervals.student(estimate)
    sure = intervals.rank_confidence(estimate, outcome.covariance)
    order = np.argsort(-estimate.values)
    beats_next = {order[k]: sure[order[k], order[k + 1]] for k in range(PLAYERS - 1)}
    sizes = np.bincount(owners())
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="") as file:
        out = csv.writer(file)
        names = "contributor rows value stderr low95 high95 permutations beats_next"
        out.writerow(names.split())
        for i in range(PLAYERS):
            numbers = (estimate.values[i], estimate.stderr[i], low[i], high[i])
            beats = beats_next.get(i)
            last = "" if beats is None else repr(float(beats))
            told = [repr(float(number)) for number in numbers]
            out.writerow([i, sizes[i], *told, estimate.counts[i], last])
    os.replace(partial, path)


def value(options):
    from jaxval.execution.options import Execution
    from jaxval.execution.parallel import device_mesh
    from jaxval.semivalues import permutation, run, stopping

    options.out.mkdir(parents=True, exist_ok=True)
    checkpoint = options.out / "run.npz"
    if not options.resume:
        for old in ("run.npz", "problem.npz", "values.csv"):
            (options.out / old).unlink(missing_ok=True)
    begun = time.perf_counter()
    game = davinz_game(problem(options.out, options.seed))
    print(f"Gram matrix and kernel sums: {time.perf_counter() - begun:.1f} s")

    def progress(status):
        mean = status.estimate.stderr.mean()
        print(
            f"\r{status.steps:5d} orders  mean stderr {mean:.2e}  "
            f"{status.seconds:6.1f} s",
            end="",
            flush=True,
        )
        if options.die_after is not None and status.steps >= options.die_after:
            os.kill(os.getpid(), signal.SIGKILL)

    mesh = device_mesh(options.devices) if options.devices > 1 else None
    cpu, begun = time.process_time(), time.perf_counter()
    outcome = run(
        jax.random.key(options.seed),
        permutation.permutation_sampling(PLAYERS),
        game,
        until=stopping.units(options.permutations),
        every=options.every,
        checkpoint=checkpoint,
        execution=Execution(mesh=mesh),
        progress=progress,
    )
    wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    write(options.out / "values.csv", outcome.estimate, outcome)
    values, worth = outcome.estimate.values, float(outcome.estimate.values.sum())
    print(
        f"\n{outcome.steps} orders: {wall:.1f} s here ({cpu:.1f} s CPU), "
        f"{outcome.seconds:.1f} s in all; sum of values {worth:.6f}, correlation with "
        f"size {np.corrcoef(values, np.bincount(owners()))[0, 1]:.3f}\n"
        f"wrote {options.out / 'values.csv'}"
    )


def self_test(options):
    """Killed in the middle and resumed, against undisturbed."""
    folder = pathlib.Path(tempfile.mkdtemp())
    orders = min(options.permutations, 60)
    common = [sys.executable, __file__, "--permutations", str(orders)]
    common += ["--every", "5", "--devices", str(options.devices)]
    go = lambda *rest: subprocess.run([*common, *map(str, rest)]).returncode
    try:
        if go("--out", folder / "whole") != 0:
            return 1
        killed = go("--out", folder / "cut", "--die-after", orders // 2)
        print(f"\nkilled in the middle: exit status {killed}")
        if killed != -signal.SIGKILL or go("--out", folder / "cut", "--resume") != 0:
            return 1
        one, two = (folder / run / "values.csv" for run in ("whole", "cut"))
        same = one.read_bytes() == two.read_bytes()
        print("identical CSV" if same else "THE CSV FILES DIFFER")
        return 0 if same else 1
    finally:
        shutil.rmtree(folder)


def main():
    options = parse()
    if options.devices > 1:
        jax.config.update("jax_num_cpu_devices", options.devices)
    if options.self_test:
        return self_test(options)
    value(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
