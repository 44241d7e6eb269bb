"""Values of points over samples of the data, as tables and sentences."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxval import ecoval, evaluation
from jaxval.evaluation import spearman
from jaxval.experiments.parts import comparisons, curves
from jaxval.experiments.parts.curves import Curves
from jaxval.experiments.parts.point_methods import VARIANTS, MethodValues
from jaxval.reporting.tables import Column, Table

__all__ = [
    "SampleResult",
    "cost",
    "crossed",
    "draw",
    "hazard_sentences",
    "hazards",
    "held_out_accuracy",
    "leads_of",
    "methods",
    "metrics",
    "noise_sentence",
    "reliability",
    "unseen",
    "values",
    "variants",
    "verdicts",
]


class SampleResult(NamedTuple):
    """One sample: values by every method, and the curves of figures 2 and 3.

    Attributes:
      methods: Values and costs.
      removal: Curves of removing valued points.
      addition: Curves of adding valued points.
      unseen: Curves of removing unseen points.
    """

    methods: MethodValues
    removal: Curves
    addition: Curves
    unseen: Curves


Results = Sequence[SampleResult]


def leads_of(
    results: Results, kind: str, one: str, other: str
) -> Float[np.ndarray, " samples"]:
    """Percent of area by which a method beats another in one kind of curves.

    Args:
      results: Results of each sample.
      kind: Kind of curves: "removal", "addition" or "unseen".
      one: Name of the method.
      other: Name of the method it is compared with.
    """
    each = [getattr(result, kind) for result in results]
    return curves.leads(each, one, other, removal=kind != "addition")


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
    lost = lambda kind: {n: leads_of(results, kind, "ecoval", n) for n in names}
    rank = _each(results, names, lambda m, n: _rank(m, "ecoval", n))
    turned = _each(results, names, crossed)
    return Table(
        "What the adjustment terms do (figure 4)",
        (
            Column("variant", names),
            curves.column("removal_loss", lost("removal"), "removal"),
            curves.column("addition_loss", lost("addition"), "addition"),
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
    mean = lambda part: [
        float(np.mean([part(result.methods).get(name, 0) for result in results]))
        for name in rows
    ]
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


def noise_sentence(results: Results) -> str:
    """How far TMC Shapley can be trusted as what others are compared with."""
    unresolved = evaluation.num_unresolved_neighbours
    tmc = [result.methods.tmc for result in results]
    near = np.mean(
        [unresolved(np.asarray(t.values), np.asarray(t.stderr)) for t in tmc]
    )
    trust = float(np.mean([reliability(r.methods) for r in results]))
    return (
        f"Of TMC Shapley's {len(results[0].methods.cluster) - 1} pairs of neighbours, "
        f"{near:.0f} are within two standard errors; its reliability is {trust:.2f}, "
        f"so that about {np.sqrt(max(trust, 0)):.2f} is the best correlation with it."
    )


def hazard_sentences(results: Results) -> list[str]:
    """The hazards of one sample, and of its unseen points where these are others."""
    where = "" if len(results) == 1 else f"First of {len(results)} draws: "
    first = results[0].methods
    seen, later = first.hazards.sentences(), first.unseen_hazards.sentences()
    more = [f"Unseen points: {line}" for line in later if line not in seen]
    return [where + line for line in (*seen, *more)]


def reliability(of: MethodValues) -> float:
    """Share of the variance of TMC Shapley's values that is not their error."""
    values, stderr = np.asarray(of.tmc.values), np.asarray(of.tmc.stderr)
    return 1 - float(np.mean(stderr**2) / np.var(values)) if np.var(values) > 0 else 0.0


def crossed(of: MethodValues, name: str) -> float:
    """Percent of the pairs of points of two clusters that a variant orders otherwise.

    Args:
      of: Values of one sample.
      name: Variant to compare with full EcoVal.
    """
    a, b = of.values["ecoval"], of.values[name]
    # (n, n): pairs of different clusters, and pairs in opposite order.
    apart = of.cluster[:, None] != of.cluster[None, :]
    turned = (a[:, None] - a[None, :]) * (b[:, None] - b[None, :]) < 0
    return 100 * float(np.sum(turned & apart) / max(np.sum(apart), 1))


def _each(
    results: Results, names: Sequence[str], number: Callable[[MethodValues, str], Any]
) -> Mapping[str, np.ndarray]:
    return {n: np.array([number(r.methods, n) for r in results]) for n in names}


def _lead(name: str, results: Results, kind: str, names: Sequence[str]) -> Column:
    numbers = {n: leads_of(results, kind, n, "random") for n in names}
    return curves.column(name, numbers, "addition" if kind == "addition" else "removal")


def _rank(of: MethodValues, one: str, other: str) -> float:
    return spearman(of.values[one], of.values[other]).value


def metrics(results: Results) -> dict[str, Any]:
    """Leads and hazards for `metrics.json`."""
    lead = lambda kind: {
        name: float(leads_of(results, kind, name, "random").mean())
        for name in getattr(results[0], kind)
    }
    return {
        "held_out_accuracy": held_out_accuracy(results),
        "tmc_reliability": float(np.mean([reliability(r.methods) for r in results])),
        "removal_lead": lead("removal"),
        "unseen_lead": lead("unseen"),
        "hazards": [dataclasses.asdict(r.methods.hazards) for r in results],
        "unseen_hazards": [
            dataclasses.asdict(r.methods.unseen_hazards) for r in results
        ],
    }


def held_out_accuracy(results: Results) -> float:
    """Mean score of all points together on held-out data."""
    return float(np.mean([result.removal["random"].scores[0] for result in results]))


def verdicts(results: Results) -> list[str]:
    """Which baselines EcoVal beats in removing points, valued and unseen."""
    said = []
    for kind, doing in (("removal", "valued"), ("unseen", "unseen")):
        names = [name for name in getattr(results[0], kind) if name != "ecoval"]
        lead = {name: leads_of(results, kind, "ecoval", name) for name in names}
        said.append(comparisons.verdict("EcoVal", f"removing {doing} points", lead))
    return said


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
