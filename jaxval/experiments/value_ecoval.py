"""EcoVal on a person's own rows: clusters first, points and owners from them."""

from typing import Any

import jax
import numpy as np

from jaxval import ecoval
from jaxval.datasets.tables import Table as Data
from jaxval.experiments import untrained
from jaxval.experiments.contract import Context
from jaxval.experiments.value_estimate import Found, without_errors
from jaxval.games import davinz
from jaxval.games.kernel_regression import (
    negative_squared_error,
    one_hot,
    ridge_regression,
)
from jaxval.reporting import Column, Table
from jaxval.semivalues import exact, intervals
from jaxval.types import PRNGKey, ValueEstimate

__all__ = ["play"]

_MAX_CLUSTERS = 30
_MAX_DIMENSIONS = 16


def play(key: PRNGKey, config: Any, data: Data, context: Context) -> Found:
    """Fit EcoVal once a seed and sum the values of each owner's points.

    Args:
      key: of the mixtures, the representatives and their orders.
      config: of `value`.
      data: a person's table.
      context: for progress.
    """
    if config.semivalue != "shapley" or config.estimator != "auto":
        raise ValueError(
            "--game ecoval is a method of its own: leave --semivalue and --estimator "
            "out."
        )
    x = np.asarray(data.dataset.x)
    embed = ecoval.principal_components(key, x, _MAX_DIMENSIONS)
    points = ecoval.Points(embed(x), np.asarray(data.dataset.y))
    later = _later(config, data, embed)
    game = _ridge(data, embed)
    mine, theirs, sentences, runs = [], [], (), 0
    with context.progress("EcoVal, fits") as update:
        for seed in range(config.seeds):
            fitted = ecoval.fit(
                jax.random.fold_in(key, seed),
                lambda x, y: game(x, y, np.arange(len(x))),
                points,
                settings=_settings(len(points.x)),
                cluster_game=lambda points, cluster, count: game(*points, cluster),
            )
            allocation = ecoval.values(fitted)
            mine.append(np.asarray(allocation.values, float))
            runs += sum(fitted.cost[:2])
            if later is not None:
                theirs.append(np.asarray(ecoval.unseen_values(fitted, later).values))
            if seed == 0:
                sentences = ecoval.report(fitted, allocation).sentences()
            update(seed + 1, config.seeds)
    tables = {"points": _points_table(data, np.stack(mine))}
    if later is not None:
        tables["unseen"] = _unseen_table(np.stack(theirs))
    extras = {"tables": tables, "sentences": sentences}
    return _found(data, np.stack(mine), runs, extras)


def _later(config, data: Data, embed) -> ecoval.Points | None:
    if config.unseen is None:
        return None
    x, y = data.encode(config.unseen)
    return ecoval.Points(embed(x), np.asarray(y))


def _settings(rows: int) -> ecoval.Settings:
    clusters = max(2, min(_MAX_CLUSTERS, rows // 10))
    return ecoval.Settings(mixture=ecoval.Mixture(num_clusters=clusters))


def _ridge(data: Data, embed):
    """Ridge regression of the targets (one-hot for classes) on the embedded points.

    Scored by minus its squared error: an accuracy on few validation rows doesn't move
    when a cluster leaves, and a cluster that is worth 0 ties all its points at 0.
    """
    classes = len(data.class_names)
    targets = lambda y: one_hot(y, classes) if classes else np.asarray(y, float)
    with_constant = lambda x: np.concatenate([x, np.ones((len(x), 1))], axis=1)
    x_valid, y_valid = with_constant(embed(data.x_valid)), targets(data.y_valid)

    def game(x, y, owner):
        return ridge_regression(
            with_constant(x), x_valid, targets(y), y_valid, owner,
            ridge=1.0, metric=negative_squared_error,
        )  # fmt: skip

    return game


def _points_table(data: Data, draws) -> Table:
    owners = [data.owner_names[i] for i in np.asarray(data.dataset.owner)]
    return Table(
        "Values of the training rows",
        (Column("owner", owners), Column("ecoval", *_mean(draws))),
    )


def _unseen_table(draws) -> Table:
    return Table(
        "Values of the rows that came later",
        (
            Column("row", np.arange(1, draws.shape[1] + 1)),
            Column("ecoval", *_mean(draws)),
        ),
    )


def _mean(draws):
    if len(draws) < 2:
        return draws[0], np.full(draws.shape[1], np.nan)
    return draws.mean(0), draws.std(0, ddof=1) / np.sqrt(len(draws))


def _found(data: Data, points, runs: int, extras) -> Found:
    owner, players = np.asarray(data.dataset.owner), len(data.owner_names)
    draws = np.stack([ecoval.owner_sums(each, owner) for each in points])
    values, errors = _mean(draws)
    covariance = np.zeros((players, players))
    if len(draws) > 1:
        covariance = np.atleast_2d(np.cov(draws.T)) / len(draws)
    found = ValueEstimate(values, errors, np.full(players, len(draws)))
    sure = intervals.rank_confidence(found, covariance)
    if len(draws) == 1:
        found, sure = without_errors(found)
    sizes = data.dataset.sizes
    far = -davinz.discrepancy(untrained.similarity(data.dataset, data.x_valid))
    return Found(
        found,
        sure,
        np.zeros(players),
        how="EcoVal on principal components, sums over each owner's rows",
        unit="minus the squared error of ridge regression on the validation rows",
        sampled=f"{len(draws)} fits" if len(draws) > 1 else "",
        rivals={
            "size only": sizes / sizes.sum(),
            "discrepancy, leave-one-out": np.asarray(exact.leave_one_out(far).values),
            "random": np.random.default_rng(0).normal(size=players),
        },
        worth=None,
        utility_calls=runs,
        draws=draws,
        extras=extras,
        drawn_once="fit" if len(draws) == 1 else "",
    )
