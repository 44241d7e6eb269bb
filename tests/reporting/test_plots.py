import numpy as np
import pytest

pytest.importorskip("matplotlib")

from jaxval.reporting.plots import bars, save_picture  # noqa: E402


def test_a_picture_is_drawn_without_touching_global_state(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)

    def draw(figure):
        axes = figure.subplots()
        bars(axes, ["a", "b"], np.array([1.0, -1.0]), np.array([0.1, np.nan]))
        assert len(axes.patches) == 2

    save_picture(tmp_path / "bars.png", draw)
    assert (tmp_path / "bars.png").read_bytes().startswith(b"\x89PNG")
    assert dict(matplotlib.rcParams) == before
