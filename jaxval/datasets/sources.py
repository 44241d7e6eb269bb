"""Where data come from: scikit-learn's digits, archives, IDX files, OpenML.

Images come as float32 in [0, 1] with the channels last, class numbers as int32. Raw
bytes are kept with `scale=None`, so that a few rows of a large set can be chosen before
anything is converted.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Num

from jaxval._checks import check
from jaxval.datasets._arrays import DataError, generator, require
from jaxval.datasets._formats import find_idx, read_idx, read_npz
from jaxval.types import PRNGKey, Split

__all__ = [
    "CIFAR10_MEAN",
    "CIFAR10_STD",
    "archive",
    "digits",
    "idx",
    "load",
    "openml",
    "standardised",
    "to_unit",
]

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2023, 0.1994, 0.2010)
"""Channel means and deviations that DAVINZ's released code normalises CIFAR-10 by."""

Scale = Callable[[Num[np.ndarray, "n ..."]], Num[np.ndarray, "n ..."]]

_ARRAYS = ("x_train", "y_train", "x_test", "y_test")
_FOLDER = "JAXVAL_DATA"
_MAKE_ONE = (
    "Make one with numpy.savez(path, x_train=..., y_train=..., x_test=..., y_test=...) "
    "(images as uint8, channels last), or fetch a set: jaxval.datasets.openml(...)."
)


def to_unit(x: Num[np.ndarray, "n ..."]) -> Float[np.ndarray, "n ..."]:
    """Bytes to float32 in [0, 1], as in the paper; real numbers are only cast.

    Example:
      >>> to_unit(np.array([[0, 255]], np.uint8)).tolist()
      [[0.0, 1.0]]
    """
    scale = np.float32(255 if x.dtype == np.uint8 else 1)
    return np.asarray(x, np.float32) / scale


def standardised(mean: Sequence[float], std: Sequence[float]) -> Scale:
    """A `scale` that shifts and scales each channel after `to_unit`.

    Example:
      >>> scale = standardised((0.5,), (0.25,))
      >>> scale(np.array([[[[255]]]], np.uint8)).item()
      2.0
    """
    shift, factor = np.asarray(mean, np.float32), 1 / np.asarray(std, np.float32)
    return lambda x: (to_unit(x) - shift) * factor


def digits(key: PRNGKey, num_valid: int = 597) -> Split:
    """Scikit-learn's 1,797 handwritten digits: 8x8 grey images of ten classes.

    Args:
      key: PRNG key for the choice of validation images and the order of the rest.
      num_valid: Images to validate with; the rest are for training.

    Returns:
      Images of shape (8, 8, 1) in [0, 1].

    Raises:
      ValueError: if either side would be empty.

    Example:
      >>> import jax
      >>> split = digits(jax.random.key(0))
      >>> split.x_train.shape, split.x_valid.shape
      ((1200, 8, 8, 1), (597, 8, 8, 1))
    """
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    check(
        1 <= num_valid < len(y),
        f"num_valid must be 1 to {len(y) - 1}; got {num_valid}.",
    )
    order = generator(key).permutation(len(y))
    x = (x[order] / 16).astype(np.float32).reshape(-1, 8, 8, 1)
    y = y[order].astype(np.int32)
    return Split(x[num_valid:], y[num_valid:], x[:num_valid], y[:num_valid])


def archive(
    path: str | os.PathLike[str],
    *,
    num_train: int | None = None,
    num_valid: int | None = None,
    scale: Scale | None = to_unit,
) -> Split:
    """A plain `.npz` archive of `x_train`, `y_train`, `x_test`, `y_test`.

    Args:
      path: Path of the archive.
      num_train: Training rows to keep, from the first on; all when `None`.
      num_valid: Test rows to keep, from the first on; all when `None`.
      scale: Function applied to the inputs; `None` leaves them as they are stored.

    Returns:
      Training and validation samples; grey images get a last axis of one channel.

    Raises:
      DataError: if the file is missing or damaged, or an array is missing or doesn't
        fit the others.
    """
    path = pathlib.Path(path)
    require(path.is_file(), f"there is no archive {path.absolute()}. {_MAKE_ONE}")
    arrays = read_npz(path)
    missing = [name for name in _ARRAYS if name not in arrays]
    require(
        not missing,
        f"{path} holds the arrays {sorted(arrays)}, but {', '.join(missing)} are "
        f"needed too. {_MAKE_ONE}",
    )
    x_train, y_train, x_test, y_test = (arrays[name] for name in _ARRAYS)
    return _split(
        (x_train[:num_train], y_train[:num_train]),
        (x_test[:num_valid], y_test[:num_valid]),
        scale,
        str(path),
    )


