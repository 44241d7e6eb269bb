import gzip

import jax
import numpy as np
import pytest

from jaxval import datasets


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.integers(0, 256, (6, 5, 4), np.uint8),
        "y_train": np.arange(6, dtype=np.uint8),
        "x_test": rng.integers(0, 256, (3, 5, 4), np.uint8),
        "y_test": np.arange(3, dtype=np.uint8),
    }


def write_idx(path, array, opener=open):
    header = b"\0\0\x08" + bytes([array.ndim])
    sizes = np.array(array.shape, ">u4").tobytes()
    with opener(path, "wb") as file:
        file.write(header + sizes + array.tobytes())


def test_digits_are_split_by_key(key):
    one, again = datasets.digits(key), datasets.digits(key)
    other = datasets.digits(jax.random.key(1))
    np.testing.assert_array_equal(one.x_train, again.x_train)
    assert not np.array_equal(one.y_train, other.y_train)
    assert one.x_train.dtype == np.float32
    assert one.y_train.dtype == np.int32
    assert one.x_train.min() == 0
    assert one.x_train.max() == 1
    total = one.x_train.sum() + one.x_valid.sum()
    np.testing.assert_allclose(total, other.x_train.sum() + other.x_valid.sum(), 1e-5)


def test_digits_leave_something_on_both_sides(key):
    assert len(datasets.digits(key, 1796).y_train) == 1
    for wrong in (0, 1797):
        with pytest.raises(ValueError, match="num_valid must be 1 to 1796"):
            datasets.digits(key, wrong)


def test_archive_scales_bytes_and_adds_the_channel(tmp_path, arrays):
    np.savez(tmp_path / "tiny.npz", **arrays)
    split = datasets.load("tiny", tmp_path)
    np.testing.assert_allclose(split.x_train[..., 0] * 255, arrays["x_train"], 1e-6)
    assert split.x_train.dtype == np.float32
    assert split.x_valid.shape == (3, 5, 4, 1)
    assert split.y_train.dtype == np.int32


def test_archive_raw_and_cut(tmp_path, arrays):
    np.savez(tmp_path / "tiny.npz", **arrays)
    split = datasets.load("tiny", tmp_path, num_train=2, num_valid=1, scale=None)
    assert split.x_train.dtype == np.uint8
    assert (len(split.y_train), len(split.y_valid)) == (2, 1)


def test_the_folder_may_come_from_the_environment(tmp_path, arrays, monkeypatch):
    np.savez(tmp_path / "tiny.npz", **arrays)
    monkeypatch.setenv("JAXVAL_DATA", str(tmp_path))
    assert len(datasets.load("tiny").y_train) == 6


def test_standardised_is_the_released_codes(tmp_path, arrays):
    colour = {
        name: np.repeat(a[..., None], 3, -1) if a.ndim == 3 else a
        for name, a in arrays.items()
    }
    np.savez(tmp_path / "tiny.npz", **colour)
    scale = datasets.standardised(datasets.CIFAR10_MEAN, datasets.CIFAR10_STD)
    split = datasets.load("tiny", tmp_path, scale=scale)
    pixel = colour["x_train"][2, 3, 1, 2] / 255
    np.testing.assert_allclose(
        split.x_train[2, 3, 1, 2], (pixel - 0.4465) / 0.2010, rtol=1e-5
    )


@pytest.mark.parametrize("opener", [open, gzip.open])
@pytest.mark.parametrize("dotted", [False, True])
def test_idx_round_trip(tmp_path, arrays, opener, dotted):
    folder = tmp_path / "tiny"
    folder.mkdir()
    for name, part in {"train": "train", "t10k": "test"}.items():
        for kind, letter in {"images-idx3": "x", "labels-idx1": "y"}.items():
            kind = kind.replace("-idx", ".idx") if dotted else kind
            end = ".gz" if opener is gzip.open else ""
            path = folder / f"{name}-{kind}-ubyte{end}"
            write_idx(path, arrays[f"{letter}_{part}"], opener)
    split = datasets.load("tiny", tmp_path, scale=None)
    np.testing.assert_array_equal(split.x_train[..., 0], arrays["x_train"])
    np.testing.assert_array_equal(split.y_valid, arrays["y_test"])


