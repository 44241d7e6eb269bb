import os
import signal
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from jaxval.coalitions.game import Game
from jaxval.execution.options import Execution
from jaxval.execution.parallel import device_mesh
from jaxval.execution.precision import float64
from jaxval.semivalues import (
    CheckpointError,
    least_squares,
    merge,
    permutation,
    regression_adjustment,
    run,
    sample_reuse,
    truncated,
)

FOUR = Execution(mesh=device_mesh())

METHODS = {
    "permutation": permutation.permutation_sampling(6),
    "antithetic": permutation.antithetic(6),
    "truncated": truncated.tmc(6, permutations=4, patience=2),
    "msr": sample_reuse.msr(6),
    "adjusted": regression_adjustment.regression_adjusted(6),
    "kernel_shap": least_squares.kernel_shap(6),
}


def game(seed=0):
    a = float64(np.random.default_rng(seed).normal(size=6))
    return Game(6, Partial(_score, a))


def _score(a, mask):
    return jnp.tanh(a @ mask.astype(a.dtype)) + 0.5


def after(steps):
    return lambda status: status.steps >= steps


def same(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("name", METHODS)
def test_resumed_to_the_bit(name, key, tmp_path):
    path, options = tmp_path / "run.npz", {"every": 4, "save_seconds": 0.0}
    whole = run(key, METHODS[name], game(), until=after(40), **options)
    for steps in (12, 28, 40):
        part = run(
            key, METHODS[name], game(), until=after(steps), checkpoint=path, **options
        )
    assert part.steps == whole.steps == 40
    assert part.num_evaluations == whole.num_evaluations
    same(part.state, whole.state)
    same(part.estimate, whole.estimate)


def test_truncated_walks_on_the_host_resume_to_the_bit(key, tmp_path):
    worth = lambda mask: float(np.tanh(mask @ np.arange(6.0)) + 0.5)
    on_host, path = Game(6, worth, on_host=True), tmp_path / "run.npz"
    method = truncated.tmc(6, permutations=4, patience=2, num_parallel=3)
    options = {"every": 4, "save_seconds": 0.0}
    whole = run(key, method, on_host, until=after(12), **options)
    for steps in (4, 12):
        part = run(key, method, on_host, until=after(steps), checkpoint=path, **options)
    assert part.num_evaluations == whole.num_evaluations
    same(part.state, whole.state)


def settling(goal, start, mask):
    """A fit by Newton's method for a root, which starts where the last one ended."""
    start = jnp.ones(()) if start is None else start
    target = 1.0 + goal @ mask.astype(goal.dtype)
    step = lambda _, x: (x + target / x) / 2
    root = jax.lax.fori_loop(0, 30, step, start.astype(goal.dtype))
    return root, root


def test_warm_walks_resume_to_the_bit_on_any_devices(key, tmp_path):
    goal = float64(np.random.default_rng(0).random(6))
    score = Partial(lambda goal, mask: settling(goal, None, mask)[1], goal)
    warm = Game(6, score, fast_step=Partial(settling, goal))
    path, options = tmp_path / "run.npz", {"every": 4, "save_seconds": 0.0}
    method = METHODS["truncated"]
    whole = run(key, method, warm, until=after(12), **options)
    for steps in (4, 12):
        part = run(key, method, warm, until=after(steps), checkpoint=path, **options)
    same(part.state, whole.state)
    four = run(key, method, warm, until=after(12), execution=FOUR, **options)
    same(four.state, whole.state)
    lanes = truncated.tmc(6, permutations=4, patience=2, num_parallel=3)
    many = run(key, lanes, warm, until=after(12), **options)
    assert many.num_evaluations == whole.num_evaluations
    np.testing.assert_allclose(many.estimate.values, whole.estimate.values, rtol=1e-12)


@pytest.mark.parametrize("name", ["permutation", "truncated", "msr"])
def test_one_device_or_four(name, key):
    one = run(key, METHODS[name], game(), until=after(16), every=8)
    four = run(key, METHODS[name], game(), until=after(16), every=8, execution=FOUR)
    np.testing.assert_array_equal(one.values, four.values)
    np.testing.assert_array_equal(one.stderr, four.stderr)


def test_steps_at_once_or_one_by_one(key):
    slow = run(key, METHODS["permutation"], game(), until=after(32))
    fast = run(
        key,
        METHODS["permutation"],
        game(),
        until=after(32),
        execution=Execution(batch_size=8),
    )
    np.testing.assert_allclose(slow.values, fast.values, rtol=1e-12)


@pytest.mark.parametrize("name", METHODS)
def test_merged_runs_count_exactly(name):
    method = METHODS[name]
    keys = jax.random.split(jax.random.key(1), 3)
    outs = [run(k, method, game(), until=after(40), every=8) for k in keys]
    total = merge(method, [out.state for out in outs])
    assert total.num_evaluations == sum(out.num_evaluations for out in outs)
    values = np.stack([out.estimate.values for out in outs])
    stderr = np.stack([out.estimate.stderr for out in outs])
    if name in ("permutation", "antithetic", "truncated"):
        np.testing.assert_allclose(total.estimate.values, values.mean(0), atol=1e-12)
        assert total.estimate.counts[0] == sum(o.estimate.counts[0] for o in outs)
    gap = np.abs(total.estimate.values - values.mean(0))
    assert (gap <= stderr.max(0) + 1e-9).all()
    assert (total.estimate.stderr < stderr.max(0) + 1e-12).all()


def test_merging_in_another_order_changes_rounding_only():
    method = METHODS["permutation"]
    keys = jax.random.split(jax.random.key(1), 3)
    states = [run(k, method, game(), until=after(16)).state for k in keys]
    a, b = merge(method, states), merge(method, states[::-1])
    np.testing.assert_allclose(a.estimate.stderr, b.estimate.stderr, rtol=1e-10)
    assert a.num_evaluations == b.num_evaluations


GAME = game()
CHANGES = {
    "key": {"key": jax.random.key(7)},
    "estimator": {"method": METHODS["antithetic"]},
    "game": {"game": game(1)},
    "tag": {"tag": "other"},
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_foreign_checkpoint_is_refused_and_left_alone(what, key, tmp_path):
    path = tmp_path / "run.npz"

    def go(method=METHODS["permutation"], game=GAME, key=key, tag=""):
        return run(key, method, game, until=after(8), checkpoint=path, tag=tag)

    go()
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=f"another run.*{what}"):
        go(**CHANGES[what])
    assert path.read_bytes() == before


def test_a_closure_is_told_apart_by_its_scores(key, tmp_path):
    path = tmp_path / "run.npz"
    go = lambda scale: run(
        key,
        METHODS["permutation"],
        Game(6, lambda mask: scale * mask.sum()),
        until=after(16),
        checkpoint=path,
    )
    go(1.0)
    with pytest.raises(CheckpointError, match="empty and the grand coalition"):
        go(2.0)


@pytest.mark.parametrize("damage", ["cut", "flip", "other"])
def test_a_damaged_checkpoint_is_refused_and_left_alone(damage, key, tmp_path):
    path = tmp_path / "run.npz"
    go = lambda: run(
        key, METHODS["permutation"], game(), until=after(16), checkpoint=path
    )
    go()
    whole = bytearray(path.read_bytes())
    if damage == "cut":
        whole = whole[: len(whole) // 2]
    elif damage == "flip":
        whole[len(whole) // 2] ^= 0xFF
    else:
        whole = bytearray(b"not a checkpoint")
    path.write_bytes(whole)
    with pytest.raises(CheckpointError, match="damaged"):
        go()
    assert path.read_bytes() == bytes(whole)
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]


KILLED = """
    import os, signal, sys
    import jax, jax.numpy as jnp, numpy as np
    from jaxval.semivalues import permutation, run
    from jaxval.coalitions.game import Game
    game = Game(6, lambda mask: jnp.tanh(mask @ jnp.arange(6.0)))
    def progress(status):
        if sys.argv[2] == "kill" and status.steps == 12:
            os.kill(os.getpid(), signal.SIGKILL)
    out = run(jax.random.key(0), permutation.permutation_sampling(6), game, every=4,
              until=lambda status: status.steps >= 24, checkpoint=sys.argv[1],
              save_seconds=0.0, progress=progress)
    print(out.values.tobytes().hex(), out.stderr.tobytes().hex())
"""


def test_killed_and_resumed_to_the_bit(tmp_path):
    def go(path, how):
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(KILLED), str(path), how],
            capture_output=True,
            text=True,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
        )

    killed = go(tmp_path / "a.npz", "kill")
    assert killed.returncode == -signal.SIGKILL
    resumed, whole = go(tmp_path / "a.npz", "on"), go(tmp_path / "b.npz", "on")
    assert resumed.returncode == whole.returncode == 0, resumed.stderr
    assert resumed.stdout == whole.stdout != ""


def test_progress_shows_the_estimate_settling(key):
    seen = []
    run(key, METHODS["permutation"], game(), until=after(64), progress=seen.append)
    assert [s.steps for s in seen] == [16, 32, 48, 64]
    errors = [s.estimate.stderr.mean() for s in seen]
    assert errors[-1] < errors[0]
    assert seen[-1].covariance.shape == (6, 6)
