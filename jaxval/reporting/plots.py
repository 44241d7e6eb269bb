"""Pictures with matplotlib, drawn on figures of their own and no global state."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["COLOURS", "bars", "grouped_bars", "save_picture"]

COLOURS = ("#2166ac", "#d6604d", "#5aae61", "#9970ab", "#bf812d", "#4d4d4d")
"""Told apart by colour-blind readers and in grey."""

_STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "legend.frameon": False,
}


def save_picture(
    path: pathlib.Path,
    draw: Callable[[Any], None],
    size: tuple[float, float] = (8.0, 4.5),
) -> None:
    """Let `draw` fill an empty figure and write it to `path`.

    Args:
      path: its suffix says in which format.
      draw: of a `matplotlib.figure.Figure`; it may change its size.
      size: inches.

    Raises:
      ImportError: without matplotlib (`pip install 'jaxval[plot]'`).
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        figure.savefig(path, dpi=150)


def bars(
    axes: Any,
    labels: Sequence[str],
    values: Sequence[float] | np.ndarray,
    stderr: Sequence[float] | np.ndarray | None = None,
    *,
    colour: str | Sequence[str] = COLOURS[0],
    title: str = "",
    unit: str = "",
) -> None:
    """Horizontal bars from top to bottom, with their error bars.

    Args:
      axes: a matplotlib `Axes`.
      labels: one a bar.
      values: lengths of the bars.
      stderr: half the length of each error bar; none where it is 0 or NaN.
      colour: of all bars, or of each.
      title: above the axes.
      unit: below them: what the values are counted in.
    """
    places = np.arange(len(labels))
    errors = None if stderr is None else np.nan_to_num(np.asarray(stderr, float))
    if errors is not None and not errors.any():
        errors = None
    axes.barh(places, values, color=colour, height=0.75)
    if errors is not None:
        axes.errorbar(
            values, places, xerr=errors, fmt="none", ecolor="#222222", capsize=2, lw=1
        )
    axes.set_yticks(places, labels)
    axes.invert_yaxis()
    axes.axvline(0, color="#222222", lw=0.8)
    axes.set_title(title)
    axes.set_xlabel(unit)


def grouped_bars(
    axes: Any,
    labels: Sequence[str],
    groups: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    title: str = "",
) -> None:
    """Several bars a label, from top to bottom, with their error bars and a legend.

    Args:
      axes: a matplotlib `Axes`.
      labels: one a group of bars.
      groups: by name, the lengths of the bars and their standard errors.
      title: above the axes.
    """
    places, height = np.arange(len(labels)), 0.8 / len(groups)
    for number, (name, (values, stderr)) in enumerate(groups.items()):
        axes.barh(
            places + (number - (len(groups) - 1) / 2) * height,
            values,
            xerr=np.nan_to_num(stderr),
            height=0.92 * height,
            color=COLOURS[number % len(COLOURS)],
            label=name.replace("_", "-"),
            error_kw={"lw": 0.8, "capsize": 1.5, "ecolor": "#222222"},
        )
    axes.set_yticks(places, labels)
    axes.invert_yaxis()
    axes.axvline(0, color="#222222", lw=0.8)
    axes.legend()
    axes.set_title(title)