def test_nothing_there(tmp_path, monkeypatch):
    monkeypatch.delenv("JAXVAL_DATA", raising=False)
    with pytest.raises(datasets.DataError, match=r"tiny\.npz in it.*JAXVAL_DATA"):
        datasets.load("tiny")
    with pytest.raises(datasets.DataError, match=r"no archive .*tiny\.npz.*savez"):
        datasets.load("tiny", tmp_path)
    with pytest.raises(datasets.DataError, match="folder .*nowhere does not exist"):
        datasets.load("tiny", tmp_path / "nowhere")
    with pytest.raises(datasets.DataError, match="no IDX file .*train-images-idx3"):
        datasets.idx(tmp_path)


def test_damaged_archives(tmp_path, arrays):
    path = tmp_path / "tiny.npz"
    np.savez(path, x_train=arrays["x_train"])
    with pytest.raises(datasets.DataError, match="y_train, x_test, y_test are needed"):
        datasets.archive(path)
    path.write_bytes(b"PK\x03\x04 nonsense")
    with pytest.raises(datasets.DataError, match=r"not a plain \.npz archive"):
        datasets.archive(path)
    np.savez(path, **{**arrays, "y_train": np.array([{}], object)})
    with pytest.raises(datasets.DataError, match=r"not a plain \.npz archive"):
        datasets.archive(path)
    np.savez(path, **{**arrays, "y_train": np.arange(5)})
    with pytest.raises(datasets.DataError, match="train: needs one target a row"):
        datasets.archive(path)
    np.savez(path, **{**arrays, "y_test": np.array(["a", "b", "c"])})
    with pytest.raises(datasets.DataError, match="test: needs arrays of numbers"):
        datasets.archive(path)
    np.savez(path, **{**arrays, "x_test": arrays["x_test"][:, 1:]})
    with pytest.raises(datasets.DataError, match="test inputs"):
        datasets.archive(path)
    with path.open("wb") as file:
        np.save(file, arrays["x_train"])
    with pytest.raises(datasets.DataError, match="is one array"):
        datasets.archive(path)


def test_damaged_idx_files(tmp_path, arrays):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(b"text")
    with pytest.raises(datasets.DataError, match="not an IDX file"):
        datasets.idx(tmp_path)
    write_idx(path, arrays["x_train"])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(datasets.DataError, match=r"\(6, 5, 4\).*holds 119"):
        datasets.idx(tmp_path)
    path.with_suffix(".gz").write_bytes(b"not gzip")
    path.unlink()
    with pytest.raises(datasets.DataError, match="could not be read"):
        datasets.idx(tmp_path)


def test_openml_through_scikit_learn(monkeypatch):
    asked = {}

    def fetch(**options):
        asked.update(options)
        x = np.arange(10 * 4, dtype=float).reshape(10, 4)
        return x, np.array(list("ab" * 5), object)

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    split = datasets.openml("mice", 7, shape=(2, 2, 1))
    assert asked["name"] == "mice"
    assert split.x_train.shape == (7, 2, 2, 1)
    np.testing.assert_allclose(split.x_valid[-1, -1, -1, 0], 39 / 255)
    assert split.y_valid.tolist() == [1, 0, 1]
    assert datasets.openml(61, 7).x_train.max() == 27
    assert asked["data_id"] == 61
    with pytest.raises(ValueError, match="num_train must be 1 to 9"):
        datasets.openml("mice", 10)


def test_openml_without_a_network(monkeypatch):
    def fetch(**options):
        raise ConnectionError("no route")

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    with pytest.raises(
        datasets.DataError, match=r"OpenML \(no route\)\. Is there a ne"
    ):
        datasets.openml("mice", 7)
