"""Checkpoints: saved whole or not at all, refused when damaged or foreign."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pathlib
import tempfile
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxval.execution.precision import float64
from jaxval.types import PRNGKey

__all__ = ["CheckpointError", "Loaded", "identity", "load", "save"]

_FORMAT = 1


class CheckpointError(ValueError):
    """The checkpoint is damaged, or belongs to another run."""


class Loaded(NamedTuple):
    """What a checkpoint holds.

    Attributes:
      state: of the estimator.
      steps: already folded in.
      seconds: already spent.
    """

    state: Any
    steps: int
    seconds: float


def identity(
    settings: str, game: Any, key: PRNGKey, every: int, tag: str
) -> dict[str, str]:
    """What makes two runs the same run: each entry is compared by itself.

    The game is known by the arrays that it carries; a game that is a plain closure
    carries none, and is told apart by its scores of nobody and everybody (which every
    checkpoint keeps) and by the caller's `tag`.
    """
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(game):
        array = np.asarray(leaf)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return {
        "format": str(_FORMAT),
        "estimator": settings,
        "players": str(game.num_players),
        "game": digest.hexdigest()[:16],
        "key": np.asarray(jax.random.key_data(key)).tobytes().hex(),
        "steps a round": str(every),
        "tag": tag,
    }


def save(
    path: pathlib.Path, who: Mapping[str, str], state: Any, steps: int, seconds: float
) -> None:
    """Write beside the file, flush to the disk, and rename over it."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
    facts: dict[str, Any] = {"who": dict(who), "steps": steps, "seconds": seconds}
    facts["sum"] = _checksum(leaves, facts)
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {f"leaf{i}": leaf for i, leaf in enumerate(leaves)}
    np.savez(buffer, facts=np.asarray(json.dumps(facts)), **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(buffer.getvalue())
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        pathlib.Path(name).unlink(missing_ok=True)
        raise


def load(path: pathlib.Path, who: Mapping[str, str], like: Any) -> Loaded | None:
    """The saved state, or `None` where there is no file.

    Args:
      path: of the checkpoint.
      who: the `identity` of the run that wants it.
      like: a state of the same structure and shapes.

    Raises:
      CheckpointError: if the file is damaged or of another run; it is left as it is.
    """
    if not path.exists():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            facts = json.loads(str(file["facts"]))
            leaves = [file[f"leaf{i}"] for i in range(len(file.files) - 1)]
        claimed = facts.pop("sum")
        whole = claimed == _checksum(leaves, facts)
        steps, seconds, theirs = facts["steps"], facts["seconds"], facts["who"]
    except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError,
            zipfile.BadZipFile) as error:  # fmt: skip
        raise _damaged(path) from error
    if not whole:
        raise _damaged(path)
    _compare(path, theirs, who)
    return Loaded(_unflatten(path, leaves, like), int(steps), float(seconds))


def _compare(path, theirs, ours):
    differ = [name for name in ours if theirs.get(name) != ours[name]]
    if differ:
        told = "; ".join(
            f"{d}: {theirs.get(d)!r} there, {ours[d]!r} here" for d in differ
        )
        raise CheckpointError(
            f"checkpoint {path} belongs to another run ({told}). It was left as it is: "
            "give this run another checkpoint, or repeat the command that began it."
        )


def _unflatten(path, leaves, like):
    shapes = lambda xs: [(np.shape(x), np.asarray(x).dtype) for x in xs]
    wanted, structure = jax.tree.flatten(like)
    if shapes(leaves) != shapes(wanted):
        raise _damaged(path)
    with jax.enable_x64(True):
        restored = [
            float64(x) if x.dtype == np.float64 else jax.numpy.asarray(x)
            for x in leaves
        ]
    return jax.tree.unflatten(structure, restored)


def _checksum(leaves, facts) -> str:
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for leaf in leaves:
        digest.update(f"{leaf.dtype}{leaf.shape}".encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _damaged(path) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {path} is damaged, or is no checkpoint at all. It was left as it "
        "is: move it away to begin anew."
    )
