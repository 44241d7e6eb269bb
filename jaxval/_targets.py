"""What users give as targets, owners and numbers, turned into what rooms use.

One place for all public factories: arrays of JAX or NumPy of any real type, lists, and
pandas come in; plain NumPy arrays of one shape and type go out, or an error that names
the argument.
"""

from typing import Any

import numpy as np

from jaxval._checks import check, finite, groups

__all__ = [
    "class_targets",
    "feature_rows",
    "labels",
    "numbers",
    "owners",
    "real_targets",
]


def numbers(name: str, values: Any, *, ndim: int | None = None) -> np.ndarray:
    """Finite numbers from whatever holds them: arrays, lists, pandas, narrow floats.

    Args:
      name: Argument that the message names.
      values: Array of JAX or NumPy of any real type, nested lists, or a pandas Series
        or DataFrame of numbers.
      ndim: Axes it must have; any number when left out.

    Returns:
      A float64 NumPy array.

    Raises:
      ValueError: If it holds text, dates or complex numbers, is ragged, has other axes
        than `ndim`, or an entry is not finite.

    Example:
      >>> numbers("x", [[True], [False]]).tolist()
      [[1.0], [0.0]]
    """
    array = _plain(name, values)
    kind = array.dtype.kind
    check(
        kind in "biuf",
        f"{name} must hold real numbers; got {_described(array)}. Encode it first.",
    )
    check(
        ndim is None or array.ndim == ndim,
        f"{name} must have {ndim} axes, the first of them the rows; got shape "
        f"{array.shape}.",
    )
    array = array.astype(np.float64)
    finite(name, array)
    return array


def feature_rows(name: str, values: Any) -> np.ndarray:
    """Rows of features, one at least, further axes flattened.

    Args:
      name: Argument that the message names.
      values: Numbers with one row per sample, as `numbers` takes them.

    Raises:
      ValueError: As `numbers`, and if there is no row.

    Example:
      >>> feature_rows("x", np.ones((2, 2, 3))).shape
      (2, 6)
    """
    array = numbers(name, values)
    check(
        array.ndim >= 1 and len(array) > 0,
        f"{name} is empty or no array: it must have one row per sample, one at least; "
        f"got shape {array.shape}.",
    )
    return array.reshape(len(array), -1)


def real_targets(**targets: Any) -> tuple[np.ndarray, ...]:
    """Targets of a regression, one row per sample and one column per output.

    Accepted: numbers of any real type as `(n,)`, `(n, 1)` or `(n, outputs)`, from
    arrays, lists, or a pandas Series or DataFrame. All named arguments must have the
    same outputs.

    Args:
      **targets: Targets by the names of their arguments, such as `y=`, `y_valid=`.

    Returns:
      One float64 array `(n, outputs)` per argument.

    Raises:
      ValueError: If one holds text or entries that are not finite, has no rows, or
        they differ in their outputs.

    Example:
      >>> y, y_valid = real_targets(y=[1, 2], y_valid=np.ones((3, 1)))
      >>> y.shape, y_valid.shape
      ((2, 1), (3, 1))
    """
    arrays = []
    for name, values in targets.items():
        array = numbers(name, values)
        check(
            array.ndim >= 1 and len(array) > 0,
            f"{name} must hold one target per row, of one row at least; got shape "
            f"{array.shape}.",
        )
        arrays.append(array.reshape(len(array), -1))
    widths = [array.shape[1] for array in arrays]
    check(
        len(set(widths)) <= 1 and min(widths, default=1) > 0,
        f"{', '.join(targets)} must have the same outputs, one at least; got {widths} "
        "outputs per row.",
    )
    return tuple(arrays)


