import dataclasses
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from valuation.pets import rows_of, write

from jaxval.runner.contract import SILENT
from jaxval.valuation import command as value
from jaxval.valuation import enumeration, over_seeds


def test_a_killed_run_goes_on_to_the_same_file(tmp_path):
    """`kill -9` in the middle, the same command again: the identical CSV."""
    path = write(tmp_path / "many.csv", rows_of(200, owners=40))
    command = [
        sys.executable, "-m", "jaxval.experiments", "value", str(path), "--target",
        "kind", "--owner", "who", "--game", "discrepancy", "--budget", "1000000",
        "--out",
    ]  # fmt: skip
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    victim = subprocess.Popen([*command, str(tmp_path / "killed")], **quiet)
    scratch = tmp_path / "killed" / "value"
    deadline = time.monotonic() + 120
    while not list(scratch.glob("*.partial/*/*.npz")) and victim.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert victim.poll() is None, "the run was over before it could be killed"
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    assert not list(scratch.glob("*/values.csv"))
    for folder in ("killed", "whole"):
        done = subprocess.run(
            [*command, str(tmp_path / folder)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    (one,) = scratch.glob("*/values.csv")
    (other,) = (tmp_path / "whole" / "value").glob("*/values.csv")
    assert one.read_bytes() == other.read_bytes()
    assert not list(scratch.glob("*.partial"))


def test_a_finished_seed_is_not_enumerated_again(tmp_path, monkeypatch):
    path = write(tmp_path / "few.csv", rows_of(60, owners=3))
    config = value.Config(data=path, target="kind", owner="who", game="knn", seeds=1)
    notes = []
    context = dataclasses.replace(
        SILENT, scratch=tmp_path / "partial", note=notes.append
    )
    first = value.run(config, context)
    forbidden = lambda *args, **kwargs: pytest.fail("scored again")
    monkeypatch.setattr(enumeration, "exact_values", forbidden)
    monkeypatch.setattr(over_seeds, "_baselines", lambda *args: {"random": np.ones(3)})
    again = value.run(config, context)
    assert "resuming: 1 of 1 parts are there" in notes[-1]
    np.testing.assert_array_equal(first.arrays["draws"], again.arrays["draws"])
