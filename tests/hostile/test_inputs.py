"""What users might give, into every public factory: right, or refused by its name.

Each factory names its arguments and their kinds. A spelling of an argument that means
the same (a list, float16, a frame, a strided view) must give the same numbers, or be
refused; what means nothing (NaN, text, the wrong length) must be refused, by a message
that names the argument. Nothing returns NaN, nothing returns another number.
"""

import contextlib
import dataclasses
import inspect
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from jaxval import ecoval, evaluation
from jaxval import linear_models as fits
from jaxval.attribution import influence as influence_functions
from jaxval.distributional import regressions
from jaxval.distributional import utilities as point_utilities
from jaxval.games import (
    complexity,
    custom,
    discrepancy,
    kernel_regression,
    knn,
    linear_models,
    retraining,
    size,
    volume,
)
from jaxval.games.residual import residual
from jaxval.kernels import mmd, pairwise, readouts, spectra, tangent
from jaxval.semivalues import exact, weights
from jaxval.training import Recipe, cross_entropy, squared_error, stateless
from jaxval.types import Dataset, Points

RNG = np.random.default_rng(0)
# Numbers that float16 holds, so that a narrow spelling means the same.
X = np.round(4 * RNG.normal(size=(6, 2))) / 4
V = np.round(4 * RNG.normal(size=(4, 2))) / 4
Y, YV = np.array([0, 1, 2, 0, 1, 2]), np.array([0, 1, 2, 1])
R, RV = X[:, 0] - X[:, 1], V[:, 0] - V[:, 1]
OWNER = np.array([0, 0, 1, 1, 2, 2])
GRAM = X @ X.T + np.eye(6)
MASKS = np.array([[1, 0, 0], [1, 0, 1], [1, 1, 1]], bool)
COUNTED = {"same": 0, "refused": 0}


@dataclasses.dataclass(frozen=True)
class Factory:
    """A public function of named arrays.

    Attributes:
      call: Function of the arrays, by name, to numbers.
      arrays: Their usual values.
      kinds: What each is: inputs, classes, reals, owner, numbers.
      names: What messages may call them, where that is another name.
    """

    call: Callable[..., Any]
    arrays: dict[str, Any]
    kinds: dict[str, str]
    names: dict[str, str] = dataclasses.field(default_factory=dict)


FACTORIES: dict[str, Factory] = {}


def add(name, call, names=None, **arrays):
    """A factory whose arrays are given as `name=(kind, values)`."""
    values = {key: value for key, (_, value) in arrays.items()}
    kinds = {key: kind for key, (kind, _) in arrays.items()}
    FACTORIES[name] = Factory(call, values, kinds, names or {})


def scored(game):
    masks = MASKS if game.num_players == 3 else np.tri(game.num_players, dtype=bool)
    return np.asarray(game.scores(masks))


def raw(fn):
    """Without the tests' own type checks, as a user's call."""
    return inspect.unwrap(fn)


ROWS = {"x": ("inputs", X), "v": ("inputs", V), "owner": ("owner", OWNER)}
CLASSES = ROWS | {"y": ("classes", Y), "yv": ("classes", YV)}
REALS = ROWS | {"y": ("reals", R), "yv": ("reals", RV)}
PARTS = {"x": "data.x", "y": "data.y", "v": "valid.x", "yv": "valid.y"}
PARTS |= {"owner": "data.owner"}


def of_data(make):
    def call(x, y, owner, v, yv):
        return scored(make(Dataset(x, y, owner), Points(v, yv)))

    return call


add("logistic", of_data(raw(linear_models.logistic)), PARTS, **CLASSES)
add("data_shapley", of_data(raw(linear_models.data_shapley)), PARTS, **CLASSES)
add("ridge", of_data(raw(linear_models.ridge)), PARTS, **REALS)
add(
    "ridge_regression",
    lambda x, y, owner, v, yv: scored(
        raw(kernel_regression.ridge_regression)(x, v, y, yv, owner, penalty=1.0)
    ),
    {"v": "x_valid", "yv": "y_valid"},
    **CLASSES,
)
add(
    "kernel_regression",
    lambda gram, across, y, yv, owner: scored(
        raw(kernel_regression.kernel_regression)(
            gram, across, y, yv, owner, penalty=1.0
        )
    ),
    {"across": "gram_valid", "yv": "y_valid"},
    gram=("numbers", GRAM), across=("numbers", V @ X.T), y=("classes", Y),
    yv=("classes", YV), owner=("owner", OWNER),
)  # fmt: skip
FAR = np.abs(V[:, :1] - X[:, 0][None])
for kind, targets in (("classes", (Y, YV)), ("reals", (R, RV))):
    rule = "regression" if kind == "reals" else "classification"
    parts = {"far": ("numbers", FAR), "y": (kind, targets[0]), "yv": (kind, targets[1])}
    add(
        f"knn {rule}",
        lambda far, y, yv, owner, rule=rule: scored(
            raw(knn.knn)(far, y, yv, owner, k=2, kind=rule)
        ),
        {"far": "distances", "yv": "y_valid"},
        **parts, owner=("owner", OWNER),
    )  # fmt: skip
    add(
        f"knn_shapley {rule}",
        lambda far, y, yv, rule=rule: raw(knn.knn_shapley)(far, y, yv, k=2, kind=rule),
        {"far": "distances", "yv": "y_valid"},
        **parts,
    )
