r"""Scores of coalitions by training: one per coalition, training seed, validation row.

Many coalitions are trained at once by one compiled program; they go to the devices in
chunks, coalitions of like size together, because runs that are vmapped take as many
steps as the largest.
"""

import collections
import dataclasses
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Bool, Float

from jaxval._checks import check, same_features, train_and_valid
from jaxval._targets import class_targets, owners
from jaxval.evaluation.replicates import ScoreEstimate, over_seeds
from jaxval.execution.options import Execution
from jaxval.execution.parallel import batched_map, require_one_process
from jaxval.games._digest import digest
from jaxval.games.training_runs import RunArrays, TrainAndScore, runs_at_once
from jaxval.training import (
    MetricFn,
    Network,
    Recipe,
    accuracy,
    cross_entropy,
    on_cpu,
)
from jaxval.types import AnyArray, Dataset, Points, PRNGKey

__all__ = ["SeedScores", "seed_scores"]

Masks = Bool[AnyArray, "m n"]

_BLOCK_BYTES = 2**26
"""Bytes of row scores that are held at once, and that are remembered."""


def seed_scores(
    key: PRNGKey,
    data: Dataset,
    valid: Points,
    network: Network,
    recipe: Recipe | None = None,
    *,
    metric: MetricFn = accuracy,
    seeds: int = 1,
    reinitialise: bool = False,
    empty_score: float | None = None,
    require_all_classes: bool = False,
    execution: Execution = Execution(),  # noqa: B008
) -> "SeedScores":
    r"""Scores of coalitions, one per training seed: a function of masks.

    Within a seed all coalitions start from the same $\theta_0$ and draw their
    minibatches with the same key, as in DAVINZ: differences between them are then due
    to their data as far as they can be.

    Args:
      key: PRNG key for the initial parameters and the order of the minibatches.
      data: Training inputs, targets and owners; the players are the owners. Classes
        (numbers, one-hot or text) where the recipe's loss is `cross_entropy`.
      valid: Validation inputs and targets.
      network: Network to train. To start from given variables, replace `init` by
        `lambda key: variables`.
      recipe: Optimiser, loss, minibatches and epochs; `Recipe()` when left out.
      metric: Metric of the outputs, one score per validation row; the larger the
        better.
      seeds: Training runs per coalition.
      reinitialise: Whether each coalition has a $\theta_0$ and an order of its own,
        made from the key and its members.
      empty_score: Score of the empty coalition; the metric of the untrained network
        when left out. `majority_share(valid.y)` is Data Shapley's rule.
      require_all_classes: Whether a coalition that lacks a class of `valid` scores as
        the empty one does, as in Data Shapley and Distributional Shapley; otherwise it
        is trained like any other. Leave it off where owners hold single classes.
      execution: Devices, memory and progress (training runs done, in all).
        `batch_size` is the number of training runs in parallel on each device; when
        left out, one on a CPU, where more are no faster, and as many as `memory`
        (half of what the device has) holds elsewhere.

    Returns:
      A function of masks `(m, players)` to scores `(m, seeds)`, as NumPy, whose `rows`
      gives those of single validation rows, and `estimate` the mean over seeds and its
      standard error.

    Raises:
      ValueError: If lengths or features differ, numbers aren't finite, or targets are
        no classes of the network. Scoring raises it too, naming the coalition, when a
        training run diverged.

    Example:
      >>> from jaxval.training import Recipe, negative, squared_error, stateless
      >>> start = lambda key: jax.random.normal(key, (1, 1))
      >>> x, y = np.array([[1.0], [2.0], [1.0]]), np.array([1.0, 2.0, 3.0])
      >>> scores = seed_scores(
      ...     jax.random.key(0), Dataset(x, y, np.array([0, 0, 1])), Points(x, y),
      ...     stateless(start, lambda p, x: x @ p),
      ...     Recipe(loss=squared_error, batch_size=None, epochs=5),
      ...     metric=negative(squared_error), seeds=3,
      ... )
      >>> scores(np.array([[True, False], [True, True]])).shape
      (2, 3)

    References:
      Wu, Shu and Low, *DAVINZ*, ICML 2022, appendix D.
    """
    require_one_process("retraining")
    recipe = Recipe() if recipe is None else recipe
    data = data._replace(owner=owners("data.owner", data.owner))
    num_players = train_and_valid(data, valid)
    if recipe.loss is cross_entropy:
        data, valid = _with_class_numbers(network, data, valid)
    same_features(**{"data.y": data.y, "valid.y": valid.y})
    _check_numbers(seeds, empty_score)
    mesh = execution.mesh
    platform = (jax.devices() if mesh is None else mesh.devices.ravel())[0].platform
    network = on_cpu(network) if platform == "cpu" else network
    arrays = RunArrays(
        jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(seeds)),
        *map(jnp.asarray, (data.x, data.y, data.owner, valid.x, valid.y)),
    )
    return SeedScores(
        run=Partial(TrainAndScore(network, recipe, metric, reinitialise), arrays),
        num_players=num_players,
        seeds=seeds,
        empty_score=empty_score,
        class_table=_class_table(data, valid.y) if require_all_classes else None,
        num_parallel=runs_at_once(platform, network, recipe, arrays, execution),
        execution=execution,
    )


