"""EcoVal on user-supplied rows: clusters first, points and owners from them."""

from __future__ import annotations

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
from jaxval.types import Points, PRNGKey, ValueEstimate
from jaxval.valuation import forecast
from jaxval.valuation.memory_check import GIB
from jaxval.valuation.result import Extras, Valuation

__all__ = ["play"]

_MAX_CLUSTERS = 30
_MAX_DIMENSIONS = 16

_MOST_SHOWN = 12
"""Unseen rows that fit the terminal; of more, the best and the worst are shown."""


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
    key: PRNGKey,
    data: Data,
    *,
    seeds: int,
    resamples: int,
    unseen: Any,
    limit: int | None,
    context: Context,
) -> Valuation:
    """Fit EcoVal, again to resamples of the rows, and sum each owner's rows.

    Args:
      key: PRNG key for the mixtures, the representatives, their orders and the
        resamples.
      data: Rows to be valued.
      seeds: Number of fits to the rows as they are.
      resamples: Number of fits to bootstrap resamples.
      unseen: Table of unseen points to be valued too; none when `None`.
      limit: Bytes to stay below; nothing is checked when `None`.
      context: Progress and notes.
    """
    _check_memory(data, limit)
    x = np.asarray(data.dataset.x)
    embed = ecoval.principal_components(key, x, _dimensions(len(x)))
    points = Points(embed(x), np.asarray(data.dataset.y))
    unseen_points = _unseen_points(unseen, data, embed)
    game = _Ridge(data, embed)
    fits, resampled = _fits(key, game, points, seeds, resamples, context)
    rows = _Values(
        _stacked(ecoval.values(fitted) for fitted in fits),
        _stacked(ecoval.unseen_values(fitted, points) for fitted in resampled),
    )
    owners = rows.of_owners(np.asarray(data.dataset.owner))
    endpoints = (game.empty_score(), float(fits[0].clusters.full))
    extras = _extras(data, fits, resampled, rows, unseen_points)
    extras = dataclasses.replace(
        extras,
        sentences=(_scale(owners, endpoints), *extras.sentences),
        arrays={"bootstrap": owners.resamples},
    )
    count = sum(fitted.cost.total for fitted in (*fits, *resampled))
    return _valuation(key, data, owners, endpoints, count, extras)


def _stacked(allocations) -> Float[np.ndarray, "draws n"]:
    return np.stack([np.asarray(each.values, float) for each in allocations])


def _extras(data: Data, fits, resampled, rows: _Values, unseen) -> Extras:
    """Tables, hazards and sentences on single rows, the unseen ones included."""
    reports = [ecoval.report(fitted, ecoval.values(fitted)) for fitted in fits]
    extras = Extras(
        tables={"points": _points_table(data, rows)},
        unprinted=("points",),
        sentences=_labelled(reports[0].sentences(), len(fits)),
        metrics={
            "fits": len(fits),
            "resamples": len(resampled),
            "mixture": fits[0].settings.mixture,
            "dimensions": fits[0].clustering.centroids.shape[1],
            "hazards": [dataclasses.asdict(each) for each in reports],
        },
    )
    if unseen is None:
        return extras
    allocations = [ecoval.unseen_values(fitted, unseen) for fitted in fits]
    values = _Values(
        _stacked(allocations),
        _stacked(ecoval.unseen_values(fitted, unseen) for fitted in resampled),
    )
    again = [ecoval.report(*pair) for pair in zip(fits, allocations, strict=True)]
    said = reports[0].sentences()
    new = [each for each in again[0].sentences() if each not in said]
    new = [f"Of the unseen rows: {each}" for each in new]
    many = values.fits.shape[1] > _MOST_SHOWN
    return dataclasses.replace(
        extras,
        tables={**extras.tables, **_unseen_tables(values)},
        unprinted=(*extras.unprinted, *(["unseen"] if many else [])),
        metrics={
            **extras.metrics,
            "hazards_of_unseen": [dataclasses.asdict(each) for each in again],
        },
        sentences=(
            _against(rows, values), *extras.sentences, *_labelled(new, len(fits))
        ),
    )  # fmt: skip


def _unseen_tables(values: _Values) -> dict[str, Table]:
    count = values.fits.shape[1]
    tables = {"unseen": _unseen_table(values, np.arange(count))}
    if count > _MOST_SHOWN:
        tables["unseen_best_and_worst"] = _unseen_table(values, _ends(values.mean))
    return tables


def _check_memory(data: Data, limit: int | None) -> None:
    rows, players = len(data.dataset.x), len(data.owner_names)
    sampled = min(rows, 1000) + min(len(data.valid.x), 1000)
    # The median distance, the similarities of owners, responsibilities of clusters.
    need = 8 * (4 * sampled**2 + 3 * players**2)
    need += 8 * rows * (4 * _MAX_DIMENSIONS + 3 * _MAX_CLUSTERS)
    if limit is not None and need > limit:
        raise ValueError(
            f"EcoVal of {rows} rows of {players} owners needs about {need / GIB:.2g} "
            f"GiB, and {limit / GIB:.2g} GiB are there: take fewer rows, or group them "
            "with --owner. Raise the limit with --memory if you know better."
        )


def _unseen_points(unseen: Any, data: Data, embed) -> Points | None:
    if unseen is None:
        return None
    x, y = data.encode(unseen)
    return Points(embed(x), np.asarray(y))