add(
    "threshold_knn_shapley",
    lambda far, y, yv: raw(knn.threshold_knn_shapley)(far, y, yv, radius=1.0),
    {"far": "distances", "yv": "y_valid"},
    far=("numbers", FAR), y=("classes", Y), yv=("classes", YV),
)  # fmt: skip
add(
    "complexity",
    lambda gram, y, owner: scored(raw(complexity.complexity)(gram, y, owner, zeta=1.0)),
    {"y": "residual"},
    gram=("numbers", GRAM), y=("reals", R), owner=("owner", OWNER),
)  # fmt: skip
add(
    "complexity_of_features",
    lambda x, y, owner: scored(
        raw(complexity.complexity_of_features)(x, y, owner, zeta=1.0)
    ),
    {"x": "features", "y": "residual"},
    x=("inputs", X), y=("reals", R), owner=("owner", OWNER),
)  # fmt: skip
add(
    "residual",
    lambda outputs, y: raw(residual)(outputs, y, "true_class_logit"),
    outputs=("numbers", GRAM[:, :3]), y=("classes", Y),
)  # fmt: skip
add(
    "discrepancy",
    lambda x, owner, v: scored(
        raw(discrepancy.discrepancy)(
            raw(mmd.kernel_sums)(x, owner, v, pairwise.rbf(1.0))
        )
    ),
    {"v": "valid"},
    **ROWS,
)
add(
    "mmd",
    lambda x, v: raw(mmd.mmd)(x, v, pairwise.rbf(1.0)),
    {"v": "valid"},
    x=("inputs", X), v=("inputs", V),
)  # fmt: skip
for name in ("squared_distances", "distances", "median_distance"):
    ask = getattr(pairwise, name)
    add(
        name,
        lambda x, v, fn=ask: raw(fn)(x, v),
        {"v": "y"},
        x=("inputs", X), v=("inputs", V),
    )  # fmt: skip
add("spectrum", lambda gram: raw(spectra.spectrum)(gram).eigenvalues,
    gram=("numbers", GRAM))  # fmt: skip
add("volume", lambda x, owner: scored(raw(volume.volume)(x, owner)),
    {"x": "features"}, x=("inputs", X), owner=("owner", OWNER))  # fmt: skip
add("robust_volume", lambda x, owner: scored(raw(volume.robust_volume)(x, owner)),
    {"x": "features"}, x=("inputs", X), owner=("owner", OWNER))  # fmt: skip
add("size", lambda owner: scored(raw(size.size)(owner)), owner=("owner", OWNER))
add("log_size", lambda owner: scored(raw(size.log_size)(owner)), owner=("owner", OWNER))


def estimated(x, y, owner, v, yv):
    from sklearn.neighbors import KNeighborsClassifier

    model = KNeighborsClassifier(1)
    return scored(custom.from_estimator(model, Dataset(x, y, owner), Points(v, yv)))


add("from_estimator", estimated, PARTS, **CLASSES)


def retrained(x, y, owner, v, yv):
    net = stateless(lambda key: jnp.zeros((2, 3)), lambda p, x: x @ p)
    recipe = Recipe(loss=cross_entropy, batch_size=None, epochs=2)
    make = raw(retraining.seed_scores)
    ask = make(jax.random.key(0), Dataset(x, y, owner), Points(v, yv), net, recipe)
    return ask(MASKS)


add("retraining", retrained, PARTS, **CLASSES)


def influenced(loss, outputs):
    def call(x, y, owner, v, yv):
        params = jnp.zeros((2, outputs), jnp.float32)
        net = lambda p, x: x @ p
        data, valid = Dataset(x, y, owner), Points(v, yv)
        return raw(influence_functions.influences)(
            net, params, loss, data, valid, damping=0.1
        )

    return call


add("influences", influenced(cross_entropy, 3), PARTS, **CLASSES)
add("influences real", influenced(squared_error, 1), PARTS, **REALS)
add(
    "influence of owners",
    lambda values, owner: raw(influence_functions.influence)(values, owner),
    values=("numbers", R), owner=("owner", OWNER),
)  # fmt: skip
add(
    "tangent.gram",
    lambda x, v: tangent.gram(
        lambda p, x: jnp.tanh(x @ p), jnp.ones((2, 1)), x, v,
        readout=readouts.single_output,
    ),
    {"x": "rows|kernel", "v": "columns|rows|kernel"},
    x=("inputs", X), v=("inputs", V),
)  # fmt: skip