class _Memory:
    """Row scores of the coalitions trained last, within a bound of bytes."""

    def __init__(self):
        self.rows: collections.OrderedDict[bytes, Any] = collections.OrderedDict()
        self.bytes = 0

    def put(self, mask, rows):
        self.rows[np.packbits(mask).tobytes()] = rows
        self.bytes += rows.nbytes
        while self.bytes > _BLOCK_BYTES and len(self.rows) > 1:
            self.bytes -= self.rows.popitem(last=False)[1].nbytes

    def get(self, mask):
        return self.rows.get(np.packbits(mask).tobytes())


# Known by itself: comparing arrays would say neither yes nor no.
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SeedScores:
    """Trains coalitions: masks `(m, players)` to scores `(m, seeds)`.

    The row scores of the coalitions trained last are remembered (64 MiB of them), so
    that asking for the same coalitions' scores and their rows trains once.

    Attributes:
      run: One training run, of (mask, seed number) to scores of validation rows.
      num_players: Number of players $n$.
      seeds: Training runs per coalition.
      empty_score: Score of the empty coalition; `None` for the untrained network's.
      class_table: Which owner has which class of the validation rows, or `None`.
      num_parallel: Training runs at once on each device.
      execution: Devices and progress.
    """

    run: Partial
    num_players: int
    seeds: int
    empty_score: float | None
    class_table: Bool[np.ndarray, "n classes"] | None
    num_parallel: int
    execution: Execution
    memory: Any = dataclasses.field(default_factory=_Memory, repr=False)

    @property
    def num_rows(self) -> int:
        """Validation rows."""
        return len(self.run.args[0].y_valid)

    @property
    def fingerprint(self) -> str:
        """Hash of the data, the keys, and the settings that have a name."""
        arrays, fn = self.run.args[0], cast(TrainAndScore, self.run.func)
        recipe = fn.recipe
        settings = (
            self.seeds, self.empty_score, fn.reinitialise, recipe.batch_size,
            recipe.epochs, recipe.min_epochs, recipe.stop_below,
        )  # fmt: skip
        keys = jax.random.key_data(arrays.keys)
        return digest(settings, (keys, *arrays[1:], self.class_table))

    def __call__(self, masks: Masks) -> Float[np.ndarray, "m seeds"]:
        """Scores of each coalition, one per seed; a coalition asked twice runs once."""
        return self._each(masks, lambda rows: rows.mean(axis=-1, dtype=np.float64))

    def rows(self, masks: Masks) -> Float[np.ndarray, "m seeds rows"]:
        """Scores of each validation row under each coalition and seed."""
        return self._each(masks, lambda rows: rows)

    def estimate(self, masks: Masks) -> ScoreEstimate:
        """Mean scores over the seeds, with standard errors."""
        return over_seeds(self(masks))

    def _each(self, masks, reduce):
        masks = np.asarray(masks, bool)
        check(
            masks.ndim == 2 and masks.shape[1] == self.num_players,
            f"masks must have one row per coalition and {self.num_players} columns, "
            f"one per player; got shape {masks.shape}.",
        )
        scored_empty = self._scored_empty(masks)
        trained = np.where(scored_empty[:, None], False, masks)
        unique, place = np.unique(trained, axis=0, return_inverse=True)
        rows = {i: self.memory.get(mask) for i, mask in enumerate(unique)}
        if self.empty_score is not None:
            empty = np.full((self.seeds, self.num_rows), self.empty_score)
            rows |= dict.fromkeys(np.flatnonzero(~unique.any(axis=1)), empty)
        new = [i for i, each in rows.items() if each is None]
        scores = {i: reduce(each) for i, each in rows.items() if each is not None}
        new = self._smallest_first(unique, new)
        for i, each in zip(new, self._train(unique[new]), strict=True):
            scores[i] = reduce(each)
        return np.stack([scores[i] for i in place.ravel()])

    def _scored_empty(self, masks):
        """Coalitions that score as the empty one does."""
        if self.class_table is None:
            return ~masks.any(axis=1)
        has = masks.astype(int) @ self.class_table.astype(int) > 0
        return ~has.all(axis=1)

    def _smallest_first(self, masks, new):
        owner = np.asarray(self.run.args[0].owner)
        sizes = masks[new] @ np.bincount(owner, minlength=self.num_players)
        return [new[i] for i in np.argsort(sizes, kind="stable")]

    def _train(self, masks):
        """Row scores `(seeds, rows)` of one coalition after another."""
        bytes_each = 8 * self.seeds * self.num_rows
        count = max(1, _BLOCK_BYTES // bytes_each)
        for start in range(0, len(masks), count):
            block = masks[start : start + count]
            items = (
                jnp.asarray(np.repeat(block, self.seeds, axis=0)),
                jnp.tile(jnp.arange(self.seeds), len(block)),
            )
            flat = batched_map(
                self.run, items, chunk_size=self.num_parallel,
                mesh=self.execution.mesh,
                progress=self._progress(start * self.seeds, len(masks) * self.seeds),
            )  # fmt: skip
            rows = np.asarray(flat).reshape(len(block), self.seeds, -1)
            _check_converged(rows, block)
            for mask, each in zip(block, rows, strict=True):
                self.memory.put(mask, each)
                yield each

    def _progress(self, before, total):
        report = self.execution.progress
        if report is None:
            return None
        return lambda done, _: report(before + done, total)


def _check_converged(rows, masks):
    bad = np.argwhere(~np.isfinite(rows).all(axis=-1))
    if len(bad):
        row, seed = bad[0]
        raise ValueError(
            f"training diverged for {len(bad)} of {rows.shape[0] * rows.shape[1]} runs "
            f"(the first: players {np.flatnonzero(masks[row])[:10].tolist()}, seed "
            f"{seed}). Lower the recipe's learning rate, or scale the inputs."
        )


def _check_numbers(seeds, empty_score):
    check(seeds >= 1, f"seeds must be at least 1; got {seeds}.")
    check(
        empty_score is None or bool(np.isfinite(empty_score)),
        f"empty_score must be a finite score; got {empty_score}. Leave it out for that "
        "of the untrained network.",
    )


def _with_class_numbers(network, data, valid):
    x = np.asarray(valid.x[:1])
    rows = jax.ShapeDtypeStruct(x.shape, jnp.asarray(x).dtype)
    variables = jax.eval_shape(network.init, jax.random.key(0))
    count = jax.eval_shape(network.apply, variables, rows).shape[1]
    targets = {"data.y": data.y, "valid.y": valid.y}
    (y, y_valid), _ = class_targets(count, **targets)
    return data._replace(y=y), valid._replace(y=y_valid)


def _class_table(data, y_valid):
    """Which owner has which class of the validation rows, `(players, classes)`."""
    y, owner = np.asarray(data.y), np.asarray(data.owner)
    classes = np.unique(np.asarray(y_valid))
    table = np.zeros((data.num_owners, len(classes)), bool)
    for column, label in enumerate(classes):
        table[np.unique(owner[y == label]), column] = True
    return table
