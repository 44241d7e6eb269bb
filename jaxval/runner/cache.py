"""Parts of a long run that a killed run need not compute again."""

import hashlib
import pathlib
import pickle
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

import jaxval
from jaxval.runner.machine import timed
from jaxval.runner.results import write_atomically

__all__ = ["kept", "kept_for"]

Part = TypeVar("Part")


def kept_for(folder: pathlib.Path | None, *arrays: ArrayLike) -> pathlib.Path | None:
    """A folder of these data's own: what was computed from others is not found there.

    Args:
      folder: `Context.scratch`.
      *arrays: the data.
    """
    if folder is None:
        return None
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(np.asarray(array)).tobytes())
    return folder / digest.hexdigest()[:10]


def kept(
    folder: pathlib.Path | None, name: str, compute: Callable[[], Part]
) -> tuple[Part, float]:
    """What `compute` gives and the seconds it took, read back where it's known already.

    The files are pickles: they're written and read by runs of one command with one
    version of the package, in a folder that is removed at its end.

    Args:
      folder: see `kept_for`; nothing is kept when `None`.
      name: of this part of the work, the same in the next run of the same command.
      compute: the work; gives NumPy arrays and tuples of them.

    Example:
      >>> kept(None, "squares", lambda: [i**2 for i in range(3)])[0]
      [0, 1, 4]
    """
    path = None if folder is None else folder / f"{name}-{jaxval.__version__}.pickle"
    if path is not None and path.exists():
        return pickle.loads(path.read_bytes())
    seconds: dict[str, float] = {}
    with timed(seconds, name):
        part = compute()
    found = part, seconds[name]
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda new: new.write_bytes(pickle.dumps(found)))
    return found