def valued_points(make, targets):
    def call(x, y, v, yv):
        points = make(Points(x, y), Points(v, yv), Points(V, targets))
        return points(jnp.array([0, 1, 2]), jnp.int32(2))

    return call


add(
    "points logistic", valued_points(raw(point_utilities.logistic), YV),
    {"x": "pool.x", "y": "pool.y", "v": "points.x", "yv": "points.y"},
    x=("inputs", X), y=("classes", Y), v=("inputs", V), yv=("classes", YV),
)  # fmt: skip
add(
    "points ridge",
    valued_points(
        lambda *parts: raw(point_utilities.ridge)(
            *parts, penalty=1.0, metric=kernel_regression.negative_squared_error
        ),
        RV,
    ),
    {"x": "pool.x", "y": "pool.y", "v": "points.x", "yv": "points.y"},
    x=("inputs", X), y=("reals", R), v=("inputs", V), yv=("reals", RV),
)  # fmt: skip
add(
    "regressions.ridge",
    lambda x, y, values: regressions.ridge(with_target=True)(x, y, values)(X, R),
    x=("inputs", X), y=("reals", R), values=("numbers", R),
)  # fmt: skip
add("design", lambda x: raw(fits.design)(x).x, x=("inputs", X))
add(
    "allocate",
    lambda worth, q, d, cluster: raw(ecoval.allocate)(
        worth, ecoval.Members(q, d, cluster)
    ).values,
    {"worth": "v_c", "q": "points.q", "d": "points.d", "cluster": "points.cluster"},
    worth=("numbers", np.array([0.25, 0.5, 0.125])), q=("numbers", np.abs(R) + 1),
    d=("numbers", np.abs(R)), cluster=("owner", OWNER),
)  # fmt: skip
add(
    "owner_sums",
    lambda values, owner: raw(ecoval.owner_sums)(values, owner),
    {"values": "point_values"},
    values=("numbers", R), owner=("owner", OWNER),
)  # fmt: skip
add("detect", lambda values: raw(evaluation.detect)(values, Y > 0).precision,
    values=("numbers", R))  # fmt: skip
for name in ("pearson", "spearman"):
    ask = getattr(evaluation, name)
    add(name, lambda x, y, fn=ask: raw(fn)(x, y).value,
        x=("numbers", R), y=("numbers", GRAM[0]))  # fmt: skip
for name in ("ranks", "mean_ranks", "order_descending", "kmeans_threshold"):
    ask = getattr(evaluation, name)
    add(name, lambda values, fn=ask: raw(fn)(values),
        values=("values", R))  # fmt: skip
add("top_overlap", lambda x, y: raw(evaluation.top_overlap)(x, y, 2).share,
    x=("numbers", R), y=("numbers", GRAM[0]))  # fmt: skip
add("from_table", lambda scores: raw(exact.from_table)(scores, weights.shapley),
    scores=("numbers", np.arange(8.0)))  # fmt: skip


def narrow(array):
    array = np.asarray(array)
    return array.astype(np.float16 if array.dtype.kind == "f" else np.int8)


def frame(array):
    array = np.asarray(array)
    return pd.Series(array) if array.ndim == 1 else pd.DataFrame(array)


def strided(array):
    array = np.asarray(array)
    return np.repeat(array, 2, axis=0)[::2]


SAME = {
    "list": lambda a: np.asarray(a).tolist(),
    "narrow": narrow,
    "frame": frame,
    "strided": strided,
    "jax": jnp.asarray,
    "objects": lambda a: np.asarray(a).astype(object),
    "column": lambda a: np.asarray(a)[:, None],
    "one-hot": lambda a: np.eye(3)[a],
    "floats": lambda a: np.asarray(a).astype(np.float64),
    "text": lambda a: np.array(["a", "b", "c"])[a],
}
FITTING = {
    "values": ("list", "narrow", "frame", "strided", "jax", "objects"),
    "inputs": ("list", "narrow", "frame", "strided", "jax", "objects"),
    "numbers": ("list", "narrow", "frame", "strided", "jax", "objects"),
    "reals": ("list", "narrow", "frame", "strided", "jax", "objects", "column"),
    "owner": ("list", "narrow", "frame", "strided", "jax", "objects", "column",
              "floats"),
    "classes": ("list", "narrow", "frame", "strided", "jax", "objects", "column",
                "floats", "one-hot", "text"),
}  # fmt: skip


def poisoned(value):
    def spoil(array):
        array = np.array(array, np.float64)
        array[(0,) * array.ndim] = value
        return array

    return spoil


