"""`jaxval.value` from Python: what it takes, what it returns, what it shares."""

import dataclasses
import inspect

import numpy as np
import pytest
from valuation.pets import read, run

import jaxval
from jaxval.types import Dataset, Points
from jaxval.valuation import api, command
from jaxval.valuation.settings import Settings

RNG = np.random.default_rng(3)
X = RNG.normal(size=(30, 2))
Y = (X[:, 0] > 0).astype(int)
OWNER = np.arange(30) % 3


def frame_of(path):
    pd = pytest.importorskip("pandas")
    return pd.read_csv(path)


def test_the_function_and_the_command_have_the_same_settings():
    fields = {field.name: field.default for field in dataclasses.fields(Settings)}
    options = {
        field.name: field.default for field in dataclasses.fields(command.Config)
    }
    data = options.pop("data")
    assert data is dataclasses.MISSING
    assert options == fields
    parameters = dict(inspect.signature(jaxval.value).parameters)
    assert parameters.pop("data").default is inspect.Parameter.empty
    assert {name: each.default for name, each in parameters.items()} == fields
    assert all(each.kind is each.KEYWORD_ONLY for each in parameters.values())


@pytest.mark.parametrize("kind", ["path", "pandas", "dict", "frame-like"])
def test_every_kind_of_table_has_the_values_of_the_command(table, kind):
    assert run(table, "--game", "knn") == 0
    expected = {row["owner"]: float(row["shapley"]) for row in read(table)}
    data = table
    if kind != "path":
        frame = frame_of(table)
        arrays = {name: frame[name].to_numpy() for name in frame.columns}
        data = {"pandas": frame, "dict": arrays}.get(kind, _Frame(arrays))
    valuation = jaxval.value(data, target="kind", owner="who", game="knn")
    values = dict(zip(valuation.owner_names, valuation.values, strict=True))
    assert values == expected


class _Frame:
    """What polars and pyarrow have in common with pandas."""

    def __init__(self, arrays):
        self.arrays, self.columns = arrays, list(arrays)

    def __getitem__(self, name):
        return self.arrays[name]


@pytest.mark.parametrize("target", [Y, X[:, 0] + 0.1])
def test_a_dataset_is_encoded_as_an_archive(tmp_path, target):
    np.savez(
        tmp_path / "t.npz",
        x=X,
        y=target,
        owner=OWNER,
        x_valid=X[:9],
        y_valid=target[:9],
    )
    # Archives name their training rows so where they also hold validation rows.
    data = Dataset(X, target, OWNER)
    ours = jaxval.value(data, valid=Points(X[:9], target[:9]), game="knn")
    theirs = jaxval.value(tmp_path / "t.npz", game="knn")
    np.testing.assert_array_equal(ours.values, theirs.values)
    assert ours.owner_names == theirs.owner_names == ("0", "1", "2")


def test_what_a_valuation_offers(tmp_path):
    data = Dataset(X, Y, OWNER)
    valuation = jaxval.value(data, valid=Points(X, Y), game="knn")
    assert len(valuation) == 3
    assert sorted(valuation.ranks) == [1, 2, 3]
    assert valuation.values[valuation.ranks == 1] == valuation.values.max()
    np.testing.assert_array_equal(valuation.stderr, 0)
    lines = repr(valuation).splitlines()
    assert lines[0] == "Values of the owners of the rows: Shapley value"
    assert max(map(len, lines[:-2])) <= 88
    frame = pytest.importorskip("pandas") and valuation.to_frame()
    assert list(frame.index) == ["0", "1", "2"]
    np.testing.assert_array_equal(frame["shapley"], valuation.values)
    files = valuation.save(tmp_path / "new" / "folder")
    assert {"values.csv", "baselines.csv", "metrics.json", "config.json"} < set(files)
    with pytest.raises(dataclasses.FrozenInstanceError):
        valuation.name = "another"


def test_a_valuation_is_drawn():
    pytest.importorskip("matplotlib")
    valuation = jaxval.value(Dataset(X, Y, OWNER), valid=Points(X, Y), game="size")
    (axes,) = valuation.plot().axes
    assert "Shapley value" in axes.get_title()


def test_without_pandas_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    valuation = jaxval.value(Dataset(X, Y, OWNER), valid=Points(X, Y), game="size")
    with pytest.raises(ImportError, match="pip install pandas"):
        valuation.to_frame()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"game": "kmm"}, r"^game must be one of davinz, .*; got 'kmm'\."),
        ({"seeds": 0}, "^seeds must be at least 1; got 0"),
        ({"width": 2.0, "game": "knn"}, "^width does nothing with game knn"),
        ({"semivalue": "beta", "estimator": "truncated"}, "^estimator truncated can't"),
        ({"owner": "who"}, "has no column 'who'"),
        ({"valid": object()}, "the validation table must be a path"),
        ({"memory": -1.0}, "^memory must be positive"),
        ({"probability": 0.3}, "needs semivalue weighted-banzhaf"),
    ],
)
def test_settings_that_are_refused(settings, message, without_type_checks):
    with pytest.raises(ValueError, match=message):
        jaxval.value(Dataset(X, Y, OWNER), **settings)


def test_a_setting_that_is_none():
    with pytest.raises(TypeError, match="no setting 'targets'; it has target, owner"):
        jaxval.value(Dataset(X, Y, OWNER), targets="y")


@pytest.mark.parametrize("data", [3, None, X, [1, 2], {"a": [1, 2], "y": [1]}, {}])
def test_what_is_no_table_is_refused(data):
    with pytest.raises(ValueError, match="the table"):
        jaxval.value(data, target="y")


def test_notes_are_warnings_in_python():
    data = Dataset(X, Y, np.arange(30))
    with pytest.warns(UserWarning, match="30 players are too many"):
        jaxval.value(data, valid=Points(X, Y), game="size", budget=100)


def test_least_squares_on_few_players_ends():
    """All coalitions of three players are fewer than it would sample."""
    with pytest.warns(UserWarning, match="would sample more than the 8 coalitions"):
        valuation = jaxval.value(
            Dataset(X, Y, OWNER), valid=Points(X, Y), game="knn",
            estimator="least-squares",
        )  # fmt: skip
    assert valuation.num_evaluations == 8
    assert (valuation.stderr == 0).all()


def test_dashes_are_taken_from_settings_alone():
    text = "give --owner or -- well -- --budget N; a--b"
    assert api._without_dashes(text) == "give owner or -- well -- budget N; a--b"
