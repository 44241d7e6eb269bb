"""Finished parts of a long run on disk, so that an interrupted one need not redo them.

A part is made of dicts, tuples, lists, NumPy arrays, numbers, strings and `None`. It is
an npz archive of its arrays and of a JSON text that says how they hang together, read
without pickle: a shared folder of results can't run code.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

import jaxval
from jaxval.runner.machine import timed
from jaxval.runner.results import write_atomically

__all__ = ["cached", "data_folder", "note_resumed"]


def data_folder(folder: pathlib.Path | None, *arrays: ArrayLike) -> pathlib.Path | None:
    """The folder of these data alone: parts computed from others are not found there.

    Args:
      folder: `Context.scratch`; nothing is saved when `None`.
      *arrays: Data that the parts depend on.
    """
    if folder is None:
        return None
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(np.asarray(array)).tobytes())
    return folder / digest.hexdigest()[:10]


def cached(
    folder: pathlib.Path | None,
    name: str,
    compute: Callable[[], Any],
    *,
    records: Sequence[type] = (),
    note: Callable[[str], None] = lambda line: None,
) -> tuple[Any, float]:
    """A part and the seconds it took, read back where it was computed before.

    Args:
      folder: See `data_folder`; nothing is saved when `None`.
      name: Name of this part, the same when the command is rerun.
      compute: Computes the part.
      records: Types of the named tuples and dataclasses that the part may hold.
      note: Told when a damaged file, or one of another part, is computed again.

    Raises:
      TypeError: If the part holds anything but dicts with texts for keys, tuples,
        lists, arrays, numbers, texts, truth values, `None` and `records`.

    Example:
      >>> cached(None, "squares", lambda: [i**2 for i in range(3)])[0]
      [0, 1, 4]
    """
    path = None if folder is None else _path(folder, name)
    identity = None if folder is None else f"{folder.name}/{name}/{jaxval.__version__}"
    if path is not None and path.exists():
        try:
            return _read(path, identity, records)
        except _DAMAGED as error:
            note(f"note: {path} can't be used ({error}); computing {name} again.")
    seconds: dict[str, float] = {}
    with timed(seconds, name):
        part = compute()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, identity, part, seconds[name], records)
    return part, seconds[name]


def note_resumed(
    folder: pathlib.Path | None, names: Sequence[str], note: Callable[[str], None]
) -> None:
    """Say how many parts (or their checkpoints) of an earlier run are there, if any.

    Args:
      folder: See `data_folder`.
      names: Names of all parts.
      note: Takes the line.
    """
    if folder is None:
        return
    files = [(_path(folder, name), folder / f"{name}.npz") for name in names]
    there = sum(any(path.exists() for path in each) for each in files)
    if there:
        note(f"resuming: {there} of {len(names)} parts are there, in {folder}/")


_DAMAGED = (
    OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile,
)  # fmt: skip
"""What reading a damaged file raises."""


def _path(folder: pathlib.Path, name: str) -> pathlib.Path:
    return folder / f"{name}-{jaxval.__version__}.npz"


def _write(path, identity, part, seconds, records) -> None:
    arrays: list[np.ndarray] = []
    tree = _encoded(part, arrays, records)
    text = json.dumps({"identity": identity, "seconds": seconds, "part": tree})
    stored: Any = {f"array_{i}": array for i, array in enumerate(arrays)}

    def write(new: pathlib.Path) -> None:
        with new.open("wb") as file:
            np.savez(file, tree=np.array(text), **stored)

    write_atomically(path, write)


def _read(path, identity, records) -> tuple[Any, float]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        content = json.loads(str(stored["tree"]))
        if content["identity"] != identity:
            raise ValueError(f"it holds {content['identity']}, not {identity}")
        return _decoded(content["part"], stored, records), float(content["seconds"])


def _encoded(part: Any, arrays: list[np.ndarray], records: Sequence[type]) -> Any:
    """JSON of a part; its arrays are appended to `arrays` and named by their place."""
    if part is None or isinstance(part, (bool, str)):
        return part
    if isinstance(part, (int, float)) and not isinstance(part, np.generic):
        return part
    if type(part) in records:
        named = {name: getattr(part, name) for name in _field_names(type(part))}
        return {"record": [type(part).__name__, _encoded(named, arrays, records)]}
    if isinstance(part, (tuple, list)) and type(part) in (tuple, list):
        items = [_encoded(each, arrays, records) for each in part]
        return {type(part).__name__: items}
    if isinstance(part, Mapping) and all(isinstance(key, str) for key in part):
        items = [[key, _encoded(each, arrays, records)] for key, each in part.items()]
        return {"dict": items}
    if hasattr(part, "__array__"):
        array = np.asarray(part)
        if array.dtype.kind in "biufcU":
            arrays.append(array)
            return {"array": len(arrays) - 1}
    raise TypeError(
        "a part must be made of dicts, tuples, lists, arrays, numbers, texts and None; "
        f"it holds {type(part).__name__}."
    )


def _decoded(
    tree: Any, stored: Mapping[str, np.ndarray], records: Sequence[type]
) -> Any:
    if not isinstance(tree, dict):
        return tree
    ((kind, content),) = tree.items()
    if kind == "array":
        array = stored[f"array_{content}"]
        return array[()] if array.ndim == 0 else array
    if kind == "dict":
        return {key: _decoded(each, stored, records) for key, each in content}
    if kind == "record":
        (record,) = (each for each in records if each.__name__ == content[0])
        return record(**_decoded(content[1], stored, records))
    if kind not in ("tuple", "list"):
        raise ValueError(f"it holds an unknown kind of part, {kind!r}")
    items = [_decoded(each, stored, records) for each in content]
    return tuple(items) if kind == "tuple" else items


def _field_names(record: type) -> tuple[str, ...]:
    if dataclasses.is_dataclass(record):
        return tuple(field.name for field in dataclasses.fields(record))
    return record._fields  # pyrefly: ignore
