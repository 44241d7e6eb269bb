"""The same values of the same games by jaxval and by pyDVL, in CPU seconds.

Three computations on one Gram matrix of scikit-learn's digits (100 training rows, 200
validation rows): Shapley values of the rows by 100 permutations under kernel
regression, their Banzhaf values by maximum sample reuse, and exact Shapley values of
12 contributors under the complexity of DAVINZ. Both run on one thread of one core, in
turn, in processes of their own; compilation is printed apart.

"permutations" gives pyDVL scikit-learn's `KernelRidge` on the precomputed kernel, as
its users would; every other line, "lean" included, a utility written for speed with
SciPy's Cholesky.

pyDVL needs NumPy below 2, so the script makes an environment for it (once).

    python benchmarks/against_pydvl.py [--env .venv-pydvl] [--rounds 3]
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "JAX_PLATFORMS": "cpu",
}
RIDGE, ZETA = 1e-2, 1e-2
NUM_PERMUTATIONS, NUM_COALITIONS, NUM_OWNERS = 100, 1000, 12
CLAIMS = {
    "permutations": 200,
    "permutations (lean)": 15,
    "msr_banzhaf": 30,
    "exact_shapley": 300,
}


def problem():
    """An RBF Gram matrix at the median distance, one-hot classes and owners."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(x))[:300]
    x, y = x[rows] / 16.0, y[rows]
    squares = ((x[:, None] - x[None]) ** 2).sum(-1)
    gram = np.exp(-squares / np.median(squares))
    train, valid = np.arange(100), np.arange(100, 300)
    return {
        "gram": gram[np.ix_(train, train)],
        "gram_valid": gram[np.ix_(valid, train)],
        "y": np.eye(10)[y[train]],
        "y_valid": np.eye(10)[y[valid]],
        "owner": np.random.default_rng(1).permutation(np.arange(100) % NUM_OWNERS),
    }


def spent(task):
    """A task's answer and the CPU seconds of this process that it took."""
    start = time.process_time()
    return task(), time.process_time() - start


def jaxval_worker(data, rounds):
    """First (compiled on the way) and best later CPU seconds of each task."""
    import jax

    from jaxval import semivalues
    from jaxval.games import davinz, kernel_regression

    game = kernel_regression.kernel_regression(
        *(data[k] for k in ("gram", "gram_valid", "y", "y_valid")), penalty=RIDGE
    )
    complexity = davinz.complexity(data["gram"], np.ones(100), data["owner"], zeta=ZETA)
    until = semivalues.stopping.units
    walk = semivalues.permutation.permutation_sampling(100)
    reuse = semivalues.sample_reuse.msr(100, coalitions=50)
    tasks = {
        "permutations": lambda seed: semivalues.run(
            jax.random.key(seed), walk, game, until=until(NUM_PERMUTATIONS), every=50
        ),
        "msr_banzhaf": lambda seed: semivalues.run(
            jax.random.key(seed), reuse, game, until=until(NUM_COALITIONS)
        ),
        "exact_shapley": lambda seed: semivalues.exact.values(complexity),
    }
    results = {}
    for name, task in tasks.items():
        (_, first), later = spent(lambda t=task: t(0)), []
        for seed in range(1, rounds + 1):
            estimate, seconds = spent(lambda t=task, s=seed: t(s))
            later.append(seconds)
        results[name] = {
            "first": first,
            "seconds": min(later),
            "values": np.asarray(estimate.values).tolist(),
            "stderr": np.asarray(estimate.stderr).tolist(),
        }
    results["permutations (lean)"] = results["permutations"]
    return results


