"""Claim: EcoVal at its paper's scale, baselines included, takes minutes on two cores.

One draw: 200 points, 2,000 test points (half for the utility, half held out), 30
clusters, TMC Shapley with 600 permutations, Distributional Shapley, and the curves of
figures 2 and 3 with 10,000 unseen points, from a data folder:

    python benchmarks/ecoval_paper_scale.py --data mnist --data-dir FOLDER

Without a data folder, the same on scikit-learn's digits with 400 unseen points. Prints
the training runs that each method made beside the paper's own reckoning (figure 1).
"""

import argparse
import contextlib
import os
import pathlib
import time

from jaxval.experiments import ecoval_figures
from jaxval.reporting.tables import to_text
from jaxval.runner import contract

MINUTES = 10


def main() -> None:
    folder = os.environ.get("JAXVAL_DATA")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=["digits", "mnist", "cifar10"])
    parser.add_argument("--data-dir", type=pathlib.Path, default=folder)
    parser.add_argument("--iterations", type=int, default=600)
    parser.add_argument("--utility", choices=["logistic", "ridge"], default="logistic")
    given = parser.parse_args()
    config = ecoval_figures.Config(
        data=given.data or ("mnist" if given.data_dir else "digits"),
        data_dir=given.data_dir,
        iterations=given.iterations,
        utility=given.utility,
        draws=1,
    )
    started, processor = time.perf_counter(), time.process_time()
    result = ecoval_figures.run(
        config, contract.Context(note=print, progress=_progress)
    )
    wall, busy = time.perf_counter() - started, time.process_time() - processor
    for name in ("cost", "methods", "unseen", "hazards"):
        print(to_text(result.tables[name]), end="\n\n")
    print(
        f"{config.data}, {config.utility} utility: {wall:.0f} s of wall clock, "
        f"{busy:.0f} s of processor time, everything included"
    )
    verdict = "holds" if wall < 60 * MINUTES else "DOES NOT HOLD"
    print(f"under {MINUTES} minutes: {verdict}")


@contextlib.contextmanager
def _progress(title):
    """Say where the time goes, at each change of what is being done."""
    started, last = time.perf_counter(), [""]

    def update(done, total, status=""):
        if status != last[0]:
            last[0] = status
            print(f"{time.perf_counter() - started:6.0f} s  {status}", flush=True)

    yield update


if __name__ == "__main__":
    main()
