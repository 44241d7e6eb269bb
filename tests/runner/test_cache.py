"""Parts on disk: what they may be made of, and what happens to damaged files."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from jaxval.runner.cache import cached, data_folder, note_resumed


class Pair(NamedTuple):
    left: object
    right: object


def never():
    pytest.fail("computed again")


PARTS = {
    "numbers": {"a": 1, "b": 0.1 + 0.2, "c": None, "d": True, "e": "words"},
    "nested": [(1.5, "x"), [None, {"deep": np.arange(3)}]],
    "not finite": (float("inf"), np.array([np.nan, 1.0])),
    "words": {"names": np.array(["a", "bc"]), "none": np.zeros((0, 3))},
    "record": {"pair": Pair(np.ones(2), Pair(1, "x"))},
}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_comes_back_as_it_was(tmp_path, name):
    part = PARTS[name]
    first, seconds = cached(tmp_path / "d", "part", lambda: part, records=(Pair,))
    again, same = cached(tmp_path / "d", "part", never, records=(Pair,))
    assert first is part
    assert seconds == same
    np.testing.assert_equal(again, part)
    assert type(again) is type(part)


def test_arrays_of_jax_come_back_as_numpy(tmp_path):
    cached(tmp_path, "part", lambda: {"a": jnp.arange(3)})
    again = cached(tmp_path, "part", never)[0]
    np.testing.assert_array_equal(again["a"], [0, 1, 2])


@pytest.mark.parametrize(
    "part", [object(), {1: 2}, np.array([object()]), {"f": len}, Pair(1, 2), {1, 2}]
)
def test_what_is_no_part_is_refused(tmp_path, part):
    with pytest.raises(TypeError, match="a part must be made of"):
        cached(tmp_path, "part", lambda: part)
    assert not list(tmp_path.iterdir())


def damage(path, how):
    content = path.read_bytes()
    if how == "empty":
        path.write_bytes(b"")
    elif how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "pickle":
        np.savez(path, tree=np.array([{"a": 1}], dtype=object))
    elif how == "other arrays":
        np.savez(path, tree=np.array("[]"))
    else:
        path.write_text("not an archive")


@pytest.mark.parametrize("how", ["empty", "cut", "pickle", "other arrays", "text"])
def test_a_damaged_file_is_computed_again(tmp_path, how):
    cached(tmp_path, "part", lambda: {"a": np.arange(50.0)})
    (path,) = tmp_path.iterdir()
    damage(path, how)
    notes = []
    assert cached(tmp_path, "part", lambda: 7, note=notes.append)[0] == 7
    assert "computing part again" in notes[0]
    assert cached(tmp_path, "part", never)[0] == 7


def test_a_file_of_other_data_is_not_used(tmp_path):
    """Files moved between folders of different data tell by their identity."""
    one, other = (data_folder(tmp_path, np.arange(n)) for n in (3, 4))
    cached(one, "part", lambda: 1)
    other.mkdir()
    (path,) = one.iterdir()
    path.rename(other / path.name)
    notes = []
    assert cached(other, "part", lambda: 2, note=notes.append)[0] == 2
    assert "it holds" in notes[0]


def test_resumed_runs_say_so(tmp_path):
    notes = []
    names = ["a", "b", "c"]
    note_resumed(tmp_path, names, notes.append)
    note_resumed(None, names, notes.append)
    assert notes == []
    for name in ("a", "c"):
        cached(tmp_path, name, lambda: 0)
    note_resumed(tmp_path, names, notes.append)
    assert notes[0].startswith("resuming: 2 of 3 parts are there")
