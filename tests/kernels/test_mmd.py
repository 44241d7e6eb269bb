import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.games import mmd as oracle
from oracles.games import subsets

from jaxval.execution.options import Execution
from jaxval.kernels import mmd as d
from jaxval.kernels import mmd_rows, pairwise

RNG = np.random.default_rng(0)
OWNER = np.array([0, 1, 1, 2, 2, 2, 0, 3])
X, VALID = RNG.normal(size=(8, 2, 2)), RNG.normal(size=(5, 2, 2)) + 0.3
KERNEL = d.rbf_ladder(2.0, (0.5, 1.0, 2.0))


def truth(x, unbiased):
    weights = np.asarray(KERNEL.weights)
    return oracle(x, VALID, np.asarray(KERNEL.bandwidths), weights, unbiased)


@pytest.mark.parametrize("unbiased", [False, True])
def test_two_samples_are_the_double_loop(unbiased):
    square = d.mmd(X, VALID, KERNEL, unbiased=unbiased, root=False)
    np.testing.assert_allclose(square, truth(X, unbiased), rtol=1e-9)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("rows_at_once", [1, 3, 100])
def test_every_coalition_from_the_sums(unbiased, rows_at_once):
    execution = Execution(batch_size=rows_at_once)
    sums = d.kernel_sums(X, OWNER, VALID, KERNEL, execution=execution)
    for mask in subsets(4)[1:]:
        rows = mask[OWNER]
        if unbiased and rows.sum() < 2:
            continue
        square = d.coalition_mmd(sums, jnp.asarray(mask), unbiased=unbiased, root=False)
        np.testing.assert_allclose(square, truth(X[rows], unbiased), atol=1e-12)


def test_many_owners_take_the_scattered_path():
    x = RNG.normal(size=(80, 2))
    many = d.kernel_sums(x, np.arange(80), VALID[:, 0], KERNEL)
    one = d.kernel_sums(x, np.zeros(80, int), VALID[:, 0], KERNEL)
    np.testing.assert_allclose(
        np.sum(np.asarray(many.between)), np.sum(np.asarray(one.between)), rtol=1e-12
    )
    np.testing.assert_allclose(
        np.sum(np.asarray(many.to_valid)), np.sum(np.asarray(one.to_valid)), rtol=1e-12
    )


def test_the_root_of_a_negative_unbiased_square_is_zero():
    x = np.array([[0.0], [1.0]])
    kernel = pairwise.rbf(1.0)
    assert d.mmd(x, x, kernel, unbiased=True, root=False) < 0
    assert d.mmd(x, x, kernel, unbiased=True, root=True) == 0.0


def test_biased_estimate_has_the_floor_of_its_size():
    rng = np.random.default_rng(3)
    kernel = pairwise.rbf(1.0)
    floors = [
        d.mmd(rng.normal(size=(3, 2)), rng.normal(size=(200, 2)), kernel, root=False)
        for _ in range(20)
    ]
    similarity = 1 / 3  # E k of two standard normals in two dimensions, sigma = 1
    expected = (1 - similarity) * (1 / 3 + 1 / 200)
    stderr = np.std(floors) / np.sqrt(len(floors))
    assert abs(np.mean(floors) - expected) < 5 * stderr


@pytest.mark.parametrize("bandwidth", [1e-3, 1e6])
def test_a_kernel_that_sees_nothing_warns(bandwidth):
    with pytest.warns(d.DegenerateKernelWarning, match="knows only the sizes"):
        d.mmd(X, VALID, pairwise.rbf(bandwidth))


