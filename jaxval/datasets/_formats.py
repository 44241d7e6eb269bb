"""Reading npz archives and IDX files, with messages for whoever has another file."""

import gzip
import pathlib
import zipfile

import numpy as np

from jaxval.datasets._arrays import DataError, require

__all__ = ["find_idx", "read_idx", "read_npz"]


def read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    """All arrays of an archive; pickled objects are refused."""
    try:
        with path.open("rb") as file:
            stored = np.load(file, allow_pickle=False)
            require(
                not isinstance(stored, np.ndarray),
                f"{path} is one array, not an archive of named arrays.",
            )
            return {name: stored[name] for name in stored.files}
    except DataError:
        raise
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a plain .npz archive: {error}") from None


def find_idx(folder: pathlib.Path, name: str) -> pathlib.Path:
    """The file of that name, with a dot before `idx` or `.gz` at the end perhaps."""
    names = [name, name.replace("-idx", ".idx")]
    for candidate in [folder / f"{n}{end}" for n in names for end in ("", ".gz")]:
        if candidate.is_file():
            return candidate
    raise DataError(
        f"there is no IDX file {(folder / name).absolute()}, with .gz or without."
    )


def read_idx(path: pathlib.Path) -> np.ndarray:
    """A file of bytes: two zeros, a type (8: bytes), the rank, the sizes, the data."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            content = file.read()
    except (OSError, EOFError) as error:
        raise DataError(f"{path} could not be read: {error}") from None
    require(
        len(content) >= 4 and content[:3] == b"\0\0\x08",
        f"{path} is not an IDX file of bytes.",
    )
    rank = content[3]
    shape = np.frombuffer(content[4 : 4 + 4 * rank], ">u4").astype(int)
    data = np.frombuffer(content[4 + 4 * rank :], np.uint8)
    require(
        data.size == np.prod(shape),
        f"{path} announces {tuple(shape.tolist())} bytes and holds {data.size}.",
    )
    return data.reshape(shape)