def load(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    num_train: int | None = None,
    num_valid: int | None = None,
    scale: Scale | None = to_unit,
) -> Split:
    """A set from the data folder: the archive `name.npz`, or IDX files in `name/`.

    Args:
      name: Name of the archive, for example `"mnist"`, `"cifar10"` or `"mnist_m"`.
      data_dir: Folder of the archive; the environment's `JAXVAL_DATA` when `None`.
      num_train: Training rows to keep, from the first on; all when `None`.
      num_valid: Test rows to keep, from the first on; all when `None`.
      scale: Function applied to the inputs; `None` leaves them as they are stored.

    Raises:
      DataError: if no folder is given, or it holds no such set.
    """
    folder = data_dir if data_dir is not None else os.environ.get(_FOLDER)
    require(
        bool(folder),
        f"{name} needs a data folder with {name}.npz in it: give data_dir, or set the "
        f"environment variable {_FOLDER}. {_MAKE_ONE}",
    )
    folder = pathlib.Path(folder or "")
    if not (folder / f"{name}.npz").is_file() and (folder / name).is_dir():
        return idx(folder / name, num_train=num_train, num_valid=num_valid, scale=scale)
    require(folder.is_dir(), f"the data folder {folder.absolute()} does not exist.")
    return archive(
        folder / f"{name}.npz", num_train=num_train, num_valid=num_valid, scale=scale
    )


def idx(
    folder: str | os.PathLike[str],
    *,
    num_train: int | None = None,
    num_valid: int | None = None,
    scale: Scale | None = to_unit,
) -> Split:
    """The four IDX files of MNIST and its kin, gzipped or not.

    They are `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, and the same with
    `t10k` for `train`, perhaps with `.gz` after them or a dot before `idx`. For the
    arguments see `archive`.

    Raises:
      DataError: if a file is missing or damaged.
    """
    folder = pathlib.Path(folder)
    parts = [
        read_idx(find_idx(folder, f"{part}-{kind}"))
        for part in ("train", "t10k")
        for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
    ]
    x_train, y_train, x_test, y_test = parts
    return _split(
        (x_train[:num_train], y_train[:num_train]),
        (x_test[:num_valid], y_test[:num_valid]),
        scale,
        str(folder),
    )


def openml(
    name_or_id: str | int,
    num_train: int,
    *,
    shape: tuple[int, ...] | None = None,
    scale: Scale | None = to_unit,
) -> Split:
    """A set of numbers from OpenML, through scikit-learn and its cache.

    Args:
      name_or_id: Name or number of the data set, for example `"mnist_784"` or `554`.
      num_train: Rows for training, from the first on; the rest are for validation.
      shape: Shape of one input, for images that come as rows of numbers: `(28, 28, 1)`.
      scale: Function applied to the inputs, which count as bytes if all are whole
        numbers from 0 to 255 and `shape` is given.

    Raises:
      DataError: if OpenML can't be reached, knows no such set, or the set is not all
        numbers.
    """
    from sklearn.datasets import fetch_openml

    which: dict[str, Any] = (
        {"data_id": name_or_id}
        if isinstance(name_or_id, int)
        else {"name": name_or_id, "version": "active"}
    )
    try:
        fetched = fetch_openml(
            **which, as_frame=False, parser="liac-arff", return_X_y=True
        )
    except OSError as error:
        raise DataError(
            f"could not fetch {name_or_id!r} from OpenML ({error}). Is there a "
            f"network? Without one, read a local file. {_MAKE_ONE}"
        ) from None
    x, y = (np.asarray(part) for part in fetched)
    require(
        x.dtype.kind in "fiub",
        f"{name_or_id!r} is not all numbers; save it as CSV and use datasets.tabular.",
    )
    if shape is not None:
        x = x.reshape(-1, *shape)
        whole = bool(((x >= 0) & (x <= 255) & (x == np.round(x))).all())
        x = x.astype(np.uint8) if whole else x
    y = (
        y
        if y.dtype.kind in "fiub"
        else np.unique(y.astype(str), return_inverse=True)[1]
    )
    check(
        1 <= num_train < len(y),
        f"num_train must be 1 to {len(y) - 1}; got {num_train}.",
    )
    return _split(
        (x[:num_train], y[:num_train]),
        (x[num_train:], y[num_train:]),
        scale,
        str(name_or_id),
    )


def _split(train, valid, scale, name) -> Split:
    (x_train, y_train), (x_valid, y_valid) = (
        _side(x, y, scale, f"{name}, {side}")
        for (x, y), side in zip((train, valid), ("train", "test"), strict=True)
    )
    require(
        x_train.shape[1:] == x_valid.shape[1:],
        f"{name}: training inputs have shape {x_train.shape[1:]}, test inputs "
        f"{x_valid.shape[1:]}.",
    )
    return Split(x_train, y_train, x_valid, y_valid)


def _side(x, y, scale, name):
    y = y.ravel() if y.ndim == 2 and y.shape[1] == 1 else y
    require(
        len(x) == len(y) and len(x) > 0,
        f"{name}: needs one target a row; got inputs {x.shape} and targets {y.shape}.",
    )
    require(
        x.dtype.kind in "fiub" and y.dtype.kind in "fiub",
        f"{name}: needs arrays of numbers; got {x.dtype} and {y.dtype}.",
    )
    x = x[..., None] if x.ndim == 3 else x
    y = y.astype(np.int32 if y.dtype.kind in "iub" else np.float32)
    return (x if scale is None else scale(x)), y
