"""What an experiment gets and what it returns, and checks of its settings."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from jaxval.reporting.tables import Table

__all__ = ["SILENT", "Context", "Progress", "Result", "require"]


class Progress(Protocol):
    """Says how far a piece of work has come; fits `batched_map(progress=...)`."""

    def __call__(self, done: int, total: int, status: str = "") -> None:
        """`done` of `total` units, and the current status in a few words."""
        ...


def _no_display(done: int, total: int, status: str = "") -> None:
    """No display."""


@contextlib.contextmanager
def _silent(title: str) -> Iterator[Progress]:
    yield _no_display


@dataclasses.dataclass(frozen=True, kw_only=True)
class Context:
    """Notes, progress and checkpoints of an experiment; silent by default.

    Attributes:
      note: Takes one line about the work.
      progress: `with context.progress("title") as update: update(done, total)`.
      scratch: Folder for checkpoints, the same whenever the command is rerun and
        removed once it has finished; nothing is saved when `None`. Whoever writes into
        it makes it.
    """

    note: Callable[[str], None] = lambda line: None
    progress: Callable[[str], contextlib.AbstractContextManager[Progress]] = _silent
    scratch: pathlib.Path | None = None


SILENT = Context()
"""No display and no checkpoints: the default of `run`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """The results of an experiment.

    Attributes:
      tables: Tables, written as `NAME.csv` each and printed in this order; that of the
        players' values is called "values".
      metrics: Numbers and short texts for `metrics.json`.
      chart: Chart of characters under the first table.
      sentences: Sentences on what it means, printed last.
      arrays: Arrays for `arrays.npz`.
      draw: Draws the picture onto an empty `matplotlib.figure.Figure`.
      unprinted: Names of tables that are too long to print; they are written too.
    """

    tables: Mapping[str, Table]
    metrics: Mapping[str, Any]
    chart: str = ""
    sentences: tuple[str, ...] = ()
    arrays: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    draw: Callable[[Any], None] | None = None
    unprinted: tuple[str, ...] = ()


def require(settings: Any, **least: float | int) -> None:
    """Check numbers of a study's settings against their least values.

    Args:
      settings: Settings, an attribute per name; `None` passes.
      **least: Least value of each named number.

    Raises:
      ValueError: If a number is smaller, or NaN; the message names its option.

    Example:
      >>> import types
      >>> require(types.SimpleNamespace(seeds=0), seeds=1)
      Traceback (most recent call last):
      ValueError: --seeds must be at least 1; got 0.
    """
    for name, bound in least.items():
        number = getattr(settings, name)
        if number is not None and not number >= bound:
            option = name.replace("_", "-")
            raise ValueError(f"--{option} must be at least {bound}; got {number}.")
