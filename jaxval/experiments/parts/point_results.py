"""Values of points and their curves in each sample, in numbers and in sentences."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jaxval import ecoval, evaluation
from jaxval.experiments.parts import comparisons, curves, deals
from jaxval.experiments.parts import point_methods as methods
from jaxval.experiments.parts.curves import Curves
from jaxval.experiments.parts.point_methods import MethodValues
from jaxval.types import PRNGKey, ValueEstimate

__all__ = [
    "RECORDS",
    "Results",
    "SampleResult",
    "accuracy_sentence",
    "crossed",
    "evaluate",
    "hazard_sentences",
    "held_out_accuracy",
    "leads_of",
    "metrics",
    "noise_sentence",
    "reliability",
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
"""Results of each sample."""

RECORDS = (SampleResult, MethodValues, ecoval.Report, ValueEstimate, evaluation.Curve)
"""Types that a result holds, for whoever keeps it."""


def evaluate(
    key: PRNGKey,
    data: deals.EmbeddedData,
    utility: str,
    budget: methods.Budget,
    num_steps: int,
    progress: Callable[..., None],
) -> SampleResult:
    """Deal one sample, value its points, and remove and add them.

    Args:
      key: PRNG key of the deal, the methods and what decides among ties.
      data: Embedded rows.
      utility: Kind of utility, as of `point_methods.problem`.
      budget: Computational budget of the methods.
      num_steps: Number of steps of each curve.
      progress: Called with units done, units in all, and what is being done.
    """
    deal_key, value_key, *tie_keys = jax.random.split(key, 5)
    sample = deals.draw_sample(deal_key, data)
    given = methods.problem(sample, utility, data.classes)
    values = methods.value(value_key, given, budget, progress)
    seen, later = given.held_out(*sample.points), given.held_out(*sample.unseen)
    own = (values.values, values.tie_break, num_steps, progress)
    other = (values.unseen, values.unseen_tie_break, num_steps, progress)
    removal, addition = evaluation.removal_curve, evaluation.addition_curve
    return SampleResult(
        values,
        curves.of_methods(tie_keys[0], removal, seen, *own),
        curves.of_methods(tie_keys[1], addition, seen, *own),
        curves.of_methods(tie_keys[2], removal, later, *other),
    )


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


def metrics(results: Results) -> dict[str, Any]:
    """Leads and hazards for `metrics.json`."""
    leads = {
        kind: {
            name: float(leads_of(results, kind, name, "random").mean())
            for name in getattr(results[0], kind)
        }
        for kind in ("removal", "unseen")
    }
    return {
        "held_out_accuracy": held_out_accuracy(results),
        "tmc_reliability": float(np.mean([reliability(r.methods) for r in results])),
        "removal_lead": leads["removal"],
        "unseen_lead": leads["unseen"],
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


def accuracy_sentence(results: Results, embedding_accuracy: float | None) -> str:
    """How good the model of all points is.

    Args:
      results: Results of each sample.
      embedding_accuracy: Accuracy of the embedding's network; `None` without one.
    """
    network = (
        "" if embedding_accuracy is None
        else f" (the embedding's network reaches {embedding_accuracy:.1%} on its own "
        "data)"
    )  # fmt: skip
    points, score = len(results[0].methods.cluster), held_out_accuracy(results)
    return f"All {points} points: {score:.1%} on held-out data{network}."
