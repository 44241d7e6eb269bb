"""EcoVal on a person's own rows: clusters first, points and owners from them."""

import dataclasses
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxval import ecoval
from jaxval.datasets.tabular.table import Table as Data
from jaxval.evaluation import bootstrap_stderr, mean_and_stderr
from jaxval.games import at_initialisation as untrained
from jaxval.games import davinz
from jaxval.games.kernel_regression import (
    negative_squared_error,
    one_hot,
    ridge_regression,
)
from jaxval.reporting import Column, Table
from jaxval.runner.contract import Context
from jaxval.semivalues import exact, intervals
from jaxval.types import PRNGKey, ValueEstimate
from jaxval.valuation import forecast as value_forecast
from jaxval.valuation.memory_check import GIB
from jaxval.valuation.result import Found

__all__ = ["play"]

_MAX_CLUSTERS = 30
_MAX_DIMENSIONS = 16

_MOST_SHOWN = 12
"""Rows that came later that fit the terminal; of more, the best and the worst."""


class _Values(NamedTuple):
    """Values of rows under each fit to the rows as they are, and to resamples."""

    fits: Float[np.ndarray, "fits n"]
    resamples: Float[np.ndarray, "resamples n"]

    @property
    def mean(self) -> Float[np.ndarray, " n"]:
        """Over the fits to the rows as they are."""
        return self.fits.mean(0)

    @property
    def stderr(self) -> Float[np.ndarray, " n"]:
        """By the bootstrap: of other rows and another run of the method alike."""
        return bootstrap_stderr(self.resamples)

    @property
    def noise(self) -> Float[np.ndarray, " n"]:
        """What of that is the method's own: of the mean of fits to the same rows."""
        return mean_and_stderr(self.fits)[1]

    def of_owners(self, owner: np.ndarray) -> "_Values":
        """The sums over each owner's rows."""
        sums = lambda draws: np.stack(
            [ecoval.owner_sums(each, owner) for each in draws]
        )
        return _Values(sums(self.fits), sums(self.resamples))


def play(
    key: PRNGKey, config: Any, data: Data, limit: int | None, context: Context
) -> Found:
    """Fit EcoVal, again to resamples of the rows, and sum each owner's rows.

    Args:
      key: of the mixtures, the representatives, their orders and the resamples.
      config: of `value`.
      data: a person's table.
      limit: bytes to stay below; nothing is checked when `None`.
      context: for progress.
    """
    _check_memory(data, limit)
    x = np.asarray(data.dataset.x)
    embed = ecoval.principal_components(key, x, _dimensions(len(x)))
    points = ecoval.Points(embed(x), np.asarray(data.dataset.y))
    later = _later(config, data, embed)
    game = _Ridge(data, embed)
    fits, resampled = _fits(key, config, game, points, context)
    rows = _Values(
        _stacked(ecoval.values(fitted) for fitted in fits),
        _stacked(ecoval.unseen_values(fitted, points) for fitted in resampled),
    )
    owners = rows.of_owners(np.asarray(data.dataset.owner))
    worth = (game.of_nobody(), fits[0].clusters.full)
    extras = _extras(data, fits, resampled, rows, later)
    extras["sentences"] = (_scale(owners, worth), *extras["sentences"])
    extras["arrays"] = {"bootstrap": owners.resamples}
    calls = sum(fitted.cost.total for fitted in (*fits, *resampled))
    return _found(key, data, owners, worth, calls, extras)


def _stacked(allocations) -> Float[np.ndarray, "draws n"]:
    return np.stack([np.asarray(each.values, float) for each in allocations])


def _extras(data: Data, fits, resampled, rows: _Values, later) -> dict[str, Any]:
    """Tables, hazards and sentences on single rows, those that came later included."""
    told = [ecoval.report(fitted, ecoval.values(fitted)) for fitted in fits]
    extras: dict[str, Any] = {
        "tables": {"points": _points_table(data, rows)},
        "unprinted": ("points",),
        "sentences": _labelled(told[0].sentences(), len(fits)),
        "metrics": {
            "fits": len(fits),
            "resamples": len(resampled),
            "mixture": fits[0].settings.mixture,
            "dimensions": fits[0].clustering.centroids.shape[1],
            "hazards": [dataclasses.asdict(each) for each in told],
        },
    }
    if later is None:
        return extras
    allocations = [ecoval.unseen_values(fitted, later) for fitted in fits]
    came = _Values(
        _stacked(allocations),
        _stacked(ecoval.unseen_values(fitted, later) for fitted in resampled),
    )
    tables, count = extras["tables"], came.fits.shape[1]
    tables["unseen"] = _unseen_table(came, np.arange(count))
    if count > _MOST_SHOWN:
        extras["unprinted"] += ("unseen",)
        tables["unseen_best_and_worst"] = _unseen_table(came, _ends(came.mean))
    again = [ecoval.report(*pair) for pair in zip(fits, allocations, strict=True)]
    extras["metrics"]["hazards_of_unseen"] = [
        dataclasses.asdict(each) for each in again
    ]
    known = told[0].sentences()
    new = [each for each in again[0].sentences() if each not in known]
    new = [f"Of the rows that came later: {each}" for each in new]
    extras["sentences"] = (
        _against(rows, came), *extras["sentences"], *_labelled(new, len(fits))
    )  # fmt: skip
    return extras


