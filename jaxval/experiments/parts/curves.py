"""What the `ecoval` experiment says: tables, sentences and the picture."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxval import ecoval, evaluation
from jaxval.evaluation import Curve, mean_and_error
from jaxval.experiments.parts.comparisons import leads, verdict
from jaxval.experiments.parts.deals import Material
from jaxval.experiments.parts.point_methods import VARIANTS, Valued
from jaxval.reporting.plots import COLOURS
from jaxval.reporting.tables import Column, Table
from jaxval.runner.contract import Result

__all__ = ["Drawn", "report"]

Curves = Mapping[str, Curve]


class Drawn(NamedTuple):
    """One draw: values, and the curves of figures 2 and 3."""

    valued: Valued
    removal: Curves
    addition: Curves
    unseen: Curves


def report(config: Any, known: Material, drawn: Sequence[Drawn]) -> Result:
    """Tables of all draws."""
    tables = {
        "methods": _methods(drawn),
        "unseen": _unseen(drawn),
        "variants": _variants(drawn),
        "cost": _cost(config, known, drawn),
        "hazards": _hazards(drawn),
        "values": _values(drawn[0]),
    }
    first = drawn[0].valued
    return Result(
        tables=tables,
        metrics=_metrics(known, drawn),
        sentences=_sentences(config, known, drawn),
        arrays=_arrays(drawn),
        draw=lambda figure: _draw(figure, drawn),
        unprinted=("values",) if len(first.tmc.values) > 30 else (),
    )


def _methods(drawn) -> Table:
    names = list(drawn[0].valued.values)
    lead = {name: _between(drawn, "removal", name, "random") for name in names}
    gain = {name: _between(drawn, "addition", name, "random") for name in names}
    agreed = {
        name: mean_and_error(_agreement(d.valued, name) for d in drawn)
        for name in names
    }
    runs = [int(np.mean([d.valued.runs.get(n, 0) for d in drawn])) for n in names]
    return Table(
        "The valued points (figure 2), retrained and scored on held-out data",
        (
            Column("method", names),
            _column("removal_lead", lead, "removal"),
            _column("addition_lead", gain, "addition"),
            _column("spearman_tmc", agreed, "Spearman TMC"),
            Column("training_runs", runs, heading="runs"),
        ),
        caption="Removal and addition, the most valuable first: area by which the "
        f"accuracy's curve beats that of random order, in %; ± one standard error over "
        f"{len(drawn)} draw(s). Runs: trainings; 0 in closed form.",
    )


def _unseen(drawn) -> Table:
    names = list(drawn[0].valued.unseen)
    lead = {name: _between(drawn, "unseen", name, "random") for name in names}
    return Table(
        f"Unseen points (figure 3): {len(drawn[0].valued.unseen['random'])} that came "
        "later",
        (Column("method", names), _column("removal_lead", lead, "removal")),
        caption="As above. No method has scored these points.",
    )


def _variants(drawn) -> Table:
    names = [name for name in VARIANTS if name != "ecoval"]
    rank = {
        name: mean_and_error(_same_order(d.valued, name) for d in drawn)
        for name in names
    }
    removal = {n: _between(drawn, "removal", "ecoval", n) for n in names}
    addition = {n: _between(drawn, "addition", "ecoval", n) for n in names}
    crossed = {
        name: mean_and_error(_crossed(d.valued, name) for d in drawn) for name in names
    }
    return Table(
        "What the adjustment terms do (figure 4)",
        (
            Column("variant", names),
            _column("removal_loss", removal, "removal"),
            _column("addition_loss", addition, "addition"),
            _column("spearman_full", rank, "Spearman"),
            _column("crossed", crossed, "crossed"),
        ),
        caption="Removal and addition: by how much full EcoVal is better, in % of "
        "area. Spearman: with full EcoVal. Crossed: % of the pairs of points of two "
        "clusters whose order the terms change (they are of second order in V_c/n_c).",
    )


def _cost(config, known, drawn) -> Table:
    points, p = known.sizes.points, drawn[0].valued.representatives
    paper = ecoval.figure_1_counts(points, config.clusters, p, config.iterations)
    rows = {
        "TMC Shapley": paper.tmc_shapley,
        "Distributional Shapley": paper.distributional_shapley,
        "ecoval": paper.ecoval,
        "ecoval, no alpha": paper.ecoval_light,
    }
    of = lambda part, name: float(np.mean([part(d).get(name, 0) for d in drawn]))
    mean = lambda part: [of(part, name) for name in rows]
    return Table(
        f"Training runs: m = {points} points, {config.clusters} clusters, p = {p}",
        (
            Column("method", list(rows)),
            Column("figure_1", list(rows.values()), heading="by figure 1"),
            Column("made", [int(x) for x in mean(lambda d: d.valued.runs)]),
            Column("scores", [int(x) for x in mean(lambda d: d.valued.scores)]),
            Column("seconds", mean(lambda d: d.valued.seconds), digits=2),
        ),
        caption="By figure 1: 3m^2, T(m+1), C+1+3p^2, C+1. Made: training runs, 0 "
        "where the utility is a closed form. Scores: of coalitions that were asked "
        "for, trained or not. Seconds of wall clock, compiling included.",
    )


def _hazards(drawn) -> Table:
    names = list(ecoval.Report._fields)

    def mean(reports):
        return [f"{np.mean([float(r[i]) for r in reports]):.3g}" for i in places]

    places = range(len(names))
    return Table(
        f"What EcoVal met (mean over {len(drawn)} draw(s))",
        (
            Column("count", [n.replace("_", " ") for n in names]),
            Column("mean", mean([d.valued.hazards for d in drawn]), heading="valued"),
            Column("unseen", mean([d.valued.unseen_hazards for d in drawn])),
        ),
    )


def _values(drawn: Drawn) -> Table:
    valued = drawn.valued
    return Table(
        "Values of the first draw",
        (
            Column("point", list(range(len(valued.tmc.values)))),
            Column("cluster", valued.cluster),
            *(
                Column(
                    _plain(name),
                    values,
                    np.asarray(valued.tmc.stderr) if name == "TMC Shapley" else None,
                )
                for name, values in valued.values.items()
            ),
        ),
    )


def _metrics(known, drawn) -> dict[str, Any]:
    reliable = [_reliability(d.valued) for d in drawn]
    return {
        "embedding_accuracy": known.accuracy,
        "held_out_accuracy": float(np.mean([_start(d) for d in drawn])),
        "tmc_reliability": float(np.mean(reliable)),
        "removal_lead": {
            name: _between(drawn, "removal", name, "random")[0]
            for name in drawn[0].removal
        },
        "unseen_lead": {
            name: _between(drawn, "unseen", name, "random")[0]
            for name in drawn[0].unseen
        },
        "hazards": [d.valued.hazards._asdict() for d in drawn],
        "unseen_hazards": [d.valued.unseen_hazards._asdict() for d in drawn],
    }


def _sentences(config, known, drawn) -> tuple[str, ...]:
    score = np.mean([_start(d) for d in drawn])
    network = (
        "" if known.accuracy is None
        else f" (the embedding's network reaches {known.accuracy:.1%} on its own data)"
    )  # fmt: skip
    said = [
        f"All {known.sizes.points} points: {score:.1%} on held-out data{network}.",
        verdict(drawn, "removal", "removing valued points"),
        verdict(drawn, "unseen", "removing unseen points"),
    ]
    near = np.mean(
        [evaluation.num_unresolved_neighbours(*d.valued.tmc[:2]) for d in drawn]
    )
    reliable = np.mean([_reliability(d.valued) for d in drawn])
    said.append(
        f"Of TMC Shapley's {known.sizes.points - 1} pairs of neighbours, {near:.0f} "
        f"are within two standard errors; its reliability is {reliable:.2f}, so that "
        f"about "
        f"{np.sqrt(max(reliable, 0)):.2f} is the best correlation with it."
    )
    return (*said, *_met(drawn))


def _met(drawn) -> list[str]:
    """The hazards of one draw, and of its unseen points where these are others."""
    where = "" if len(drawn) == 1 else f"First of {len(drawn)} draws: "
    seen = drawn[0].valued.hazards.sentences()
    unseen = drawn[0].valued.unseen_hazards.sentences()
    more = [f"Unseen points: {line}" for line in unseen if line not in seen]
    return [where + line for line in (*seen, *more)]


def _arrays(drawn) -> dict[str, np.ndarray]:
    found = {}
    for kind in ("removal", "addition", "unseen"):
        curves = getattr(drawn[0], kind)
        found[f"{kind}_moved"] = next(iter(curves.values())).moved
        for name in curves:
            scores = [getattr(d, kind)[name].scores for d in drawn]
            found[f"{kind}_{_plain(name)}"] = np.array(scores)
    return found


def _plain(name: str) -> str:
    return name.replace(", ", "_").replace(" ", "_").replace("-", "_")


_SHOWN = (
    "ecoval",
    "TMC Shapley",
    "Distributional Shapley",
    "class mean only",
    "leave-one-out",
    "random",
)


def _draw(figure, drawn) -> None:
    figure.set_size_inches(12, 7)
    axes = figure.subplots(2, 2).ravel()
    titles = {
        "removal": "Removing the most valuable",
        "addition": "Adding the most valuable",
        "unseen": "Removing unseen points",
    }
    for ax, (kind, title) in zip(axes, titles.items(), strict=False):
        _lines(ax, [getattr(d, kind) for d in drawn], _SHOWN, title)
    _lines(
        axes[3],
        [d.addition for d in drawn],
        tuple(VARIANTS),
        "Variants, adding (fig. 4)",
    )


def _lines(axes, curves, names, title) -> None:
    for name, colour in zip(names, COLOURS, strict=False):
        if name not in curves[0]:
            continue
        band = evaluation.band([c[name] for c in curves])
        axes.plot(band.moved, band.mean, color=colour, label=name, lw=1.5)
        width = np.nan_to_num(band.stderr)
        axes.fill_between(
            band.moved, band.mean - width, band.mean + width, color=colour, alpha=0.2
        )
    axes.set_title(title)
    axes.set_xlabel("points moved")
    axes.set_ylabel("held-out accuracy")
    axes.legend(fontsize=7)


def _column(name, found, heading) -> Column:
    means, errors = zip(*found.values(), strict=True)
    return Column(name, list(means), list(errors), heading=heading, digits=3)


def _between(drawn, kind, one, other) -> tuple[float, float]:
    return mean_and_error(leads(drawn, kind, one, other))


def _agreement(valued: Valued, name: str) -> float:
    return evaluation.spearman(valued.values[name], valued.values["TMC Shapley"]).value


def _same_order(valued: Valued, name: str) -> float:
    return evaluation.spearman(valued.values["ecoval"], valued.values[name]).value


def _crossed(valued: Valued, name: str) -> float:
    a, b = valued.values["ecoval"], valued.values[name]
    apart = valued.cluster[:, None] != valued.cluster[None, :]
    turned = (a[:, None] - a[None, :]) * (b[:, None] - b[None, :]) < 0
    return 100 * float(np.sum(turned & apart) / max(np.sum(apart), 1))


def _reliability(valued: Valued) -> float:
    values, stderr = (np.asarray(part) for part in valued.tmc[:2])
    return 1 - float(np.mean(stderr**2) / np.var(values)) if np.var(values) > 0 else 0.0


def _start(drawn: Drawn) -> float:
    return float(drawn.removal["random"].scores[0])
