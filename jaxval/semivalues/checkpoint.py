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

_FORMAT = 2


class CheckpointError(ValueError):
    """The checkpoint is damaged, or belongs to another run."""


class Loaded(NamedTuple):
    """What a checkpoint holds.

    Attributes:
      state: State of the estimator.
      steps: Steps already folded in.
      seconds: Seconds already spent.
      scored: Scores of a step that was not finished (`host.Record`).
    """

    state: Any
    steps: int
    seconds: float
    scored: list[tuple[str, list[float]]]


def identity(settings: str, game: Any, key: PRNGKey, tag: str) -> dict[str, str]:
    """What makes two runs the same run: each entry is compared by itself.

    The game is known by the arrays that it carries and by its `fingerprint`, a hash of
    the data behind it; a plain closure without one is known by its scores of the empty
    and the grand coalition (which every checkpoint keeps) and by the caller's `tag`.

    Args:
      settings: Settings of the estimator.
      game: Game, or what stands for one.
      key: PRNG key of the run.
      tag: Name of what the game's arrays do not show.
    """
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(game):
        array = np.asarray(leaf)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    digest.update((getattr(game, "fingerprint", None) or "").encode())
    return {
        "format": str(_FORMAT),
        "estimator": settings,
        "players": str(game.num_players),
        "game": digest.hexdigest()[:16],
        "key": np.asarray(jax.random.key_data(key)).tobytes().hex(),
        "tag": tag,
    }


def save(path: pathlib.Path, who: Mapping[str, str], what: Loaded) -> None:
    """Write beside the file, flush to the disk, and rename over it.

    Args:
      path: Path of the checkpoint.
      who: Identity of the run.
      what: State, steps, seconds, and scores of an unfinished step.
    """
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(what.state)]
    facts: dict[str, Any] = {
        "who": dict(who),
        "steps": what.steps,
        "seconds": what.seconds,
        "scored": what.scored,
    }
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
      path: Path of the checkpoint.
      who: Identity of the run that wants it.
      like: State of the same structure and shapes.

    Raises:
      CheckpointError: If the file is damaged or of another run; it is left as it is.
    """
    if not path.exists():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            facts = json.loads(str(file["facts"]))
            leaves = [file[f"leaf{i}"] for i in range(len(file.files) - 1)]
        claimed = facts.pop("sum")
        whole = claimed == _checksum(leaves, facts)
        theirs, scored = (
            facts["who"],
            [(name, answer) for name, answer in facts.get("scored", [])],
        )
        steps, seconds = int(facts["steps"]), float(facts["seconds"])
    except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError,
            zipfile.BadZipFile) as error:  # fmt: skip
        raise _damaged(path) from error
    if not whole:
        raise _damaged(path)
    _compare(path, theirs, who)
    return Loaded(_unflatten(path, leaves, like), steps, seconds, scored)


def _compare(
    path: pathlib.Path, theirs: Mapping[str, str], ours: Mapping[str, str]
) -> None:
    differ = [name for name in ours if theirs.get(name) != ours[name]]
    if differ:
        entries = "; ".join(
            f"{d}: {theirs.get(d)!r} there, {ours[d]!r} here" for d in differ
        )
        raise CheckpointError(
            f"checkpoint {path} belongs to another run ({entries}). It was left as it "
            "is: give this run another checkpoint, or repeat the command that began it."
        )


def _shapes(leaves: list[Any]) -> list[Any]:
    return [(np.shape(x), np.asarray(x).dtype) for x in leaves]


def _unflatten(path: pathlib.Path, leaves: list[np.ndarray], like: Any) -> Any:
    wanted, structure = jax.tree.flatten(like)
    if _shapes(leaves) != _shapes(wanted):
        raise _damaged(path)
    with jax.enable_x64(True):
        restored = [
            float64(x) if x.dtype == np.float64 else jax.numpy.asarray(x)
            for x in leaves
        ]
    return jax.tree.unflatten(structure, restored)


def _checksum(leaves: list[np.ndarray], facts: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for leaf in leaves:
        digest.update(f"{leaf.dtype}{leaf.shape}".encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _damaged(path: pathlib.Path) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {path} is damaged, or is no checkpoint at all. It was left as it "
        "is: move it away to begin anew."
    )
