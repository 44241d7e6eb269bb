"""Figures 2, 3 and 4 of EcoVal: which points are missed most, seen and unseen.

A few hundred points are valued by EcoVal, TMC and Distributional Shapley, leave-one-out
and trivial baselines; then the most valuable are removed from (or added to) the
training set first, the model is retrained at each step and scored on held-out data. The
same for unseen points. Scikit-learn's digits by default, MNIST or CIFAR-10 from a data
folder at the paper's scale.
"""

import dataclasses
import functools
import pathlib
from typing import Literal

import jax

from jaxval import ecoval
from jaxval.distributional import regressions
from jaxval.experiments.parts import curves, deals, point_results, point_tables
from jaxval.experiments.parts import point_methods as methods
from jaxval.runner.cache import cached, data_folder
from jaxval.runner.contract import SILENT, Context, Result, require


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
        """Validates the settings eagerly."""
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
    "best-per-class": regressions.best_per_class(10),
    "ridge": regressions.ridge(with_target=True),
}


def run(config: Config, context: Context = SILENT) -> Result:
    """Embed once; value, remove and add for each draw; average."""
    context.note(f"embedding {config.data} ({config.embedding}, {config.dims} dims)")
    data_key, draw_key = jax.random.split(jax.random.key(config.seed))
    data = deals.embedded_data(
        data_key, config.data, config.data_dir, config.embedding, config.dims,
        config.training_steps,
    )  # fmt: skip
    budget = methods.Budget(
        ecoval.Settings(
            mixture=ecoval.Mixture(num_clusters=config.clusters),
            per_cluster=config.per_cluster,
            members_from_pool=config.members_from_pool,
        ),
        config.permutations,
        config.iterations,
        _VALUE_MODELS[config.regression],
    )
    results = []
    folder = data_folder(context.scratch, *data.points)
    for i in range(config.draws):
        with context.progress(f"draw {i + 1} of {config.draws}") as update:
            draw = functools.partial(
                point_results.evaluate, jax.random.fold_in(draw_key, i), data,
                config.utility, budget, config.steps, update,
            )  # fmt: skip
            saved = cached(folder, f"draw-{i}", draw, records=point_results.RECORDS)
            results.append(saved[0])
    first = results[0].methods
    return Result(
        tables={
            "methods": point_tables.methods(results),
            "unseen": point_tables.unseen(results),
            "variants": point_tables.variants(results),
            "cost": point_tables.cost(results, config.clusters, config.iterations),
            "hazards": point_tables.hazards(results),
            "values": point_tables.values(first, "Values of the first draw"),
        },
        metrics={"embedding_accuracy": data.accuracy, **point_results.metrics(results)},
        sentences=(
            point_results.accuracy_sentence(results, data.accuracy),
            *point_results.verdicts(results),
            point_results.noise_sentence(results),
            *point_results.hazard_sentences(results),
        ),
        arrays=curves.arrays("removal", [each.removal for each in results])
        | curves.arrays("addition", [each.addition for each in results])
        | curves.arrays("unseen", [each.unseen for each in results]),
        draw=lambda figure: point_tables.draw(figure, results),
        unprinted=("values",) if len(first.cluster) > 30 else (),
    )
