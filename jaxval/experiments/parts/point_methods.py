"""Values of points by EcoVal and by its baselines, and what each one costs."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from jaxval import ecoval
from jaxval.distributional import estimator as distributional
from jaxval.distributional import regressions
from jaxval.distributional import utilities as point_scores
from jaxval.ecoval import leave_cluster_out, utilities
from jaxval.experiments.parts.deals import Sample
from jaxval.runner.machine import timed
from jaxval.semivalues import exact, run
from jaxval.types import Points, PRNGKey, ValueEstimate

__all__ = ["VARIANTS", "Budget", "MethodValues", "Problem", "problem", "value"]

VARIANTS = {
    "ecoval": ecoval.FULL,
    "ecoval, no alpha": ecoval.NO_ALPHA,
    "ecoval, no beta": ecoval.NO_BETA,
    "cluster mean only": ecoval.NO_ADJUSTMENT,
}
"""Figure 4's; without any adjustment a point is worth its cluster's mean."""


class Budget(NamedTuple):
    """Computational budget of the methods.

    Attributes:
      settings: Settings of EcoVal.
      permutations: Permutations of TMC Shapley, per point.
      iterations: Sets that Distributional Shapley draws.
      value_model: Regression of Distributional Shapley for unseen points.
    """

    settings: ecoval.Settings
    permutations: float
    iterations: int
    value_model: regressions.ValueModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """One sample and its two utilities, of validation and of held-out data.

    Attributes:
      sample: Data.
      utility: Utility that all methods see, of the validation rows.
      held_out: Utility of rows that no valuation sees.
      cluster_game: Faster game of clusters, where there is one.
      classes: Number of classes.
      counts_training_runs: Whether an evaluation of the utility is a training run.
    """

    sample: Sample
    utility: ecoval.Utility
    held_out: ecoval.Utility
    cluster_game: ecoval.ClusterGame | None
    classes: int
    counts_training_runs: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class MethodValues:
    """Values of one sample by every method.

    Attributes:
      values: Values of the points, by method.
      tie_break: Second criterion among equal values, by method, where it has one.
      unseen: Values of the unseen points, by method.
      unseen_tie_break: Second criterion among equal values of unseen points.
      cluster: Cluster of each point.
      representatives: Number of points that EcoVal's Shapley values were computed of.
      hazards: Counts of what EcoVal met at the valued points.
      unseen_hazards: Counts of what it met at the unseen points.
      tmc: Shapley values and their standard errors.
      num_evaluations: Utility evaluations, by method.
      training_runs: Training runs among them, by method; none in closed form.
      seconds: Seconds, by method.
    """

    values: dict[str, Float[np.ndarray, " n"]]
    tie_break: dict[str, Float[np.ndarray, " n"]]
    unseen: dict[str, Float[np.ndarray, " m"]]
    unseen_tie_break: dict[str, Float[np.ndarray, " m"]]
    cluster: Int[np.ndarray, " n"]
    representatives: int
    hazards: ecoval.Report
    unseen_hazards: ecoval.Report
    tmc: ValueEstimate
    num_evaluations: dict[str, int]
    training_runs: dict[str, int]
    seconds: dict[str, float]


def problem(sample: Sample, kind: str, classes: int) -> Problem:
    """The utilities of one sample.

    Args:
      sample: Data.
      kind: Kind of utility: `logistic` regression, or `ridge` regression in closed
        form.
      classes: Number of classes.
    """
    if kind == "ridge":
        closed = utilities.closed_form(sample.valid, classes)
        utility, cluster_game = closed.utility, closed.cluster_game
        held_out = utilities.closed_form(sample.held_out, classes).utility
    else:
        utility, cluster_game = utilities.logistic(sample.valid), None
        held_out = utilities.logistic(sample.held_out)
    return Problem(
        sample=sample,
        utility=utility,
        held_out=held_out,
        cluster_game=cluster_game,
        classes=classes,
        counts_training_runs=kind != "ridge",
    )


def value(
    key: PRNGKey, given: Problem, budget: Budget, progress: Callable[..., None]
) -> MethodValues:
    """Value the points of one sample, and its unseen points, by every method.

    Args:
      key: PRNG key, split into one for each method.
      given: Data and utilities.
      budget: Computational budget.
      progress: Called with units done, units in all, and the method.
    """
    ecoval_key, tmc_key, distributional_key, random_key, unseen_key = jax.random.split(
        key, 5
    )
    sample, seconds, calls = given.sample, {}, {}
    game = given.utility(*sample.points)
    count = game.num_players
    with timed(seconds, "ecoval"):
        fitted = ecoval.fit(
            ecoval_key,
            given.utility,
            sample.points,
            sample.pool,
            settings=budget.settings,
            cluster_game=given.cluster_game,
            counts_training_runs=given.counts_training_runs,
        )
        own = {name: ecoval.values(fitted, terms) for name, terms in VARIANTS.items()}
    calls["ecoval"] = calls["ecoval, no beta"] = fitted.cost.scores
    calls["cluster mean only"] = calls["ecoval, no alpha"] = fitted.clusters.scores
    with timed(seconds, "TMC Shapley"):
        tmc, calls["TMC Shapley"] = _tmc(budget, count, progress)(tmc_key, game)
    with timed(seconds, "Distributional Shapley"):
        distributed = _distributional(distributional_key, given, budget, progress)
    calls["Distributional Shapley"] = int(np.max(distributed.counts)) * (1 + count)
    with timed(seconds, "leave-one-out"):
        lost = np.asarray(exact.leave_one_out(game).values)
    calls["leave-one-out"] = 1 + count
    by_class, calls["class mean only"] = _class_means(given)
    cluster = np.asarray(fitted.points.cluster)
    size = np.bincount(cluster, minlength=fitted.clustering.num_clusters)
    unseen = {
        name: ecoval.unseen_values(fitted, sample.unseen, terms=terms)
        for name, terms in VARIANTS.items()
    }
    baselines = _unseen_baselines(
        unseen_key, given, budget, fitted, distributed, by_class, size
    )
    others = {
        "TMC Shapley": np.asarray(tmc.values),
        "Distributional Shapley": np.asarray(distributed.values),
        "leave-one-out": lost,
        "class mean only": by_class(sample.points),
        "rare cluster first": -1.0 * size[cluster],
        "random": np.asarray(jax.random.uniform(random_key, (count,))),
    }
    return MethodValues(
        values=_plain(own) | others,
        tie_break=_preferences(own),
        unseen=_plain(unseen) | baselines,
        unseen_tie_break=_preferences(unseen),
        cluster=cluster,
        representatives=len(fitted.sample),
        hazards=ecoval.report(fitted, own["ecoval"]),
        unseen_hazards=ecoval.report(fitted, unseen["ecoval"]),
        tmc=tmc,
        num_evaluations=calls,
        training_runs=_charged(given, calls),
        seconds=seconds,
    )


def _charged(given: Problem, calls: dict[str, int]) -> dict[str, int]:
    charged = given.counts_training_runs
    return {name: made if charged else 0 for name, made in calls.items()}


def _unseen_baselines(key, given, budget, fitted, distributed, by_class, size):
    """Values of unseen points by what EcoVal is compared with."""
    x, y = (np.asarray(part) for part in given.sample.unseen)
    own_x, own_y = (np.asarray(part) for part in given.sample.points)
    predict = budget.value_model(own_x, own_y, np.asarray(distributed.values))
    return {
        "Distributional Shapley": predict(x, y),
        "class mean only": by_class(given.sample.unseen),
        "rare cluster first": -1.0 * size[fitted.clustering.assign(x)],
        "random": np.asarray(jax.random.uniform(key, (len(x),))),
    }


def _plain(allocations) -> dict[str, np.ndarray]:
    return {name: np.asarray(each.values) for name, each in allocations.items()}


def _preferences(allocations) -> dict[str, np.ndarray]:
    # Without any adjustment there is none: chance decides.
    return {
        name: np.asarray(each.preference)
        for name, each in allocations.items()
        if VARIANTS[name] != ecoval.NO_ADJUSTMENT
    }


def _tmc(budget, count, progress):
    total = int(budget.permutations * count)

    def say(status):
        progress(int(status.estimate.counts.min()), total, "TMC Shapley")

    return ecoval.truncated_permutations(budget.permutations, progress=say)


def _distributional(key, given, budget, progress) -> ValueEstimate:
    sample, count = given.sample, len(given.sample.points.x)
    if given.cluster_game is None:
        scores = point_scores.logistic(sample.pool, sample.points, sample.valid)
    else:
        closed = utilities.closed_form(sample.valid, given.classes)
        scores = closed.point_scores(sample.pool, sample.points)
    pool, total = len(sample.pool.x), budget.iterations
    estimator = distributional.distributional_shapley(pool, count, count)
    say = functools.partial(progress, status="Distributional Shapley")
    outcome = run(
        key, estimator, scores, until=distributional.iterations(total, count, count),
        every=math.gcd(total, 10), progress=lambda status: say(status.steps, total),
    )  # fmt: skip
    return outcome.estimate


def _class_means(
    given: Problem,
) -> tuple[Callable[[Points], Float[np.ndarray, " n"]], int]:
    """A point is worth its class's leave-out value, divided by the class's size."""
    labels = np.asarray(given.sample.points.y)
    game = given.utility(*given.sample.points)
    classes = leave_cluster_out(game, labels, given.classes)
    size = np.maximum(np.bincount(labels, minlength=given.classes), 1)
    each = classes.values / size
    return lambda points: each[np.asarray(points.y)], classes.scores
