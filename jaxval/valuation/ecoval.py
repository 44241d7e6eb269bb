"""EcoVal on user-supplied rows: clusters first, points and owners from them."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxval import ecoval
from jaxval.datasets.tabular.table import Table as Data
from jaxval.games import at_initialisation as untrained
from jaxval.games import davinz
from jaxval.games.kernel_regression import (
    negative_squared_error,
    one_hot,
    ridge_regression,
)
from jaxval.runner.contract import Context
from jaxval.semivalues import exact, intervals
from jaxval.types import Points, PRNGKey, ValueEstimate
from jaxval.valuation import ecoval_rows, forecast
from jaxval.valuation.memory_check import GIB
from jaxval.valuation.result import Valuation

__all__ = ["play"]

_MAX_CLUSTERS = 30
_MAX_DIMENSIONS = 16


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
    embed_key, fit_key, random_key = jax.random.split(key, 3)
    embed = ecoval.principal_components(embed_key, x, _dimensions(len(x)))
    points = Points(embed(x), np.asarray(data.dataset.y))
    unseen_points = _unseen_points(unseen, data, embed)
    game = _Ridge(data, embed)
    fits, resampled = _fits(fit_key, game, points, seeds, resamples, context)
    rows = ecoval_rows.RowValues(
        ecoval_rows.stacked(ecoval.values(fitted) for fitted in fits),
        ecoval_rows.stacked(
            ecoval.unseen_values(fitted, points) for fitted in resampled
        ),
    )
    owners = rows.of_owners(np.asarray(data.dataset.owner))
    endpoints = (game.empty_score(), float(fits[0].clusters.full))
    extras = ecoval_rows.extras(data, fits, resampled, rows, unseen_points)
    extras = dataclasses.replace(
        extras,
        sentences=(ecoval_rows.scale_sentence(owners, endpoints), *extras.sentences),
        arrays={"bootstrap": owners.resamples},
    )
    count = sum(fitted.cost.total for fitted in (*fits, *resampled))
    return _valuation(random_key, data, owners, endpoints, count, extras)


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


def _valuation(
    key, data: Data, owners: ecoval_rows.RowValues, endpoints, count, extras
) -> Valuation:
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
