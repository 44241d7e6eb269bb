"""Bars made of characters, with their error bars."""

from collections.abc import Sequence

import numpy as np

from jaxval.reporting.tables import decimals

__all__ = ["bar_chart"]


def bar_chart(
    labels: Sequence[str],
    values: Sequence[float] | np.ndarray,
    stderr: Sequence[float] | np.ndarray | None = None,
    *,
    title: str = "",
    width: int = 80,
) -> str:
    """Horizontal bars from zero, one standard error to either side of each end.

    Args:
      labels: Labels, one per bar.
      values: Lengths of the bars; negative ones grow to the left.
      stderr: Standard errors; 0 and NaN draw none.
      title: First line.
      width: Characters in a line.

    Example:
      >>> print(bar_chart(["a", "b"], [2.0, -1.0], [0.5, 0.0], width=40))
      a         │████████┝━━━━━━┥  2.00 ±0.50
      b  ███████│                 -1.00
    """
    values = np.asarray(values, float)
    errors = np.nan_to_num(
        np.zeros_like(values) if stderr is None else np.asarray(stderr, float)
    )
    names = [_shortened(label, 24) for label in labels]
    numbers = _numbers(values, errors)
    room = width - max(map(len, names)) - max(map(len, numbers)) - 4
    scale = _Scale(values, errors, max(room, 8))
    lines = [title] if title else []
    for name, value, error, number in zip(names, values, errors, numbers, strict=True):
        bar = scale.bar(value, error)
        lines.append(
            f"{name:<{max(map(len, names))}}  {bar} {number}".rstrip(),
        )
    return "\n".join(lines)


class _Scale:
    """Where numbers fall on a line of `room` characters."""

    def __init__(self, values: np.ndarray, errors: np.ndarray, room: int):
        self.low = min(0.0, float(np.min(values - errors)))
        high = max(0.0, float(np.max(values + errors)))
        self.step = (high - self.low) / (room - 1) or 1.0
        self.room = room
        self.zero = self.place(0.0)

    def place(self, number: float) -> int:
        return int(np.clip(round((number - self.low) / self.step), 0, self.room - 1))

    def bar(self, value: float, error: float) -> str:
        line = [" "] * self.room
        if np.isfinite(value):
            start, stop = sorted((self.zero, self.place(value)))
            line[start : stop + 1] = "█" * (stop - start + 1)
            if error > 0:
                left, right = self.place(value - error), self.place(value + error)
                line[left : right + 1] = "━" * (right - left + 1)
                if right > left:
                    line[left], line[right] = "┝", "┥"
        line[self.zero] = "│"
        return "".join(line)


def _numbers(values: np.ndarray, errors: np.ndarray) -> list[str]:
    places = decimals(values, 3)
    numbers = [f"{value:.{places}f}" for value in values]
    wide = max(map(len, numbers))
    return [
        f"{number:>{wide}}" + (f" ±{error:.{places}f}" if error > 0 else "")
        for number, error in zip(numbers, errors, strict=True)
    ]


def _shortened(label: str, limit: int) -> str:
    label = str(label)
    return label if len(label) <= limit else label[: limit - 1] + "…"
