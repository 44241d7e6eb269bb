"""Values of points over samples of the data, as tables and a picture."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxval import ecoval
from jaxval.evaluation import spearman
from jaxval.experiments.parts import curves
from jaxval.experiments.parts.point_methods import VARIANTS, MethodValues
from jaxval.experiments.parts.point_results import Results, crossed, leads_of
from jaxval.reporting.tables import Column, Table

__all__ = ["cost", "draw", "hazards", "methods", "unseen", "values", "variants"]


def methods(results: Results) -> Table:
    """Every method against random order, and its correlation with TMC Shapley."""
    names = list(results[0].methods.values)
    agree = _each(results, names, lambda m, n: _rank(m, n, "TMC Shapley"))
    runs = _each(results, names, lambda m, n: m.training_runs.get(n, 0))
    return Table(
        "The valued points (figure 2), retrained and scored on held-out data",
        (
            Column("method", names),
            _lead("removal_lead", results, "removal", names),
            _lead("addition_lead", results, "addition", names),
            curves.column("spearman_tmc", agree, "Spearman TMC"),
            Column("training_runs", [int(np.mean(r)) for r in runs.values()], None,
                   "runs"),
        ),
        caption="Removal and addition, the most valuable first: area by which the "
        "accuracy's curve beats that of random order, in %; ± one standard error over "
        f"{len(results)} draw(s). Runs: trainings; 0 in closed form.",
    )  # fmt: skip


def unseen(results: Results) -> Table:
    """Every method that values unseen points, against random order."""
    names = list(results[0].methods.unseen)
    count = len(results[0].methods.unseen["random"])
    return Table(
        f"Unseen points (figure 3): {count} out of sample",
        (
            Column("method", names),
            _lead("removal_lead", results, "unseen", names),
        ),
        caption="As above. No method has scored these points.",
    )


def variants(results: Results) -> Table:
    """What each adjustment term of EcoVal changes."""
    names = [name for name in VARIANTS if name != "ecoval"]
    removal, addition = (
        {name: leads_of(results, kind, "ecoval", name) for name in names}
        for kind in ("removal", "addition")
    )
    rank = _each(results, names, lambda m, n: _rank(m, "ecoval", n))
    turned = _each(results, names, crossed)
    return Table(
        "What the adjustment terms do (figure 4)",
        (
            Column("variant", names),
            curves.column("removal_loss", removal, "removal"),
            curves.column("addition_loss", addition, "addition"),
            curves.column("spearman_full", rank, "Spearman"),
            curves.column("crossed", turned, "crossed"),
        ),
        caption="Removal and addition: by how much full EcoVal is better, in % of "
        "area. Spearman: with full EcoVal. Crossed: % of the pairs of points of two "
        "clusters whose order the terms change (they are of second order in V_c/n_c).",
    )


def cost(results: Results, clusters: int, iterations: int) -> Table:
    """Training runs by the paper's figure 1, and those that were made.

    Args:
      results: Results of each sample.
      clusters: Components of the mixture.
      iterations: Sets that Distributional Shapley drew.
    """
    points = len(results[0].methods.cluster)
    p = results[0].methods.representatives
    paper = ecoval.figure_1_counts(points, clusters, p, iterations)
    rows = {
        "TMC Shapley": paper.tmc_shapley,
        "Distributional Shapley": paper.distributional_shapley,
        "ecoval": paper.ecoval,
        "ecoval, no alpha": paper.ecoval_light,
    }

    def mean(part):
        each = [part(result.methods) for result in results]
        return [float(np.mean([made.get(name, 0) for made in each])) for name in rows]

    return Table(
        f"Training runs: m = {points} points, {clusters} clusters, p = {p}",
        (
            Column("method", list(rows)),
            Column("figure_1", list(rows.values()), heading="by figure 1"),
            Column("made", [int(x) for x in mean(lambda m: m.training_runs)]),
            Column("scores", [int(x) for x in mean(lambda m: m.num_evaluations)]),
            Column("seconds", mean(lambda m: m.seconds), digits=2),
        ),
        caption="By figure 1: 3m^2, T(m+1), C+1+3p^2, C+1. Made: training runs, 0 "
        "where the utility is a closed form. Scores: utility evaluations, by training "
        "or not. Seconds of wall clock, compiling included.",
    )


def hazards(results: Results) -> Table:
    """Counts of what EcoVal met, mean over samples."""
    names = [field.name for field in dataclasses.fields(ecoval.Report)]

    def mean(reports):
        numbers = [[float(getattr(each, n)) for n in names] for each in reports]
        return [f"{number:.3g}" for number in np.mean(numbers, axis=0)]

    return Table(
        f"What EcoVal met (mean over {len(results)} draw(s))",
        (
            Column("count", [name.replace("_", " ") for name in names]),
            Column("mean", mean([r.methods.hazards for r in results]), None, "valued"),
            Column("unseen", mean([r.methods.unseen_hazards for r in results])),
        ),
    )


def values(of: MethodValues, title: str) -> Table:
    """Values of each point by each method.

    Args:
      of: Values of one sample.
      title: Title of the table.
    """
    errors = {"TMC Shapley": np.asarray(of.tmc.stderr)}
    return Table(
        title,
        (
            Column("point", list(range(len(of.cluster)))),
            Column("cluster", of.cluster),
            *(
                Column(curves.plain(name), each, errors.get(name))
                for name, each in of.values.items()
            ),
        ),
    )


def _each(
    results: Results, names: Sequence[str], number: Callable[[MethodValues, str], Any]
) -> Mapping[str, np.ndarray]:
    return {n: np.array([number(r.methods, n) for r in results]) for n in names}


def _lead(name: str, results: Results, kind: str, names: Sequence[str]) -> Column:
    numbers = {n: leads_of(results, kind, n, "random") for n in names}
    return curves.column(name, numbers, "addition" if kind == "addition" else "removal")


def _rank(of: MethodValues, one: str, other: str) -> float:
    return spearman(of.values[one], of.values[other]).value


_SHOWN = (
    "ecoval",
    "TMC Shapley",
    "Distributional Shapley",
    "class mean only",
    "leave-one-out",
    "random",
)


def draw(figure: Any, results: Results) -> None:
    """Figures 2, 3 and 4 in four panels.

    Args:
      figure: Empty Matplotlib `Figure`.
      results: Results of each sample.
    """
    figure.set_size_inches(12, 7)
    panels = (
        ("removal", "Removing the most valuable", _SHOWN),
        ("addition", "Adding the most valuable", _SHOWN),
        ("unseen", "Removing unseen points", _SHOWN),
        ("addition", "Variants, adding (fig. 4)", tuple(VARIANTS)),
    )
    for axes, (kind, title, names) in zip(
        figure.subplots(2, 2).ravel(), panels, strict=True
    ):
        each = [getattr(result, kind) for result in results]
        curves.draw_bands(axes, each, names, title)
