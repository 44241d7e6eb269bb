"""Progress of long work and warnings, on standard error."""

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator

import rich.console
import rich.progress

__all__ = ["one_line_warnings", "progress"]

_PATIENCE = 2.0
"""Seconds before anything is shown: what is over by then needs no progress bar."""

_INTERVAL = 10.0
"""Seconds between lines where there is no terminal to draw a bar in."""


@contextlib.contextmanager
def progress(
    title: str, console: rich.console.Console | None = None
) -> Iterator[Callable[..., None]]:
    """A progress bar on standard error; lines now and then where it is no terminal.

    Args:
      title: Name of the work.
      console: Console to write to; standard error when left out.

    Yields:
      `update(done, total, status="")`, to be called after each piece of work. Nothing
      is shown for work that takes under two seconds.

    Example:
      >>> with progress("adding") as update:
      ...     for i in range(3):
      ...         update(i + 1, 3)
    """
    console = console or rich.console.Console(stderr=True)
    watch = _Bar if console.is_terminal else _Lines
    display = watch(title, console)
    try:
        yield display.update
    finally:
        display.close()


@contextlib.contextmanager
def one_line_warnings(say: Callable[[str], None]) -> Iterator[list[str]]:
    """Within the block warnings are one line each, and each is said once.

    Args:
      say: Function that takes the line.

    Yields:
      The list of lines so far, without the word "warning".

    Example:
      >>> with one_line_warnings(print):
      ...     warnings.warn("the sky is falling")
      warning: the sky is falling
    """
    said: list[str] = []

    def tell(message, category, filename, lineno, file=None, line=None):
        text = " ".join(str(message).split())
        # Those two kinds are for developers.
        if text not in said and not issubclass(
            category, (DeprecationWarning, FutureWarning)
        ):
            said.append(text)
            say(f"warning: {text}")

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = tell
        yield said


class _Bar:
    """A bar that appears once the work has taken a while, and goes when it is over."""

    def __init__(self, title: str, console: rich.console.Console):
        self.title, self.start = title, time.monotonic()
        self.task: rich.progress.TaskID | None = None
        self.bar = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(bar_width=20),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TimeRemainingColumn(compact=True),
            rich.progress.TextColumn("[dim]{task.fields[status]}"),
            console=console,
            transient=True,
        )

    def update(self, done: int, total: int, status: str = "") -> None:
        if self.task is None:
            if time.monotonic() - self.start < _PATIENCE:
                return
            self.bar.start()
            self.task = self.bar.add_task(self.title, total=total, status=status)
        self.bar.update(self.task, completed=done, total=total, status=status)

    def close(self) -> None:
        if self.task is not None:
            self.bar.stop()


class _Lines:
    """A line every so often."""

    def __init__(self, title: str, console: rich.console.Console):
        self.title, self.console = title, console
        self.start = self.last = time.monotonic()
        self.first: tuple[float, int] | None = None

    def update(self, done: int, total: int, status: str = "") -> None:
        now = time.monotonic()
        if self.first is None:
            # What was done before this has paid for the compilation too.
            self.first = (now, done)
        if now - self.last < _INTERVAL or done >= total:
            return
        self.last = now
        since, before = self.first
        pace = (now - since) / (done - before) if done > before else 0.0
        left = f", about {pace * (total - done):.0f} s left" if pace else ""
        end = f"; {status}" if status else ""
        self.console.print(
            f"{self.title}: {done} of {total}, {now - self.start:.0f} s{left}{end}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )

    def close(self) -> None:
        """Nothing is left open."""
