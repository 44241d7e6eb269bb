import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from jaxval import _targets

CLASSES = np.array([2, 0, 1, 1])
SPELLED = {
    "integers": CLASSES,
    "list": CLASSES.tolist(),
    "column": CLASSES[:, None],
    "floats": CLASSES.astype(np.float16),
    "bfloat16": jnp.asarray(CLASSES, jnp.bfloat16),
    "unsigned": CLASSES.astype(np.uint8),
    "one-hot": np.eye(3)[CLASSES],
    "boolean one-hot": np.eye(3, dtype=bool)[CLASSES],
    "text": np.array(["a", "b", "c"])[CLASSES],
    "objects": np.array(["a", "b", "c"], object)[CLASSES][:, None],
    "series": pd.Series(CLASSES, index=[7, 3, 5, 1]),
    "nullable series": pd.Series(CLASSES, dtype="Int64"),
    "frame": pd.DataFrame({"target": CLASSES}),
    "text series": pd.Series(["c", "a", "b", "b"]),
    "categories": pd.Series(["c", "a", "b", "b"], dtype="category"),
    "dummies": pd.get_dummies(pd.Series(CLASSES)),
    "strided": np.repeat(CLASSES, 2)[::2],
}


@pytest.mark.parametrize("spelling", SPELLED)
def test_classes_are_read_however_they_are_spelled(spelling):
    (y,), count = _targets.class_targets(y=SPELLED[spelling])
    assert y.dtype == np.int64
    assert count == 3
    np.testing.assert_array_equal(y, CLASSES)


def test_labels_are_numbered_jointly():
    (y, y_valid), count = _targets.class_targets(y=["b", "c"], y_valid=["c", "a", "b"])
    assert (y.tolist(), y_valid.tolist(), count) == ([1, 2], [2, 0, 1], 3)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ({"y": [0, 1], "y_valid": ["0", "1"]}, "y, y_valid must all be labels"),
        ({"y": [0.5, 1.0]}, "y must hold whole numbers"),
        ({"y": [np.nan, 1.0]}, "y must be finite"),
        ({"y": [-1, 1]}, r"y must hold numbers 0, 1, \.\.\."),
        ({"y": []}, "y must hold one class per row"),
        ({"y": np.ones((2, 2))}, "y must hold .* one-hot"),
        ({"y": np.eye(2), "y_valid": np.eye(3)}, "one-hot over the same classes"),
        ({"y": [10**7]}, "without gaps"),
        ({"y": ["a", 1.0, None]}, "y must be an array"),
        ({"y": np.array(["a", 1], object)}, "y must be an array"),
        ({"y": ["a", 1.0]}, "y must be an array"),
        ({"y": pd.Series([1, None], dtype="Int64")}, "y must be (finite|an array)"),
        ({"y": np.array(["2020-01-01"], "M8[D]")}, "dates"),
        ({"y": [[0, 1], [2]]}, "y must be an array"),
        ({"y": 3}, "y must hold one class per row"),
    ],
)
def test_what_holds_no_classes_is_refused(targets, message):
    with pytest.raises(ValueError, match=message):
        _targets.class_targets(**targets)


def test_more_classes_than_outputs_are_refused():
    with pytest.raises(ValueError, match="class numbers 0 to 1; got 2"):
        _targets.class_targets(2, y=CLASSES)


@pytest.mark.parametrize(
    "spelling", ["integers", "column", "floats", "series", "frame", "strided"]
)
def test_real_targets_are_read_however_they_are_spelled(spelling):
    (y,) = _targets.real_targets(y=SPELLED[spelling])
    np.testing.assert_array_equal(y, CLASSES[:, None].astype(float))


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ({"y": ["a"]}, "y must hold real numbers; got text"),
        ({"y": [1j]}, "y must hold real numbers; got complex"),
        ({"y": [np.inf]}, "y must be finite"),
        ({"y": []}, "y must hold one target per row"),
        ({"y": np.ones((2, 0))}, "same outputs, one at least"),
        ({"y": [1.0], "y_valid": np.ones((1, 2))}, "y, y_valid must have the same"),
    ],
)
def test_what_holds_no_real_targets_is_refused(targets, message):
    with pytest.raises(ValueError, match=message):
        _targets.real_targets(**targets)


@pytest.mark.parametrize("spelling", ["integers", "column", "floats", "series"])
def test_owners_are_read_however_they_are_spelled(spelling):
    owner = _targets.owners("owner", SPELLED[spelling], num_rows=4)
    np.testing.assert_array_equal(owner, CLASSES)


@pytest.mark.parametrize(
    ("owner", "message"),
    [
        (["a", "b"], r"np\.unique"),
        ([0, 2], "without gaps"),
        ([0.5, 1.0], "whole"),
        (np.eye(2, dtype=int), "vector"),
        ([], "empty"),
        ([0, 0, 1], "one entry per row; got 3 for 2 rows"),
    ],
)
def test_what_names_no_owners_is_refused(owner, message):
    with pytest.raises(ValueError, match=message):
        _targets.owners("owner", owner, num_rows=2)