def _clusters(rows: int) -> int:
    return max(2, min(_MAX_CLUSTERS, rows // 10))


def _dimensions(rows: int) -> int:
    """Few enough that a cluster of mean size determines its centroid and radius."""
    return max(2, min(_MAX_DIMENSIONS, rows // _clusters(rows) - 2))


def _settings(rows: int, dims: int) -> ecoval.Settings:
    """The paper's mixture, with no more parameters per cluster than rows to fit."""
    clusters = _clusters(rows)
    mixtures = [
        ecoval.Mixture(num_clusters=clusters, covariance="full"),
        ecoval.Mixture(num_clusters=clusters, covariance="diag"),
        ecoval.Mixture(num_clusters=clusters, covariance="spherical"),
    ]
    few = [each for each in mixtures if each.parameters(dims) <= rows / clusters]
    return ecoval.Settings(mixture=[*few, mixtures[-1]][0])


def _fits(key, game: _Ridge, points: Points, seeds: int, resamples: int, context):
    """Fits to the rows as they are, one per seed, and fits to resamples."""
    again_key, bootstrap_key = jax.random.split(key)
    settings, fits, ended = _settings(*points.x.shape), [], []
    total = seeds + resamples
    with context.progress("EcoVal, fits") as update:

        def refit(key, points, pool):
            fits.append(
                ecoval.fit(
                    key, game.of_points, points, pool,
                    settings=settings, cluster_game=game.of_clusters,
                )
            )  # fmt: skip
            update(len(fits), total)
            ended.append(time.monotonic())
            if len(ended) == 2:
                # The first has paid for the compilation.
                _warn_if_slow((total - 2) * (ended[1] - ended[0]), total, context)
            return fits[-1]

        # Only the fits are kept: sums of owners and unseen rows are valued from them.
        ecoval.bootstrap(bootstrap_key, refit, points, num_resamples=resamples)
        for seed in range(1, seeds):
            refit(jax.random.fold_in(again_key, seed), points, None)
    resampled = slice(1, 1 + resamples)
    return [fits[0], *fits[resampled.stop :]], fits[resampled]


def _warn_if_slow(seconds: float, fits: int, context: Context) -> None:
    if seconds > forecast.PATIENCE:
        context.note(
            f"note: {fits} fits, some {forecast.duration(seconds)}: give fewer "
            "--resamples or --seeds, or fewer rows."
        )


class _Ridge:
    """Ridge regression of the targets (one-hot for classes) on the embedded points.

    Scored by minus its squared error: an accuracy on few validation rows doesn't move
    when a cluster leaves, and a cluster that is worth 0 ties all its points at 0.
    """

    def __init__(self, data: Data, embed):
        self.classes = len(data.class_names)
        self.x_valid = self._with_constant(embed(data.valid.x))
        self.y_valid = self._targets(data.valid.y)

    def of_points(self, x, y):
        """The game whose players are points."""
        return self._game(x, y, np.arange(len(x)))

    def of_clusters(self, points, cluster, count):
        """The game whose players are clusters."""
        return self._game(points.x, points.y, cluster)

    def empty_score(self) -> float:
        """The score of the empty coalition, which predicts 0."""
        y = jnp.asarray(self.y_valid.reshape(len(self.y_valid), -1))
        return float(negative_squared_error(jnp.zeros_like(y), y).mean())

    def _game(self, x, y, owner):
        return ridge_regression(
            self._with_constant(x), self.x_valid, self._targets(y), self.y_valid, owner,
            penalty=1.0, metric=negative_squared_error,
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
        "Values of the unseen rows",
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


def _against(rows: _Values, unseen: _Values) -> str:
    seen, new = rows.mean, unseen.mean
    return (
        f"The median value of an unseen row is {np.median(new):.2g}, that of a "
        f"training row {np.median(seen):.2g}; the greatest are {new.max():.2g} and "
        f"{seen.max():.2g}."
    )


def _scale(owners: _Values, endpoints: tuple[float, float]) -> str:
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
        f"The empty coalition scores {endpoints[0]:.3g} and the grand coalition "
        f"{endpoints[1]:.3g}; the values add up to {owners.mean.sum():.2g}, "
        f"what the clusters lose when left out one by one"
        f"{again}."
    )


def _valuation(key, data: Data, owners: _Values, endpoints, count, extras) -> Valuation:
    players, resamples = len(data.owner_names), len(owners.resamples)
    values = ValueEstimate(owners.mean, owners.stderr, np.full(players, resamples))
    covariance = np.atleast_2d(np.cov(owners.resamples.T))
    sizes = data.dataset.sizes
    discrepancy = -davinz.discrepancy(untrained.similarity(data.dataset, data.valid.x))
    shape = extras.metrics["mixture"].covariance
    fits = f"mean of {len(owners.fits)} fits" if len(owners.fits) > 1 else "one fit"
    return Valuation(
        owner_names=data.owner_names,
        num_rows=sizes,
        estimate=values,
        prob_greater=intervals.rank_confidence(values, covariance),
        sampling_stderr=owners.noise,
        name="EcoVal",
        column="ecoval",
        method=(
            f"EcoVal on principal components, {shape} covariances, {fits}, sums over "
            "each owner's rows"
        ),
        unit="minus the squared error of ridge regression on the validation rows",
        error_source=f"{resamples} bootstrap resamples of the rows",
        baselines={
            "size only": sizes / sizes.sum(),
            "discrepancy, leave-one-out": np.asarray(
                exact.leave_one_out(discrepancy).values
            ),
            "random": np.asarray(jax.random.normal(key, (players,))),
        },
        endpoints=endpoints,
        num_evaluations=count,
        draws=owners.fits,
        extras=extras,
    )
