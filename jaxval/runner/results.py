"""Results on disk: `results/NAME/HASH/`, whole or not at all."""

import contextlib
import dataclasses
import hashlib
import importlib.util
import json
import math
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from jaxval.reporting.plots import save_picture
from jaxval.reporting.tables import to_csv
from jaxval.runner.contract import Result
from jaxval.runner.report_page import report_page

__all__ = ["plain", "replacing", "results_folder", "save", "writable"]

PICTURE = "picture.png"
"""Name of the picture in a folder of results."""


def plain(value: Any) -> Any:
    """`value` in JSON's own types: dataclasses, paths, enums, NumPy and NaN included.

    Example:
      >>> plain({"where": pathlib.PurePosixPath("a/b"), "mean": np.float64("nan")})
      {'where': 'a/b', 'mean': None}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int, bool)):
        return value
    return str(value)


def results_folder(root: pathlib.Path, name: str, settings: Any) -> pathlib.Path:
    """The folder of the results of one run, decided by its settings.

    Args:
      root: Folder of all results.
      name: Name of the experiment.
      settings: Settings of the run, which alone decide the last part of the path.

    Example:
      >>> results_folder(pathlib.Path("out"), "value", {"seeds": 3}).parts[:2]
      ('out', 'value')
    """
    text = json.dumps(plain(settings), sort_keys=True)
    return root / name / hashlib.sha256(text.encode()).hexdigest()[:10]


def writable(folder: pathlib.Path) -> None:
    """Raise `OSError` now if `folder` can't be written later, and make nothing yet."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise NotADirectoryError(f"--out: {there} is a file; give a folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(f"--out: {there} can't be written to; give another.")


def save(
    folder: pathlib.Path, settings: Any, result: Result, metrics: Mapping[str, Any]
) -> tuple[str, ...]:
    """Write everything to `folder`, replacing what an earlier run left there.

    Args:
      folder: Folder to write, as of `results_folder`.
      settings: Settings of the run, written to `config.json`.
      result: Tables, arrays and picture.
      metrics: Numbers and texts, written to `metrics.json`.

    Returns:
      The names of the files written.
    """
    with replacing(folder) as new:
        for name, table in result.tables.items():
            (new / f"{name}.csv").write_text(to_csv(table), encoding="utf-8")
        _write_json(new / "metrics.json", metrics)
        _write_json(new / "config.json", settings)
        text = report_page(result, metrics, plain(settings))
        (new / "report.html").write_text(text, encoding="utf-8")
        if result.arrays:
            arrays: Any = dict(result.arrays)
            np.savez_compressed(new / "arrays.npz", **arrays)
        if result.draw is not None and can_draw():
            save_picture(new / PICTURE, result.draw)
        names = sorted(path.name for path in new.iterdir())
    tables = [f"{name}.csv" for name in result.tables]
    return (*tables, *(name for name in names if name not in tables))


@contextlib.contextmanager
def replacing(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """A new folder that takes the place of `folder` if the block comes to its end."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = pathlib.Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    new.chmod(0o777 & ~_umask())
    try:
        yield new
        old = pathlib.Path(tempfile.mkdtemp(prefix=".old-", dir=folder.parent))
        try:
            if folder.exists():
                folder.rename(old / "before")
            new.rename(folder)
        finally:
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def write_atomically(
    path: pathlib.Path, write: Callable[[pathlib.Path], object]
) -> None:
    """Let `write` fill a file beside `path` and put it in its place when whole."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    os.close(handle)
    try:
        write(pathlib.Path(name))
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    finally:
        pathlib.Path(name).unlink(missing_ok=True)


def can_draw() -> bool:
    """Whether matplotlib is there."""
    return importlib.util.find_spec("matplotlib") is not None


def _write_json(path: pathlib.Path, value: Any) -> None:
    path.write_text(json.dumps(plain(value), indent=2) + "\n", encoding="utf-8")


def _umask() -> int:
    # The only way to read it is to set it; temporary files are private by default.
    mask = os.umask(0)
    os.umask(mask)
    return mask
