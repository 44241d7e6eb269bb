r"""Retraining: the worth of a coalition's data is what a network learns from it.

$v(S)$ is the metric, on validation data, of the network trained on the rows of $S$
alone: the ground truth that DAVINZ is measured against, Data Shapley's utility, and
the game whose every score is the price of a training run. Many coalitions are trained
at once, by one compiled program.

A game of this kind runs on the host (`on_host`): it takes masks as NumPy, sends them
to the devices in chunks, coalitions of like size together because runs that are
vmapped take as many steps as the largest, and reports progress as it goes.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Num

from jaxval._checks import (
    check,
    finite,
    groups,
    positive,
    same_features,
    same_length,
)
from jaxval.coalitions.game import Game
from jaxval.evaluation.replicates import ScoreEstimate, over_seeds
from jaxval.execution.parallel import batched_map
from jaxval.training import (
    MetricFn,
    Network,
    Recipe,
    accuracy,
    cross_entropy,
    mean_metric,
    on_cpu,
    predict,
    run_bytes,
    train,
)
from jaxval.types import Dataset, PRNGKey

__all__ = ["SeedScores", "majority_share", "retraining", "seed_scores"]

Masks = Bool[Array, "m n"] | Bool[np.ndarray, "m n"]
Progress = Callable[[int, int], None]
_EVAL_ROWS = 256


def retraining(
    key: PRNGKey,
    data: Dataset,
    x_valid: Num[Array, "v ..."] | Num[np.ndarray, "v ..."],
    y_valid: Num[Array, "v ..."] | Num[np.ndarray, "v ..."],
    network: Network,
    recipe: Recipe | None = None,
    **options: Any,
) -> Game:
    r"""The game that pays a coalition what a network learns from its data.

    The score is the mean over training seeds. `seed_scores`, with the same arguments,
    gives them one by one or with their standard error, and `evaluation.replicates`
    gives values with theirs.

    Args:
      key: of the initial parameters and the order of the minibatches.
      data: training inputs, targets and owners; the players are the owners.
      x_valid: validation inputs.
      y_valid: validation targets.
      network: its functions (`training.from_module`, `training.stateless`).
      recipe: optimiser, loss, minibatches and epochs; `Recipe()` when left out.
      **options: those of `seed_scores`.

    Returns:
      A game that takes masks as NumPy (`on_host`).

    Raises:
      ValueError: if lengths differ, or numbers aren't finite. Scoring raises it too,
        naming the coalition, when a training run diverged.

    Example:
      >>> from jaxval.training import Recipe, negative, squared_error, stateless
      >>> linear = stateless(lambda key: jnp.zeros((1, 1)), lambda p, x: x @ p)
      >>> x, y = np.array([[1.0], [2.0], [1.0]]), np.array([1.0, 2.0, 3.0])
      >>> recipe = Recipe(loss=squared_error, batch_size=None, epochs=50)
      >>> game = retraining(
      ...     jax.random.key(0), Dataset(x, y, np.array([0, 0, 1])), x[:2], y[:2],
      ...     linear, recipe, metric=negative(squared_error),
      ... )
      >>> out = game.leave_one_out_scores()
      >>> bool(out.full > out.without[0])
      True

    References:
      Ghorbani and Zou, *Data Shapley*, ICML 2019; Wu, Shu and Low, *DAVINZ*, ICML
      2022, appendix D.
    """
    scores = seed_scores(key, data, x_valid, y_valid, network, recipe, **options)
    mean = lambda masks: scores(masks).mean(axis=1)
    return Game(
        scores.num_players,
        score=lambda mask: mean(np.asarray(mask)[None])[0],
        fast_scores=mean,
        on_host=True,
    )


class _Arrays(NamedTuple):
    keys: Any
    x: Any
    y: Any
    owner: Any
    x_valid: Any
    y_valid: Any


def seed_scores(
    key: PRNGKey,
    data: Dataset,
    x_valid: Num[Array, "v ..."] | Num[np.ndarray, "v ..."],
    y_valid: Num[Array, "v ..."] | Num[np.ndarray, "v ..."],
    network: Network,
    recipe: Recipe | None = None,
    *,
    metric: MetricFn = accuracy,
    seeds: int = 1,
    fresh: bool = False,
    empty: float | None = None,
    all_classes: bool = False,
    lanes: int | None = None,
    memory: float | None = None,
    mesh: Mesh | None = None,
    progress: Progress | None = None,
) -> "SeedScores":
    r"""Scores of coalitions, one a training seed: a function of masks.

    Within a seed all coalitions start from the same $\theta_0$ and draw their
    minibatches with the same key, as in DAVINZ: differences between them are then due
    to their data as far as they can be.

    Args:
      key: of the initial parameters and the order of the minibatches.
      data: training inputs, targets and owners; the players are the owners.
      x_valid: validation inputs.
      y_valid: validation targets.
      network: its functions. To start from given variables, replace `init` by
        `lambda key: variables`.
      recipe: optimiser, loss, minibatches and epochs; `Recipe()` when left out.
      metric: of the outputs on the validation data; the larger the better.
      seeds: training runs a coalition.
      fresh: whether each coalition has a $\theta_0$ and an order of its own, made from
        the key and its members.
      empty: what nobody is paid; the metric of the untrained network when left out.
        `majority_share(y_valid)` is Data Shapley's rule.
      all_classes: whether a coalition in which a class of `y_valid` is missing is paid
        what nobody is paid, as in Data Shapley and Distributional Shapley; otherwise
        it is trained like any other. Leave it off where owners hold single classes.
      lanes: training runs at once on each device. When left out: one on a CPU, where
        more are no faster, and as many as `memory` holds elsewhere.
      memory: bytes for training runs on each device; half of what it has when left out.
      mesh: devices to spread the runs over.
      progress: called with (runs done, runs in all).

    Returns:
      A function of masks `(m, players)` to scores `(m, seeds)`, as NumPy, whose
      `estimate` gives their mean and its standard error.

    Raises:
      ValueError: see `retraining`.

    Example:
      >>> from jaxval.training import Recipe, negative, squared_error, stateless
      >>> start = lambda key: jax.random.normal(key, (1, 1))
      >>> x, y = np.array([[1.0], [2.0], [1.0]]), np.array([1.0, 2.0, 3.0])
      >>> scores = seed_scores(
      ...     jax.random.key(0), Dataset(x, y, np.array([0, 0, 1])), x[:2], y[:2],
      ...     stateless(start, lambda p, x: x @ p),
      ...     Recipe(loss=squared_error, batch_size=None, epochs=5),
      ...     metric=negative(squared_error), seeds=3,
      ... )
      >>> scores(np.array([[True, False], [True, True]])).shape
      (2, 3)

    References:
      Wu, Shu and Low, *DAVINZ*, ICML 2022, appendix D.
    """
    recipe = Recipe() if recipe is None else recipe
    num_players = _check_data(data, x_valid, y_valid)
    _check_numbers(seeds, empty, lanes, memory)
    platform = (jax.devices() if mesh is None else mesh.devices.ravel())[0].platform
    if recipe.loss is cross_entropy:
        _check_classes(network, x_valid, y=data.y, y_valid=y_valid)
    network = on_cpu(network) if platform == "cpu" else network
    arrays = _Arrays(
        jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(seeds)),
        *map(jnp.asarray, (data.x, data.y, data.owner, x_valid, y_valid)),
    )
    if lanes is None:
        lanes = _lanes(platform, network, recipe, arrays, memory)
    return SeedScores(
        run=Partial(_TrainAndScore(network, recipe, metric, fresh), arrays),
        num_players=num_players,
        seeds=seeds,
        empty=empty,
        needs=_class_table(data, y_valid) if all_classes else None,
        lanes=lanes,
        mesh=mesh,
        progress=progress,
    )


def majority_share(y_valid: Num[Array, " v"] | Num[np.ndarray, " v"]) -> float:
    """The accuracy of always naming the commonest class: Data Shapley's v(nobody).

    Args:
      y_valid: class numbers.

    Raises:
      ValueError: if there are none.

    Example:
      >>> majority_share(np.array([0, 1, 1, 1]))
      0.75

    References:
      Ghorbani and Zou, *Data Shapley*, ICML 2019, and the code that came with it.
    """
    check(len(y_valid) > 0, "y_valid is empty: no class is the commonest.")
    return float(np.unique(np.asarray(y_valid), return_counts=True)[1].max()) / len(
        y_valid
    )


@dataclasses.dataclass(frozen=True)
class _TrainAndScore:
    """One run: equal settings are equal functions, and so one compiled program."""

    network: Network
    recipe: Recipe
    metric: MetricFn
    fresh: bool

    def __call__(self, arrays, item):
        mask, seed = item
        key = arrays.keys[seed]
        key = _fold_in_mask(key, mask) if self.fresh else key
        init_key, order_key = jax.random.split(key)
        start = self.network.init(init_key)
        out = train(
            order_key, self.network, start, arrays.x, arrays.y, mask[arrays.owner],
            self.recipe,
        )  # fmt: skip
        outputs = predict(self.network, out.variables, arrays.x_valid, _EVAL_ROWS)
        score = mean_metric(self.metric, outputs, arrays.y_valid)
        # argmax takes NaN for a class: a diverged run must not pass for a bad one.
        return jnp.where(jnp.isfinite(outputs).all(), score, jnp.nan)


def _fold_in_mask(key, mask):
    words = jnp.packbits(mask).astype(jnp.uint32)
    fold = lambda key, word: (jax.random.fold_in(key, word), None)
    return jax.lax.scan(fold, key, words)[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeedScores:
    """Trains coalitions: masks `(m, players)` to scores `(m, seeds)`.

    Attributes:
      run: one training run, of (mask, seed number).
      num_players: $n$.
      seeds: runs a coalition.
      empty: what nobody is paid, or `None` for the untrained network's metric.
      needs: which owner has which class of the validation set, or `None`.
      lanes: runs at once on each device.
      mesh: devices, or `None` for one.
      progress: called with (runs done, runs in all).
    """

    run: Partial
    num_players: int
    seeds: int
    empty: float | None
    needs: Bool[np.ndarray, "n classes"] | None
    lanes: int
    mesh: Mesh | None
    progress: Progress | None

    def __call__(self, masks: Masks) -> Float[np.ndarray, "m seeds"]:
        """Scores of each coalition, one a seed; a coalition asked twice runs once."""
        masks = np.asarray(masks, bool)
        check(
            masks.ndim == 2 and masks.shape[1] == self.num_players,
            f"masks must have one row a coalition and {self.num_players} columns, one "
            f"a player; got shape {masks.shape}.",
        )
        unpaid = self._unpaid(masks)
        asked = np.where(unpaid[:, None], False, masks)
        unique, place = np.unique(asked, axis=0, return_inverse=True)
        scores = np.empty((len(unique), self.seeds))
        known = ~unique.any(axis=1) & (self.empty is not None)
        scores[known] = self.empty if self.empty is not None else 0.0
        if not known.all():
            scores[~known] = self._train(unique[~known])
        return scores[place.ravel()]

    def estimate(self, masks: Masks) -> ScoreEstimate:
        """Mean scores over the seeds, with standard errors."""
        return over_seeds(self(masks))

    def _unpaid(self, masks):
        if self.needs is None:
            return ~masks.any(axis=1)
        has = masks.astype(int) @ self.needs.astype(int) > 0
        return ~has.all(axis=1)

    def _train(self, masks):
        rows = self.run.args[0].owner
        sizes = masks @ np.bincount(np.asarray(rows), minlength=self.num_players)
        order = np.argsort(sizes, kind="stable")
        items = (
            jnp.asarray(np.repeat(masks[order], self.seeds, axis=0)),
            jnp.tile(jnp.arange(self.seeds), len(masks)),
        )
        flat = batched_map(
            self.run, items, chunk_size=self.lanes, mesh=self.mesh,
            progress=self.progress,
        )  # fmt: skip
        scores = np.empty((len(masks), self.seeds))
        scores[order] = np.asarray(flat, float).reshape(-1, self.seeds)
        _check_converged(scores, masks)
        return scores


def _check_converged(scores, masks):
    bad = np.argwhere(~np.isfinite(scores))
    if len(bad):
        row, seed = bad[0]
        raise ValueError(
            f"training diverged for {len(bad)} of {scores.size} runs (the first: "
            f"players {np.flatnonzero(masks[row])[:10].tolist()}, seed {seed}). Lower "
            "the recipe's learning rate, or scale the inputs."
        )


def _check_data(data, x_valid, y_valid):
    same_length(x=data.x, y=data.y, owner=data.owner)
    same_length(x_valid=x_valid, y_valid=y_valid)
    check(len(y_valid) > 0, "y_valid is empty: there is nothing to score on.")
    same_features(x=data.x, x_valid=x_valid)
    same_features(y=data.y, y_valid=y_valid)
    arrays = {"x": data.x, "y": data.y, "x_valid": x_valid, "y_valid": y_valid}
    for name, array in arrays.items():
        finite(name, array)
    return groups("owner", data.owner)


def _check_numbers(seeds, empty, lanes, memory):
    check(seeds >= 1, f"seeds must be at least 1; got {seeds}.")
    if empty is not None:
        check(
            bool(np.isfinite(empty)),
            f"empty must be a finite score; got {empty}. Leave it out for that of the "
            "untrained network.",
        )
    if lanes is not None:
        check(lanes >= 1, f"lanes must be at least 1; got {lanes}.")
    if memory is not None:
        positive("memory", memory)


def _check_classes(network, x_valid, **labels):
    rows = jax.ShapeDtypeStruct(x_valid[:1].shape, jnp.asarray(x_valid[:1]).dtype)
    variables = jax.eval_shape(network.init, jax.random.key(0))
    count = jax.eval_shape(network.apply, variables, rows).shape[1]
    for name, y in labels.items():
        y = np.asarray(y)
        check(
            y.ndim == 1,
            f"{name} must be a vector of class numbers, one a row; got shape "
            f"{y.shape}. Flatten it, or set the recipe's loss.",
        )
        good = np.issubdtype(y.dtype, np.integer) and y.min() >= 0 and y.max() < count
        check(
            bool(good),
            f"{name} must hold class numbers 0 to {count - 1} as integers, one for "
            f"each output of the network; got {y.min()} to {y.max()} of {y.dtype}. Set "
            "num_outputs, or the recipe's loss.",
        )


def _class_table(data, y_valid):
    classes = np.unique(np.asarray(y_valid))
    table = np.zeros((data.num_owners, len(classes)), bool)
    for column, label in enumerate(classes):
        table[
            np.unique(np.asarray(data.owner)[np.asarray(data.y) == label]), column
        ] = True
    return table


def _lanes(platform, network, recipe, arrays, memory):
    if memory is None:
        if platform == "cpu":
            return 1
        stats = jax.devices()[0].memory_stats() or {}
        memory = 0.5 * stats.get("bytes_limit", 8e9)
    each = run_bytes(network, recipe, arrays.x, arrays.y, eval_rows=_EVAL_ROWS)
    return max(1, int(memory // each))