def class_targets(
    num_classes: int | None = None, /, **targets: Any
) -> tuple[tuple[np.ndarray, ...], int]:
    """Targets of a classification as class numbers, and how many classes there are.

    Accepted for each: class numbers as integers, booleans or whole floats, `(n,)` or
    `(n, 1)`; one-hot rows `(n, classes)`; labels as text, which are numbered *jointly*
    over all named arguments in sorted order, so that a label means the same class in
    each of them. From arrays, lists, or a pandas Series or DataFrame.

    Args:
      num_classes: Classes there are; one more than the largest number (or the columns
        of one-hot rows, or the labels met) when left out.
      **targets: Targets by the names of their arguments, such as `y=`, `y_valid=`.

    Returns:
      One int64 array `(n,)` per argument, and the number of classes.

    Raises:
      ValueError: If one has no rows, holds numbers that are not whole or negative, or
        rows that are not one-hot; if text meets numbers; if a number is too large.

    Example:
      >>> (y, y_valid), count = class_targets(y=["no", "yes"], y_valid=[["yes"]])
      >>> y.tolist(), y_valid.tolist(), count
      ([0, 1], [1], 2)
    """
    arrays = {name: _plain(name, values) for name, values in targets.items()}
    for name, array in arrays.items():
        check(
            array.ndim in (1, 2) and array.size > 0,
            f"{name} must hold one class per row (or one-hot rows), of one row at "
            f"least; got shape {array.shape}.",
        )
    text = {name: array.dtype.kind in "US" for name, array in arrays.items()}
    check(
        len(set(text.values())) <= 1,
        f"{', '.join(text)} must all be labels as text, or all be class numbers; got "
        f"{ {name: str(array.dtype) for name, array in arrays.items()} }. Convert one.",
    )
    if any(text.values()):
        classes, count = _number_labels(arrays)
    else:
        read = [_class_numbers(name, array) for name, array in arrays.items()]
        widths = {width for _, width in read if width}
        check(
            len(widths) <= 1,
            f"{', '.join(arrays)} must be one-hot over the same classes; got "
            f"{sorted(widths)} columns.",
        )
        classes = [numbers for numbers, _ in read]
        count = max([*widths, *(int(numbers.max()) + 1 for numbers in classes)])
    limit = _MOST_CLASSES if num_classes is None else num_classes
    check(
        count <= limit,
        f"{', '.join(targets)} must hold class numbers 0 to {limit - 1}; got "
        f"{count - 1}. Number the classes from 0 without gaps.",
    )
    return tuple(classes), count if num_classes is None else num_classes


def labels(**targets: Any) -> tuple[np.ndarray, ...]:
    """Targets that are only compared with one another, numbered jointly.

    As `class_targets`, but any whole number is a label (-1 and 1, a postcode): nothing
    has an output or a column for it.

    Args:
      **targets: Targets by the names of their arguments.

    Returns:
      One int64 array `(n,)` per argument: equal numbers where the labels are equal.

    Raises:
      ValueError: If one has no rows, holds numbers that are not whole, or rows that are
        not one-hot; if text meets numbers, which would never match.

    Example:
      >>> y, y_valid = labels(y=[-1, 1, 1], y_valid=[[1]])
      >>> y.tolist(), y_valid.tolist()
      ([0, 1, 1], [1])
    """
    arrays = {name: _plain(name, values) for name, values in targets.items()}
    for name, array in arrays.items():
        check(
            array.ndim in (1, 2) and array.size > 0,
            f"{name} must hold one class per row (or one-hot rows), of one row at "
            f"least; got shape {array.shape}.",
        )
    text = {array.dtype.kind in "US" for array in arrays.values()}
    check(
        len(text) <= 1,
        f"{', '.join(arrays)} must hold the same kind of classes; got "
        f"{[str(array.dtype) for array in arrays.values()]}, which never match.",
    )
    if True not in text:
        arrays = {name: _whole_labels(name, array) for name, array in arrays.items()}
    return tuple(_number_labels(arrays)[0])


