"""Figures 2, 3 and 4 of EcoVal: who is missed most when removed, seen and unseen.

A few hundred points are valued by EcoVal, TMC and Distributional Shapley, leave-one-out
and trivial rivals; then the most valuable are removed from (or added to) the training
set first, the model is retrained at each step and scored on held-out data. The same for
points that came later. Scikit-learn's digits by default, MNIST or CIFAR-10 from a data
folder at the paper's scale.
"""

import dataclasses
import functools
import pathlib
from typing import Literal

import jax
import numpy as np

from jaxval import ecoval, evaluation
from jaxval.distributional import regressions as value_models
from jaxval.evaluation.curves import steps_of
from jaxval.experiments.parts import deals as ecoval_data
from jaxval.experiments.parts import point_methods as ecoval_methods
from jaxval.experiments.parts.curves import Drawn, report
from jaxval.runner.cache import cached, data_folder
from jaxval.runner.contract import SILENT, Context, Result, require
from jaxval.types import ValueEstimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Which data, which utility, how often."""

    data: Literal["digits", "mnist", "cifar10"] = "digits"
    """Scikit-learn's digits, or a set of the data folder."""
    data_dir: pathlib.Path | None = None
    """Folder with mnist.npz or cifar10.npz; the environment's JAXVAL_DATA otherwise."""
    utility: Literal["logistic", "ridge"] = "logistic"
    """Accuracy of logistic regression, or of ridge regression, with no training."""
    embedding: Literal["network", "pca"] = "network"
    """The last hidden layer of a small CNN trained on other images, or their PCA."""
    dims: int = 32
    """Principal components of the embedding."""
    training_steps: int = 500
    """Minibatches of 64 that the embedding's network is trained on."""
    clusters: int = 30
    """Components of the Gaussian mixture."""
    per_cluster: int = 2
    """Representatives that each cluster sends to TMC Shapley."""
    members_from_pool: bool = False
    """Take EcoVal's n_c and sums over the whole distribution, not the 200 points."""
    permutations: float = 3.0
    """Permutations for each point of TMC Shapley; the paper's 3."""
    iterations: int = 300
    """Sets that Distributional Shapley draws."""
    regression: Literal["best-per-class", "ridge"] = "best-per-class"
    """Distributional Shapley's for unseen points: its authors' search, or ridge."""
    draws: int = 3
    """Deals of the data to average over."""
    steps: int = 20
    """Points of each curve."""
    seed: int = 0
    """Deals the data and feeds every method."""

    def __post_init__(self):
        """Refuse now what would come to light after the embedding is trained."""
        require(
            self, dims=1, training_steps=1, clusters=1, per_cluster=1, iterations=1,
            draws=1, steps=1,
        )  # fmt: skip
        if not 0 < self.permutations < float("inf"):
            raise ValueError(
                "--permutations must be a positive number for each point; got "
                f"{self.permutations}."
            )


_VALUE_MODELS = {
    # The authors' candidates and up to 10 folds: about 20 s a draw of 200 points.
    "best-per-class": value_models.best_per_class(10),
    "ridge": value_models.ridge(with_target=True),
}


_RECORDS = (
    Drawn,
    ecoval_methods.Valued,
    ecoval.Report,
    ValueEstimate,
    evaluation.Curve,
)
"""Types that the parts of an interrupted run hold."""


def run(config: Config, context: Context = SILENT) -> Result:
    """Embed once; value, remove and add for each draw; average."""
    context.note(f"embedding {config.data} ({config.embedding}, {config.dims} dims)")
    known = ecoval_data.material(
        config.data,
        config.data_dir,
        config.embedding,
        config.dims,
        config.training_steps,
        config.seed,
    )
    key = jax.random.fold_in(jax.random.key(config.seed), 1)
    folder = data_folder(context.scratch, *known.points)
    drawn = []
    for number in range(config.draws):
        with context.progress(f"draw {number + 1} of {config.draws}") as update:
            mine = jax.random.fold_in(key, number)
            draw = functools.partial(_draw, mine, config, known, update)
            drawn.append(cached(folder, f"draw-{number}", draw, records=_RECORDS)[0])
    return report(config, known, drawn)


def _draw(key, config: Config, known: ecoval_data.Material, update) -> Drawn:
    deal_key, value_key, tie_key = jax.random.split(key, 3)
    draw = ecoval_data.deal(deal_key, known)
    given = ecoval_methods.problem(draw, config.utility, known.classes)
    settings = ecoval.Settings(
        mixture=ecoval.Mixture(num_clusters=config.clusters),
        per_cluster=config.per_cluster,
        members_from_pool=config.members_from_pool,
    )
    effort = ecoval_methods.Effort(
        settings,
        config.permutations,
        config.iterations,
        _VALUE_MODELS[config.regression],
    )
    valued = ecoval_methods.value(value_key, given, effort, update)
    seen_game = given.held_out(*draw.points)
    unseen_game = given.held_out(*draw.unseen)
    curves = functools.partial(_curves, tie_key, config.steps, update)
    removal, addition = evaluation.removal_curve, evaluation.addition_curve
    return Drawn(
        valued,
        curves(removal, seen_game, valued.values, valued.tie_break),
        curves(addition, seen_game, valued.values, valued.tie_break),
        curves(removal, unseen_game, valued.unseen, valued.unseen_tie_break),
    )


def _curves(key, num_steps, update, kind, game, values, ties):
    """A curve for each method; where it has no tie break of its own, chance decides."""
    found = {}
    for place, (name, mine) in enumerate(values.items()):
        chance = jax.random.uniform(jax.random.fold_in(key, place), mine.shape)
        tie = ties.get(name, np.asarray(chance))
        steps = steps_of(len(mine), num_steps)
        found[name] = kind(game, mine, tie_break=tie, steps=steps)
        update(place + 1, len(values), f"retraining along {len(mine)} points")
    return found
