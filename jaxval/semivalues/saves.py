"""When a run's checkpoint is due, and what it must hold."""

from __future__ import annotations

import pathlib
import time
from typing import Any

import numpy as np

from jaxval.semivalues import checkpoint as _checkpoint
from jaxval.types import Ends, PRNGKey

__all__ = ["Saves"]


class Saves:
    """The checkpoint of a run: when it is due, and what it must hold."""

    def __init__(
        self,
        path: pathlib.Path | None,
        seconds: float,
        settings: str,
        game: Any,
        key: PRNGKey,
        tag: str,
    ) -> None:
        self.path, self.seconds = path, seconds
        self.who = {}
        if path is not None:
            self.who = _checkpoint.identity(settings, game, key, tag)
        self.at, self.steps = time.monotonic(), -1

    def load(self, state: Any, ends: Ends | None) -> _checkpoint.Loaded | None:
        """What was saved, checked against the game's endpoints."""
        if self.path is None:
            return None
        loaded = _checkpoint.load(self.path, self.who, (state, ends))
        if loaded is None:
            return None
        state, saved = loaded.state
        if ends is not None:
            _check_ends(self.path, ends, saved)
        self.steps = loaded.steps
        return loaded._replace(state=state)

    def is_due(self) -> bool:
        """Whether the time between two saves has passed."""
        return self.path is not None and time.monotonic() - self.at >= self.seconds

    def write(self, what: _checkpoint.Loaded, ends: Ends | None) -> None:
        """Save, unless nothing has come since the last save."""
        if self.path is None or (self.steps == what.steps and not what.scored):
            return
        _checkpoint.save(self.path, self.who, what._replace(state=(what.state, ends)))
        self.at, self.steps = time.monotonic(), what.steps


def _check_ends(path: pathlib.Path, ends: Ends, saved: Ends) -> None:
    if not np.allclose(np.asarray(ends), np.asarray(saved), rtol=1e-6, atol=1e-12):
        raise _checkpoint.CheckpointError(
            f"checkpoint {path} belongs to another run (scores of the empty and the "
            f"grand coalition: {np.asarray(saved).tolist()} there, "
            f"{np.asarray(ends).tolist()} here). It was left as it is: give this run "
            "another checkpoint."
        )