def pydvl_worker(data, rounds):
    """The same by pyDVL."""
    from pydvl.valuation import Dataset, MaxChecks, MaxUpdates, NoStopping
    from pydvl.valuation.methods import MSRBanzhafValuation, ShapleyValuation
    from pydvl.valuation.samplers import DeterministicUniformSampler, PermutationSampler
    from pydvl.valuation.utility.base import UtilityBase
    from scipy.linalg import cho_factor, cho_solve
    from sklearn.kernel_ridge import KernelRidge

    gram, gram_valid, y = data["gram"], data["gram_valid"], data["y"]
    right = data["y_valid"].argmax(1)

    def accuracy(rows):
        if not len(rows):
            return 0.1
        h = gram[np.ix_(rows, rows)]
        h.flat[:: len(rows) + 1] += RIDGE
        dual = cho_solve(cho_factor(h, lower=True, check_finite=False), y[rows])
        return float(((gram_valid[:, rows] @ dual).argmax(1) == right).mean())

    def by_estimator(rows):
        if not len(rows):
            return 0.1
        model = KernelRidge(alpha=RIDGE, kernel="precomputed")
        model.fit(gram[np.ix_(rows, rows)], y[rows])
        return float((model.predict(gram_valid[:, rows]).argmax(1) == right).mean())

    def complexity(owners):
        rows = np.flatnonzero(np.isin(data["owner"], owners))
        if not len(rows):
            return 0.0
        h = gram[np.ix_(rows, rows)]
        h.flat[:: len(rows) + 1] += ZETA
        ones = np.ones(len(rows))
        dual = cho_solve(cho_factor(h, lower=True, check_finite=False), ones)
        return float(np.sqrt(ones @ dual / len(rows)))

    class Utility(UtilityBase):
        def __init__(self, fn):
            self.fn = fn

        def __call__(self, sample):
            return self.fn(np.asarray(sample.subset, int) if sample else np.array([]))

    def fit(make, players):
        points = Dataset(np.zeros((players, 1)), np.arange(players))
        return make().fit(points).result

    def exact():
        sampler = DeterministicUniformSampler()
        return ShapleyValuation(
            Utility(complexity), sampler, NoStopping(sampler), progress=False
        )

    def walks(utility):
        return ShapleyValuation(
            Utility(utility),
            PermutationSampler(seed=0),
            MaxUpdates(NUM_PERMUTATIONS),
            progress=False,
        )

    def reuse():
        return MSRBanzhafValuation(
            Utility(accuracy), MaxChecks(NUM_COALITIONS), seed=0, progress=False
        )

    tasks = {
        "permutations": (lambda: walks(by_estimator), 100),
        "permutations (lean)": (lambda: walks(accuracy), 100),
        "msr_banzhaf": (reuse, 100),
        "exact_shapley": (exact, NUM_OWNERS),
    }
    results = {}
    for name, (make, players) in tasks.items():
        answer, seconds = spent(lambda m=make, p=players: fit(m, p))
        results[name] = {
            "seconds": seconds,
            "values": np.asarray(answer.values).tolist(),
        }
    return results


def worker(name, path, rounds):
    """Measure one library in this process, on one core, and print JSON."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    data = dict(np.load(path))
    run = {"jaxval": jaxval_worker, "pydvl": pydvl_worker}[name]
    print(json.dumps(run(data, rounds)))


def pydvl_python(folder):
    """The interpreter of an environment with pyDVL, made on the first call."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        print(f"making an environment for pyDVL in {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    ready = subprocess.run([python, "-c", "import pydvl"], capture_output=True)
    if ready.returncode:
        pip = [python, "-m", "pip", "install", "-q", "pydvl==0.10.0", "numpy<2"]
        subprocess.run(pip, check=True)
    return python


def measure(python, name, path, rounds):
    """One library's numbers, from a process of its own."""
    command = [python, __file__, "--worker", name, "--data", path]
    done = subprocess.run(
        [*map(str, command), "--rounds", str(rounds)],
        env={**os.environ, **ONE_THREAD},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def report(ours, theirs):
    """One line a task; false if a claim isn't met."""
    print(f"{'':19} {'pyDVL':>9} {'jaxval':>9} {'first call':>10} {'ratio':>7} agree")
    kept = True
    for name, claim in CLAIMS.items():
        a, b = ours[name], theirs[name]
        ratio = b["seconds"] / a["seconds"]
        x, y = np.array(a["values"]), np.array(b["values"])
        agree = f"r = {np.corrcoef(x, y)[0, 1]:.4f}, max |d| = {abs(x - y).max():.1e}"
        if max(a["stderr"]) > 0:
            z = (x - y) / (np.sqrt(2) * np.array(a["stderr"]))
            agree += f", rms z = {np.sqrt(np.mean(z**2)):.2f}"
        kept &= ratio >= claim and b["seconds"] > a["first"]
        print(
            f"{name:19} {b['seconds']:8.2f}s {a['seconds']:8.3f}s {a['first']:9.2f}s "
            f"{ratio:6.0f}x {agree} (claim {claim}x)"
        )
    return kept


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", type=pathlib.Path, default=".venv-pydvl")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", choices=["jaxval", "pydvl"])
    parser.add_argument("--data")
    args = parser.parse_args()
    if args.worker:
        return worker(args.worker, args.data, args.rounds)
    python = pydvl_python(pathlib.Path(args.env).absolute())
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "problem.npz")
        np.savez(path, **problem())
        theirs = measure(python, "pydvl", path, 1)
        ours = measure(sys.executable, "jaxval", path, args.rounds)
    return None if report(ours, theirs) else 1


if __name__ == "__main__":
    sys.exit(main())
