"""The valuations that the `ecoval` experiment compares, and what each one costs."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from jaxval import ecoval
from jaxval.distributional import estimator as distributional
from jaxval.distributional import regressions as value_models
from jaxval.distributional import utilities as point_scores
from jaxval.ecoval import leave_cluster_out, utilities
from jaxval.experiments.parts.deals import Draw
from jaxval.runner.machine import timed
from jaxval.semivalues import exact
from jaxval.semivalues.runs import run
from jaxval.types import Points, ValueEstimate

__all__ = [
    "VARIANTS",
    "Effort",
    "Problem",
    "Valued",
    "problem",
    "value",
]

VARIANTS = {
    "ecoval": ecoval.FULL,
    "ecoval, no alpha": ecoval.NO_ALPHA,
    "ecoval, no beta": ecoval.NO_BETA,
    "cluster mean only": ecoval.NO_ADJUSTMENT,
}
"""Figure 4's; without any adjustment a point is worth its cluster's mean."""


class Effort(NamedTuple):
    """How hard to try."""

    settings: ecoval.Settings
    permutations: float
    iterations: int
    value_model: value_models.ValueModel


class Problem(NamedTuple):
    """One draw and its two utilities, of validation and of held-out data.

    Attributes:
      draw: the data.
      utility: of validation data.
      held_out: of data that no valuation sees.
      cluster_game: a faster game of clusters, where there is one.
      classes: how many.
      trains: whether a score of the utility takes a training run.
    """

    draw: Draw
    utility: ecoval.pipeline.Utility
    held_out: ecoval.pipeline.Utility
    cluster_game: ecoval.pipeline.ClusterGame | None
    classes: int
    trains: bool


class Valued(NamedTuple):
    """What one draw gave.

    Attributes:
      values: of the points, by method.
      tie_break: decides among equal values, by method; the others get chance.
      unseen: values of the unseen points, by method.
      unseen_tie_break: likewise.
      cluster: of each point.
      representatives: that EcoVal's Shapley values were computed of.
      hazards: what EcoVal met at the valued points.
      unseen_hazards: and at the unseen ones.
      tmc: Shapley values and their standard errors.
      scores: of coalitions that were asked for, by method.
      runs: training runs among them, by method; none in closed form.
      seconds: by method.
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
    scores: dict[str, int]
    runs: dict[str, int]
    seconds: dict[str, float]


def problem(draw: Draw, kind: str, classes: int) -> Problem:
    """The utilities of one draw: logistic regression, or ridge in closed form."""
    if kind == "ridge":
        closed = utilities.closed_form(draw.valid, classes)
        other = utilities.closed_form(draw.held_out, classes)
        return Problem(
            draw, closed.utility, other.utility, closed.cluster_game, classes, False
        )
    make = utilities.logistic
    return Problem(draw, make(draw.valid), make(draw.held_out), None, classes, True)


