import jax
import pytest

from jaxval.execution import memory

GIB = 2**30


class Device:
    def __init__(self, stats):
        self.memory_stats = lambda: stats


@pytest.fixture
def on(monkeypatch):
    """JAX on a device that tells these statistics of its memory."""
    return lambda stats: monkeypatch.setattr(jax, "devices", lambda: [Device(stats)])


def test_a_device_that_tells_its_memory(on):
    on({"bytes_limit": 8 * GIB, "bytes_in_use": 3 * GIB})
    assert memory.default_limit() == 6 * GIB
    assert memory.available_memory() == 5 * GIB
    assert memory.num_parallel(GIB, platform="gpu") == 4


def test_a_device_that_does_not(on, monkeypatch):
    on(None)
    assert memory.default_limit() > 2**20
    monkeypatch.setattr(memory, "_cgroup_room", lambda: 5)
    assert memory.available_memory() == 5
    assert memory.num_parallel(10**9, platform="gpu") == 4


def test_runs_side_by_side():
    assert memory.num_parallel(1, platform="cpu") == 1
    assert memory.num_parallel(GIB, platform="cpu", memory=3 * GIB) == 3
    assert memory.num_parallel(GIB, platform="gpu", memory=1) == 1


def test_rows_that_fit():
    assert memory.rows_that_fit(8) == memory.WORKSPACE // 8
    assert memory.rows_that_fit(0, 100) == 100
    assert memory.rows_that_fit(GIB, 1) == 1