def _check_memory(data: Data, limit: int | None) -> None:
    rows, players = len(data.dataset.x), len(data.owner_names)
    sampled = min(rows, 1000) + min(len(data.x_valid), 1000)
    # The median distance, the similarities of owners, responsibilities of clusters.
    need = 8 * (4 * sampled**2 + 3 * players**2)
    need += 8 * rows * (4 * _MAX_DIMENSIONS + 3 * _MAX_CLUSTERS)
    if limit is not None and need > limit:
        raise ValueError(
            f"EcoVal of {rows} rows of {players} owners needs about {need / GIB:.2g} "
            f"GiB, and {limit / GIB:.2g} GiB are there: take fewer rows, or group them "
            "with --owner. Raise the limit with --memory if you know better."
        )


def _later(config, data: Data, embed) -> ecoval.Points | None:
    if config.unseen is None:
        return None
    x, y = data.encode(config.unseen)
    return ecoval.Points(embed(x), np.asarray(y))


def _clusters(rows: int) -> int:
    return max(2, min(_MAX_CLUSTERS, rows // 10))


def _dimensions(rows: int) -> int:
    """So many that a cluster of mean size can tell its own centroid and radius."""
    return max(2, min(_MAX_DIMENSIONS, rows // _clusters(rows) - 2))


def _settings(rows: int, dims: int) -> ecoval.Settings:
    """The paper's mixture, with no more numbers a cluster than it has rows to fit."""
    clusters = _clusters(rows)
    mixtures = [
        ecoval.Mixture(num_clusters=clusters, covariance="full"),
        ecoval.Mixture(num_clusters=clusters, covariance="diag"),
        ecoval.Mixture(num_clusters=clusters, covariance="spherical"),
    ]
    few = [each for each in mixtures if each.parameters(dims) <= rows / clusters]
    return ecoval.Settings(mixture=[*few, mixtures[-1]][0])


def _fits(key, config, game, points, context):
    """Fits to the rows as they are, `--seeds` of them, and fits to resamples."""
    again_key, bootstrap_key = jax.random.split(key)
    settings, found, ended = _settings(*points.x.shape), [], []
    total = config.seeds + config.resamples
    with context.progress("EcoVal, fits") as update:

        def refit(key, points, pool):
            found.append(
                ecoval.fit(
                    key, game.of_points, points, pool,
                    settings=settings, cluster_game=game.of_clusters,
                )
            )  # fmt: skip
            update(len(found), total)
            ended.append(time.monotonic())
            if len(ended) == 2:
                # The first has paid for the compilation.
                _foretell((total - 2) * (ended[1] - ended[0]), total, context)
            return found[-1]

        # Only the fits are kept: sums of owners and later rows are valued from them.
        ecoval.bootstrap(bootstrap_key, refit, points, num_resamples=config.resamples)
        for seed in range(1, config.seeds):
            refit(jax.random.fold_in(again_key, seed), points, None)
    resampled = slice(1, 1 + config.resamples)
    return [found[0], *found[resampled.stop :]], found[resampled]


def _foretell(seconds: float, fits: int, context: Context) -> None:
    if seconds > value_forecast.PATIENCE:
        context.note(
            f"note: {fits} fits, some {value_forecast.duration(seconds)}: give fewer "
            "--resamples or --seeds, or fewer rows."
        )


class _Ridge:
    """Ridge regression of the targets (one-hot for classes) on the embedded points.

    Scored by minus its squared error: an accuracy on few validation rows doesn't move
    when a cluster leaves, and a cluster that is worth 0 ties all its points at 0.
    """

    def __init__(self, data: Data, embed):
        self.classes = len(data.class_names)
        self.x_valid = self._with_constant(embed(data.x_valid))
        self.y_valid = self._targets(data.y_valid)

    def of_points(self, x, y):
        """The game whose players are points."""
        return self._game(x, y, np.arange(len(x)))

    def of_clusters(self, points, cluster, count):
        """The game whose players are clusters."""
        return self._game(points.x, points.y, cluster)

    def of_nobody(self) -> float:
        """The score of no data, which predicts 0."""
        y = jnp.asarray(self.y_valid.reshape(len(self.y_valid), -1).T)
        return float(negative_squared_error(jnp.zeros_like(y), y))

    def _game(self, x, y, owner):
        return ridge_regression(
            self._with_constant(x), self.x_valid, self._targets(y), self.y_valid, owner,
            ridge=1.0, metric=negative_squared_error,
        )  # fmt: skip

    def _targets(self, y):
        return one_hot(y, self.classes) if self.classes else np.asarray(y, float)

    def _with_constant(self, x):
        return np.concatenate([x, np.ones((len(x), 1))], axis=1)


def _points_table(data: Data, rows: _Values) -> Table:
    owners = [data.owner_names[i] for i in np.asarray(data.dataset.owner)]
    return Table(
        "Values of the training rows",
        (Column("owner", owners), *_columns(rows, slice(None))),
    )


def _unseen_table(rows: _Values, shown) -> Table:
    return Table(
        "What the rows that came later are worth",
        (Column("row", shown + 1), *_columns(rows, shown)),
        "Rows in the order of their file. ± one standard error over "
        f"{len(rows.resamples)} bootstrap resamples of the training rows.",
    )


def _columns(rows: _Values, shown) -> tuple[Column, ...]:
    return (
        Column("ecoval", rows.mean[shown], rows.stderr[shown], "EcoVal"),
        Column("refit_stderr", rows.noise[shown], shown=False),
    )


def _ends(values) -> np.ndarray:
    order, half = np.argsort(-values, kind="stable"), _MOST_SHOWN // 2
    return np.concatenate([order[:half], order[-half:]])


def _labelled(sentences, fits: int) -> tuple[str, ...]:
    """Each fit meets its own hazards; those of all of them are in metrics.json."""
    first = f"In the first of {fits} fits: " if fits > 1 else ""
    return tuple(first + each for each in sentences)


def _against(rows: _Values, came: _Values) -> str:
    middle = lambda each: np.median(each.mean)
    return (
        f"A row that came later is worth {middle(came):.2g} in the middle, a training "
        f"row {middle(rows):.2g}; the most that one is worth is {came.mean.max():.2g} "
        f"against {rows.mean.max():.2g}."
    )


def _scale(owners: _Values, worth: tuple[float, float]) -> str:
    noise = float(np.max(owners.noise))
    count = len(owners.fits)
    if count < 2:
        again = ""
    elif noise < 0.01 * np.max(owners.stderr):
        again = f"; {count} fits to the same rows agree, so the errors are of the rows"
    else:
        again = (
            f"; the method's own part of the errors, the spread of {count} fits to the "
            f"same rows, is at most {noise:.2g}"
        )
    return (
        f"Nobody scores {worth[0]:.3g} and everybody {worth[1]:.3g}; the values add up "
        f"to {owners.mean.sum():.2g}, what the clusters lose when left out one by one"
        f"{again}."
    )


def _found(key, data: Data, owners: _Values, worth, calls: int, extras) -> Found:
    players, count = len(data.owner_names), len(owners.resamples)
    found = ValueEstimate(owners.mean, owners.stderr, np.full(players, count))
    covariance = np.atleast_2d(np.cov(owners.resamples.T))
    sizes = data.dataset.sizes
    far = -davinz.discrepancy(untrained.similarity(data.dataset, data.x_valid))
    shape = extras["metrics"]["mixture"].covariance
    fits = f"mean of {len(owners.fits)} fits" if len(owners.fits) > 1 else "one fit"
    return Found(
        found,
        intervals.rank_confidence(found, covariance),
        owners.noise,
        how=(
            f"EcoVal on principal components, {shape} covariances, {fits}, sums over "
            "each owner's rows"
        ),
        unit="minus the squared error of ridge regression on the validation rows",
        sampled=f"{count} bootstrap resamples of the rows",
        rivals={
            "size only": sizes / sizes.sum(),
            "discrepancy, leave-one-out": np.asarray(exact.leave_one_out(far).values),
            "random": np.asarray(jax.random.normal(key, (players,))),
        },
        worth=worth,
        num_evaluations=calls,
        draws=owners.fits,
        extras=extras,
    )