def value(
    key: jax.Array, given: Problem, effort: Effort, progress: Callable[..., None]
) -> Valued:
    """Value the points of one draw by every method."""
    keys = jax.random.split(key, 5)
    draw, seconds, asked = given.draw, {}, {}
    game = given.utility(*draw.points)
    sampled = ecoval.truncated_permutations(
        effort.permutations,
        progress=lambda at: progress(
            int(at.estimate.counts.min()),
            int(effort.permutations * len(draw.points.x)),
            "TMC Shapley",
        ),
    )
    with timed(seconds, "ecoval"):
        fitted = ecoval.fit(
            keys[0],
            given.utility,
            draw.points,
            draw.pool,
            settings=effort.settings,
            cluster_game=given.cluster_game,
            trains=given.trains,
        )
        parts = {name: ecoval.values(fitted, terms) for name, terms in VARIANTS.items()}
    asked["ecoval"] = asked["ecoval, no beta"] = fitted.cost.scores
    asked["cluster mean only"] = asked["ecoval, no alpha"] = fitted.clusters.scores
    with timed(seconds, "TMC Shapley"):
        tmc, asked["TMC Shapley"] = sampled(keys[1], game)
    with timed(seconds, "Distributional Shapley"):
        distributed = _distributional(keys[2], given, effort, progress)
    iterations = int(np.max(distributed.counts))
    asked["Distributional Shapley"] = iterations * (1 + len(draw.points.x))
    with timed(seconds, "leave-one-out"):
        lost = np.asarray(exact.leave_one_out(game).values)
    asked["leave-one-out"] = 1 + len(lost)
    by_class, asked["class mean only"] = _class_means(given)
    cluster = np.asarray(fitted.points.cluster)
    size = np.bincount(cluster, minlength=fitted.clustering.num_clusters)
    values = {name: np.asarray(part.values) for name, part in parts.items()}
    values |= {
        "TMC Shapley": np.asarray(tmc.values),
        "Distributional Shapley": np.asarray(distributed.values),
        "leave-one-out": lost,
        "class mean only": by_class(draw.points),
        "rare cluster first": -1.0 * size[cluster],
        "random": np.asarray(jax.random.uniform(keys[3], (len(lost),))),
    }
    others = {
        name: ecoval.unseen_values(fitted, draw.unseen, terms=terms)
        for name, terms in VARIANTS.items()
    }
    unseen = {name: np.asarray(part.values) for name, part in others.items()}
    unseen |= _unseen_rivals(
        keys[4], given, effort.value_model, fitted, distributed, by_class, size
    )
    return Valued(
        values,
        _preferences(parts),
        unseen,
        _preferences(others),
        cluster,
        len(fitted.sample),
        ecoval.report(fitted, parts["ecoval"]),
        ecoval.report(fitted, others["ecoval"]),
        tmc,
        asked,
        {name: count if given.trains else 0 for name, count in asked.items()},
        seconds,
    )


def _unseen_rivals(key, given, value_model, fitted, distributed, by_class, size):
    """What EcoVal's rivals say of points that no method has scored."""
    draw = given.draw
    x, y = draw.unseen
    worth = np.asarray(distributed.values)
    predict = value_model(draw.points.x, draw.points.y, worth)
    return {
        "Distributional Shapley": predict(x, y),
        "class mean only": by_class(draw.unseen),
        "rare cluster first": -1.0 * size[fitted.clustering.assign(x)],
        "random": np.asarray(jax.random.uniform(key, (len(x),))),
    }


def _preferences(parts):
    # Without any adjustment there is none: chance decides.
    return {
        name: np.asarray(part.preference)
        for name, part in parts.items()
        if VARIANTS[name] != ecoval.NO_ADJUSTMENT
    }


def _distributional(key, given, effort, progress) -> ValueEstimate:
    draw, n = given.draw, len(given.draw.points.x)
    scores: Any
    if given.cluster_game is None:
        scores = point_scores.logistic(draw.pool, draw.points, draw.valid)
    else:
        closed = utilities.closed_form(draw.valid, given.classes)
        scores = closed.point_scores(draw.pool, draw.points)
    estimator = distributional.distributional_shapley(len(draw.pool.x), n, n)
    say = functools.partial(progress, status="Distributional Shapley")
    total = effort.iterations
    outcome = run(
        key, estimator, scores, until=distributional.iterations(total, n, n),
        every=math.gcd(total, 10), progress=lambda status: say(status.steps, total),
    )  # fmt: skip
    return outcome.estimate


def _class_means(
    given: Problem,
) -> tuple[Callable[[Points], Float[np.ndarray, " n"]], int]:
    """A point is worth its class's leave-out value, divided by the class's size."""
    labels = np.asarray(given.draw.points.y)
    game = given.utility(*given.draw.points)
    found = leave_cluster_out(game, labels, given.classes)
    each = found.values / np.maximum(np.bincount(labels, minlength=given.classes), 1)
    return lambda points: each[np.asarray(points.y)], found.scores