BAD = {
    "NaN": poisoned(np.nan),
    "infinity": poisoned(np.inf),
    "too short": lambda a: np.asarray(a)[:-1],
    "no rows": lambda a: np.asarray(a)[:0],
    "text": lambda a: np.full(np.shape(a), "a"),
    "complex": lambda a: np.asarray(a) * 1j,
    "dates": lambda a: np.zeros(np.shape(a), "M8[D]"),
    "missing": lambda a: np.where(np.arange(np.size(a)).reshape(np.shape(a)) == 0,
                                  None, np.asarray(a, object)),
    "a number": lambda a: 3.0,
    "half a class": poisoned(0.5),
    "negative": poisoned(-1),
}  # fmt: skip
ALWAYS = ("NaN", "infinity", "complex", "dates", "missing", "no rows", "a number")
UNFIT = {
    # Ranks of nothing are nothing.
    "values": ("NaN", "infinity", "complex", "dates", "missing", "a number", "text"),
    "inputs": (*ALWAYS, "text"),
    "numbers": (*ALWAYS, "text"),
    "reals": (*ALWAYS, "text", "too short"),
    "classes": (*ALWAYS, "half a class", "too short"),
    "owner": (*ALWAYS, "half a class", "negative", "too short"),
}
# Refusals of a caller's mistake; what a beginner meets as a bug is neither.
REFUSALS = (ValueError,)


# These compile or train anew for every case.
SLOW = {
    "logistic", "data_shapley", "ridge", "retraining", "influences", "influences real",
    "tangent.gram", "points logistic", "points ridge", "from_estimator", "discrepancy",
    "complexity", "complexity_of_features", "kernel_regression",
}  # fmt: skip


def cases(table):
    return [
        pytest.param(
            name,
            argument,
            how,
            id=f"{name}-{argument}-{how}",
            marks=[pytest.mark.slow] if name in SLOW else [],
        )  # fmt: skip
        for name, factory in FACTORIES.items()
        for argument, kind in factory.kinds.items()
        for how in table[kind]
        # Part of an only array is an array.
        if how != "too short" or len(factory.kinds) > 1
    ]


@contextlib.contextmanager
def quietly():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def usual():
    """The numbers of every factory from plain arrays."""
    known = {}

    def ask(name):
        if name not in known:
            factory = FACTORIES[name]
            with quietly():
                known[name] = jax.tree.map(np.asarray, factory.call(**factory.arrays))
        return known[name]

    return ask


@pytest.fixture(scope="module", autouse=True)
def counts():
    yield
    print(  # noqa: T201
        f"\ninputs: {len(FACTORIES)} factories, {COUNTED['same']} spellings, "
        f"{COUNTED['refused']} refusals"
    )


def changed(factory, argument, value):
    arrays = dict(factory.arrays)
    # Labels as text name the classes of all targets or of none.
    text = np.asarray(value, object).ravel()[:1].tolist()
    alike = [argument]
    if factory.kinds[argument] == "classes" and isinstance((text or [0])[0], str):
        alike = [a for a, kind in factory.kinds.items() if kind == "classes"]
    for name in alike:
        arrays[name] = SAME["text"](arrays[name]) if len(alike) > 1 else value
    arrays[argument] = value
    return arrays


def names_it(factory, argument, message):
    import re

    names = factory.names.get(argument, argument)
    last = names.split(".")[-1]
    return re.search(rf"\b({names}|{last}|{argument})\b", message) is not None


@pytest.mark.parametrize(("name", "argument", "how"), cases(FITTING))
def test_spellings_mean_the_same_or_are_refused(
    name, argument, how, usual, without_type_checks
):
    factory = FACTORIES[name]
    value = SAME[how](factory.arrays[argument])
    if how == "text" and name in ("residual", "points logistic", "regressions.ridge"):
        pytest.skip("labels elsewhere are numbers")
    with quietly():
        try:
            out = factory.call(**changed(factory, argument, value))
        except REFUSALS as error:
            out, message = None, str(error)
    if out is None:
        assert names_it(factory, argument, message), message
        COUNTED["refused"] += 1
        return
    truth = usual(name)
    for a, b in zip(jax.tree.leaves(out), jax.tree.leaves(truth), strict=True):
        np.testing.assert_allclose(
            np.asarray(a, float), np.asarray(b, float), rtol=2e-5, atol=2e-6
        )
    COUNTED["same"] += 1


@pytest.mark.parametrize(("name", "argument", "how"), cases(UNFIT))
def test_what_means_nothing_is_refused_by_its_name(
    name, argument, how, without_type_checks
):
    factory = FACTORIES[name]
    arrays = dict(factory.arrays)
    arrays[argument] = BAD[how](arrays[argument])
    with quietly(), pytest.raises(REFUSALS) as caught:
        factory.call(**arrays)
    assert names_it(factory, argument, str(caught.value)), str(caught.value)
    COUNTED["refused"] += 1
