import itertools

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from jaxval.reporting import page  # noqa: E402
from jaxval.reporting.plots import COLOURS, NEUTRAL, bars, save_picture, svg  # noqa: E402


def draw(figure):
    axes = figure.subplots()
    bars(axes, ["a", "<b> $1$"], np.array([1.0, -1.0]), np.array([0.1, np.nan]))
    assert len(axes.patches) == 2


def test_a_picture_is_drawn_without_touching_global_state(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    save_picture(tmp_path / "bars.png", draw)
    assert (tmp_path / "bars.png").read_bytes().startswith(b"\x89PNG")
    assert dict(matplotlib.rcParams) == before


def test_pictures_of_one_page_share_no_identifiers():
    first, second = svg(draw, name="first"), svg(draw, name="second")
    assert first == svg(draw, name="first")
    assert 'id="first-axes_1"' in first
    assert 'id="first-' not in second
    page.Figure(first, "two bars")
    assert "&lt;b&gt; $1$" in first


def linear(colour):
    """Linear RGB of a colour in hexadecimal."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIELAB of linear RGB under D65."""
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722],
                    [0.0193, 0.1192, 0.9505]]) @ rgb  # fmt: skip
    f = np.cbrt(np.maximum(xyz / [0.9505, 1.0, 1.089], 1e-9))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


# Machado, Oliveira and Fernandes (2009), severity 1.
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                     [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                   [0.004733, 0.691367, 0.303900]],
}  # fmt: skip


@pytest.mark.parametrize("vision", VISION)
def test_colours_differ_to_every_eye(vision):
    seen = [lab(np.clip(np.array(VISION[vision]) @ linear(c), 0, 1)) for c in COLOURS]
    for (i, a), (j, b) in itertools.combinations(enumerate(seen), 2):
        assert np.linalg.norm(a - b) > 12, (COLOURS[i], COLOURS[j])


@pytest.mark.parametrize("paper", ["#ffffff", "#16191d"])
def test_colours_stand_out_on_both_papers(paper):
    luminance = lambda colour: np.array([0.2126, 0.7152, 0.0722]) @ linear(colour)
    for colour in (*COLOURS, NEUTRAL):
        light, dark = sorted((luminance(colour), luminance(paper)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) > 2, colour