def test_progress_and_memory_change_no_number():
    told = []
    execution = Execution(memory=8 * 13 * 4, progress=lambda *at: told.append(at))
    sums = d.kernel_sums(X, OWNER, VALID, KERNEL, execution=execution)
    whole = d.kernel_sums(X, OWNER, VALID, KERNEL)
    np.testing.assert_allclose(sums.between, whole.between, rtol=1e-14)
    assert told == [(4, 13), (8, 13), (12, 13), (13, 13)]


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("memory", [None, 8])
def test_rows_of_the_target_under_any_weights(unbiased, memory):
    """Weights are as good as repeating the target's rows by their counts."""
    kernels = mmd_rows.row_kernels(
        X, OWNER, VALID, KERNEL, execution=Execution(memory=memory)
    )
    assert (kernels.gram is None) == (memory is not None)
    rows = mmd_rows.discrepancy_rows(kernels, unbiased=unbiased, root=False)
    masks = subsets(4)[1:]
    entries = np.asarray(rows.scores(masks))
    numbers = np.asarray(KERNEL.bandwidths), np.asarray(KERNEL.weights)
    for counts in ([1, 1, 1, 1, 1], [3, 0, 1, 1, 0], [0, 0, 5, 0, 0]):
        weights = np.asarray(counts) / sum(counts)
        scores = np.asarray(rows.reduce(entries, weights))
        sample = np.repeat(VALID, counts, axis=0)
        for mask, score in zip(masks, scores, strict=True):
            x = X[mask[OWNER]]
            expected = oracle(x, sample, *numbers, False)
            if unbiased:
                expected = without_diagonals(x, weights)
            np.testing.assert_allclose(score, expected, atol=1e-12)


def without_diagonals(x, weights):
    """The double loop over different rows; a row alone is as near as can be."""
    flat = lambda z: z.reshape(len(z), -1)
    squares = lambda a, b: ((flat(a)[:, None] - flat(b)[None]) ** 2).sum(-1)
    kernel = lambda a, b: sum(
        w * np.exp(-squares(a, b) / (2 * s**2))
        for s, w in zip(KERNEL.bandwidths, KERNEL.weights, strict=True)
    )
    within = kernel(x, x)[~np.eye(len(x), dtype=bool)]
    pairs = np.outer(weights, weights) * ~np.eye(len(weights), dtype=bool)
    own = kernel(VALID, VALID)
    target = (pairs * own).sum() / pairs.sum() if pairs.sum() > 0 else 1.0
    across = (kernel(x, VALID) @ weights).mean()
    return (within.mean() if len(x) > 1 else 1.0) + target - 2 * across


def test_rows_of_the_target_give_the_game_back():
    kernels = mmd_rows.row_kernels(X, OWNER, VALID, KERNEL)
    np.testing.assert_allclose(
        kernels.sums.to_valid, np.asarray(kernels.to_rows).sum(1), rtol=1e-12
    )
    rows = mmd_rows.discrepancy_rows(kernels, empty_score=0.75)
    masks = subsets(4)
    scores = rows.reduce(rows.scores(masks), np.full(5, 0.2))
    expected = [float(d.coalition_mmd(kernels.sums, mask)) for mask in masks[1:]]
    np.testing.assert_allclose(scores, [0.75, *expected], atol=1e-7)


def test_equal_rows_trace_nothing_twice():
    traces = []

    @jax.jit
    def ask(rows, masks, weights):
        traces.append(1)
        return rows.reduce(rows.scores(masks), weights)

    for scale in (1.0, 2.0):
        kernels = mmd_rows.row_kernels(scale * X, OWNER, VALID, KERNEL)
        ask(mmd_rows.discrepancy_rows(kernels), subsets(4), np.full(5, 0.2))
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: d.mmd(X * np.nan, VALID, KERNEL), "x must be finite"),
        (lambda: d.mmd(X, VALID[:, 0], KERNEL), "same width"),
        (lambda: d.mmd(X, VALID[:0], KERNEL), "valid is empty"),
        (lambda: pairwise.rbf(0.0), "bandwidth"),
        (lambda: d.rbf_ladder(1.0, ()), "factors is empty"),
        (lambda: d.mmd(X * 1e200, VALID, KERNEL), "x must hold numbers below"),
        (lambda: pairwise.rbf(1e200), "between 1e-150 and 1e150"),
    ],
)
def test_bad_inputs_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
