"""What an experiment gets and what it gives back."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from jaxval.reporting.tables import Table

__all__ = ["SILENT", "Context", "Progress", "Result"]


class Progress(Protocol):
    """Says how far a piece of work has come; fits `batched_map(progress=...)`."""

    def __call__(self, done: int, total: int, status: str = "") -> None:
        """`done` of `total` units, and how things stand in a few words."""
        ...


def _nobody_watches(done: int, total: int, status: str = "") -> None:
    """No display."""


@contextlib.contextmanager
def _silent(title: str) -> Iterator[Progress]:
    yield _nobody_watches


@dataclasses.dataclass(frozen=True, kw_only=True)
class Context:
    """The experiment's way to whoever is watching; silent unless somebody is.

    Attributes:
      note: says one line about what is going on.
      progress: `with context.progress("title") as update: update(done, total)`.
      scratch: a folder for checkpoints, the same one every time the same command is
        given and removed once it is through; nothing survives when `None`. It is made
        by whoever writes into it.
    """

    note: Callable[[str], None] = lambda line: None
    progress: Callable[[str], contextlib.AbstractContextManager[Progress]] = _silent
    scratch: pathlib.Path | None = None


SILENT = Context()
"""Nobody watches and nothing is kept: what `run` takes when it is given nothing."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """All that an experiment found out.

    Attributes:
      tables: written as `NAME.csv` each and printed in this order; the players' values
        are called "values".
      metrics: numbers and short texts for `metrics.json`.
      chart: drawn with characters under the first table.
      sentences: what it means, printed last.
      arrays: written to `arrays.npz`.
      draw: draws the picture onto an empty `matplotlib.figure.Figure`.
      unprinted: names of tables that are too long to print; written all the same.
    """

    tables: Mapping[str, Table]
    metrics: Mapping[str, Any]
    chart: str = ""
    sentences: tuple[str, ...] = ()
    arrays: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    draw: Callable[[Any], None] | None = None
    unprinted: tuple[str, ...] = ()
