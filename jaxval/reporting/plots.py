"""Pictures with matplotlib, on figures of their own and without global state."""

import io
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

__all__ = ["COLOURS", "INK", "NEUTRAL", "bars", "grouped_bars", "save_picture", "svg"]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's: distinguishable by colour-blind readers, on white and on black."""

NEUTRAL = "#808080"
"""What is there for comparison."""

INK = "#222222"
"""Text and axes; the colour of the text around it where a picture is part of a page."""

_STYLE = {
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.fonttype": "none",
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
      path: File to write; its suffix says in which format.
      draw: Function of a `matplotlib.figure.Figure`, which may change its size.
      size: Inches.

    Raises:
      ImportError: without matplotlib (`pip install 'jaxval[plot]'`).
    """
    _draw(draw, size, lambda figure: figure.savefig(path, dpi=150))


def svg(
    draw: Callable[[Any], None], size: tuple[float, float] = (8.0, 4.5), *, name: str
) -> str:
    """A figure as one `<svg>` element for a page, in the page's own text colour.

    Args:
      draw: Function of a `matplotlib.figure.Figure`, which may change its size.
      size: Inches.
      name: Prefix of the identifiers inside, another one for each picture of a page.

    Raises:
      ImportError: without matplotlib (`pip install 'jaxval[plot]'`).

    Example:
      >>> picture = svg(lambda figure: figure.subplots().plot([1, 2]), name="line")
      >>> picture.startswith("<svg"), "currentColor" in picture
      (True, True)
    """
    file = io.StringIO()

    def save(figure):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})

    _draw(draw, size, save, {"svg.hashsalt": name})
    text = file.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    # Axes are numbered anew in each picture; on one page they would be the same.
    return re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)


def _draw(draw, size, save, settings: Mapping[str, Any] = MappingProxyType({})) -> None:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**_STYLE, **settings}):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        save(figure)


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
      axes: Matplotlib `Axes`.
      labels: Labels, one per bar.
      values: Lengths of the bars.
      stderr: Half the length of each error bar; none where it is 0 or NaN.
      colour: Colour of all bars, or of each.
      title: Line above the axes.
      unit: Line below them: what the values are counted in.
    """
    places = np.arange(len(labels))
    errors = None if stderr is None else np.nan_to_num(np.asarray(stderr, float))
    if errors is not None and not errors.any():
        errors = None
    axes.barh(places, values, color=colour, height=0.75)
    if errors is not None:
        axes.errorbar(
            values, places, xerr=errors, fmt="none", ecolor=INK, capsize=2, lw=1
        )
    axes.set_yticks(places, labels)
    axes.invert_yaxis()
    axes.axvline(0, color=INK, lw=0.8)
    axes.set_title(title)
    axes.set_xlabel(unit)
    axes.locator_params(axis="x", nbins=5)


def grouped_bars(
    axes: Any,
    labels: Sequence[str],
    groups: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    title: str = "",
) -> None:
    """Several bars per label, from top to bottom, with their error bars and a legend.

    Args:
      axes: Matplotlib `Axes`.
      labels: Labels, one per group of bars.
      groups: Lengths of the bars and their standard errors, by name.
      title: Line above the axes.
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
            error_kw={"lw": 0.8, "capsize": 1.5, "ecolor": INK},
        )
    axes.set_yticks(places, labels)
    axes.invert_yaxis()
    axes.axvline(0, color=INK, lw=0.8)
    axes.legend()
    axes.set_title(title)
