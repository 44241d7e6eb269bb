"""Every notebook runs from its first cell to its last."""

import pathlib

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")
pytest.importorskip("matplotlib")

FOLDER = pathlib.Path(__file__).parents[1] / "notebooks"


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.ipynb")))
# Jupyter's own packages warn and leave sockets to the garbage collector.
@pytest.mark.filterwarnings("ignore")
def test_notebook_runs(name, tmp_path):
    notebook = nbformat.read(FOLDER / name, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    assert all(cell.get("outputs") is not None for cell in notebook.cells[1:2])
    assert not any(cell.get("outputs") for cell in notebook.cells[:1])