def owners(name: str, owner: Any, *, num_rows: int | None = None) -> np.ndarray:
    """Who contributed each row, as numbers 0 to K-1 without gaps.

    Accepted: integers, booleans or whole floats, `(n,)` or `(n, 1)`, from arrays,
    lists, or a pandas Series or column.

    Args:
      name: Argument that the message names.
      owner: Owner number of each row.
      num_rows: Rows there are, where known.

    Returns:
      An int64 array `(n,)`.

    Raises:
      ValueError: If it holds text or numbers that are not whole or negative, an owner
        has no rows, or the length is not `num_rows`.

    Example:
      >>> owners("owner", [[0.0], [1.0], [0.0]]).tolist()
      [0, 1, 0]
    """
    array = _plain(name, owner)
    check(
        array.dtype.kind not in "US",
        f"{name} must number the owners 0 to K-1; got text. Number them first: names, "
        f"{name} = np.unique({name}, return_inverse=True).",
    )
    check(
        array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1),
        f"{name} must be a vector, one owner number per row; got shape {array.shape}.",
    )
    array = _whole(name, array.reshape(-1))
    groups(name, array)
    check(
        num_rows is None or len(array) == num_rows,
        f"{name} must have one entry per row; got {len(array)} for {num_rows} rows.",
    )
    return array


_MOST_CLASSES = 2**16
"""Classes beyond which class numbers are taken to be something else."""


def _plain(name, values) -> np.ndarray:
    """NumPy of booleans, numbers or text; no objects."""
    try:
        array = np.asarray(values)
        if array.dtype.kind == "U" and isinstance(values, list | tuple):
            array = np.asarray(values, object)  # NumPy spells the numbers in it out
        if array.dtype.kind in "OT":
            flat = array.ravel().tolist()
            text = [isinstance(each, str) for each in flat]
            array = array.astype(str if all(text) and text else np.float64)
            good = all(text) or not any(text)
        elif array.dtype.kind == "V":  # bfloat16 and its kind
            array, good = array.astype(np.float64), True
        else:
            good = True
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be an array of numbers or labels, without missing entries; "
            f"got {type(values).__name__} ({error})."
        ) from error
    check(good, f"{name} must not mix text and numbers.")
    return array


def _described(array) -> str:
    kinds = {"U": "text", "S": "text", "M": "dates", "m": "durations", "c": "complex"}
    kind = kinds.get(array.dtype.kind, str(array.dtype))
    return f"{kind} of shape {array.shape}"


def _whole(name, array, *, signed: bool = False) -> np.ndarray:
    check(
        array.dtype.kind in "biuf",
        f"{name} must hold whole numbers; got {_described(array)}.",
    )
    finite(name, array)
    exact = array.astype(np.float64)
    wrong = np.flatnonzero(exact != np.floor(exact))
    check(
        wrong.size == 0,
        f"{name} must hold whole numbers; got {exact[wrong[:1]]} in row {wrong[:1]}.",
    )
    low, high = exact.min(initial=0), exact.max(initial=0)
    low = max(low, 0) if signed and low > -(2**53) else low
    check(
        low >= 0 and high < 2**53,
        f"{name} must hold numbers 0, 1, ...; got {low} to {high}.",
    )
    return array.astype(np.int64)


def _class_numbers(name, array) -> tuple[np.ndarray, int]:
    """Class numbers, and the number of classes where the rows are one-hot."""
    if array.ndim == 1 or array.shape[1] == 1:
        return _whole(name, array.reshape(-1)), 0
    table = numbers(name, array)
    check(
        bool((((table == 0) | (table == 1)).all(1) & (table.sum(1) == 1)).all()),
        f"{name} must hold one class number per row or one-hot rows (a single 1, else "
        f"0); got other numbers in shape {array.shape}.",
    )
    return table.argmax(1), table.shape[1]


def _whole_labels(name, array) -> np.ndarray:
    if array.ndim == 2 and array.shape[1] > 1:
        return _class_numbers(name, array)[0]
    return _whole(name, array.reshape(-1), signed=True)


def _number_labels(arrays) -> tuple[list[np.ndarray], int]:
    for name, array in arrays.items():
        check(
            array.ndim == 1 or array.shape[1] == 1,
            f"{name} must hold one label per row; got shape {array.shape}.",
        )
    flat = [array.reshape(-1) for array in arrays.values()]
    names, number = np.unique(np.concatenate(flat), return_inverse=True)
    stops = np.cumsum([len(each) for each in flat])[:-1]
    return np.split(number.reshape(-1).astype(np.int64), stops), len(names)
