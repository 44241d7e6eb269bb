import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from jaxval.execution import parallel as batching
from jaxval.execution.precision import double


@pytest.mark.parametrize("chunk_size", [1, 3, 7, 100])
@pytest.mark.parametrize("devices", [None, 1, 4])
def test_map_equals_loop(key, chunk_size, devices):
    inputs = {"a": jax.random.normal(key, (7, 3)), "b": jnp.arange(7)}
    fn = lambda one: {"sum": one["a"].sum() * one["b"], "same": one["a"]}
    mesh = None if devices is None else batching.device_mesh(devices)
    mapped = batching.batched_map(fn, inputs, chunk_size=chunk_size, mesh=mesh)
    loop = [fn({"a": inputs["a"][i], "b": inputs["b"][i]}) for i in range(7)]
    np.testing.assert_allclose(mapped["sum"], [one["sum"] for one in loop], rtol=1e-6)
    np.testing.assert_array_equal(mapped["same"], inputs["a"])


def test_one_program_for_all_chunks_and_all_functions_of_a_kind():
    traces = []

    def scaled(factor, x):
        traces.append(x.shape)
        return factor * x

    for factor in (2.0, 3.0):
        fn = Partial(scaled, jnp.asarray(factor))
        result = batching.batched_map(fn, jnp.arange(10.0), chunk_size=4)
        np.testing.assert_array_equal(result, factor * np.arange(10))
    assert len(traces) == 1


def test_double_precision_survives():
    with double():
        inputs = jnp.arange(5.0, dtype=jnp.float64) / 3
        result = batching.batched_map(lambda x: x * 3, inputs, chunk_size=2)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, np.arange(5), rtol=1e-15)


def test_progress_counts_inputs():
    seen = []
    batching.batched_map(
        lambda x: x,
        jnp.arange(5),
        chunk_size=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="chunk_size must be at least 1; got 0"):
        batching.batched_map(lambda x: x, jnp.arange(3), chunk_size=0)
    with pytest.raises(ValueError, match="inputs is empty"):
        batching.batched_map(lambda x: x, jnp.zeros((0, 2)), chunk_size=2)


def test_calls_of_many_sizes_share_few_programs():
    sizes = [batching._rounded(count) for count in range(1, 65)]
    assert all(n <= size < 1.25 * n + 1 for n, size in enumerate(sizes, start=1))
    assert len(set(sizes)) <= 20


@pytest.mark.parametrize("devices", [None, 4])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_indexed_map_equals_a_loop_for_every_count(devices, batch_size):
    traces = []

    def noise(key, i, scale):
        traces.append(1)
        return {
            "x": scale * jax.random.normal(jax.random.fold_in(key, i), (2,)),
            "i": i,
        }

    mesh = None if devices is None else batching.device_mesh(devices)
    key = jax.random.key(0)
    fn = Partial(noise, key)
    whole = jax.jit(jax.vmap(lambda i: noise(key, i, 2.0)["x"]))(np.arange(20))
    traces.clear()
    for start, count in ((0, 0), (0, 1), (3, 5), (9, 11)):
        out = batching.indexed_map(
            fn, start, count, 2.0, capacity=11, batch_size=batch_size, mesh=mesh
        )
        assert out["i"][:count].tolist() == list(range(start, start + count))
        expected = np.asarray(whole)[start : start + count]
        np.testing.assert_allclose(out["x"][:count], expected, rtol=1e-6)
    assert len(traces) == 1
    with pytest.raises(ValueError, match="count must lie"):
        batching.indexed_map(fn, 0, 12, 2.0, capacity=11)
