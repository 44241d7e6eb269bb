"""A study's result as one page, `report.html`."""

import dataclasses
import functools
import importlib.util
from collections.abc import Iterator, Mapping
from typing import Any

from jaxval.reporting import page, plots
from jaxval.runner.contract import Result

__all__ = ["GLOSSARY", "report_page"]

GLOSSARY = {
    "Banzhaf value": "Mean contribution to a coalition drawn from all of them alike.",
    "coalition": "Set of players; its score is what a model learns from their data.",
    "DAVINZ": "Score of a network at initialisation: a bound on its test error from "
    "the tangent kernel and the distance between training and validation data.",
    "EcoVal": "Values of clusters of points, divided among their points.",
    "grand coalition": "All players together.",
    "leave-one-out": "Score of all players minus the score without the one.",
    "Pearson": "Correlation of the values themselves, -1 to 1.",
    "Shapley value": "Mean contribution to the players before it, over all orders; the "
    "values add up to the score of all players.",
    "Spearman": "Correlation of the ranks, -1 to 1.",
    "split-half reliability": "Correlation of the ground truth measured on half of the "
    "seeds with that on the other half: no method can agree with it much better.",
    "standard error": "Standard deviation that an estimate would show if all of it "
    "were repeated.",
    "TMC Shapley": "Shapley values from random orders, each left off where the score "
    "hardly changes any more.",
}
"""Terms that a page explains where they occur."""


_MAX_ROWS = 60
"""Rows of a table on the page; the CSV file has all of them."""


def report_page(result: Result, about: Mapping[str, Any], settings: Any) -> str:
    """The page of one result, as HTML.

    Args:
      result: Tables, sentences, chart and picture of the study.
      about: What `metrics.json` says: the study's name, device, versions, warnings.
      settings: Settings of the run, in JSON's own types.
    """
    name = str(about.get("experiment", "result"))
    blocks = list(_findings(result, about))
    text = page.render(name, blocks)
    terms = {k: v for k, v in GLOSSARY.items() if k.lower() in text.lower()}
    if terms:
        blocks.append(page.Details("Glossary", [page.Glossary(terms)]))
    blocks.append(page.Details("How it was run", list(_circumstances(about, settings))))
    return page.render(name.replace("-", " "), blocks, subtitle=_subtitle(about))


def _findings(result: Result, about: Mapping[str, Any]) -> Iterator[page.Block]:
    for line in about.get("warnings", ()):
        yield page.Warning(str(line))
    yield page.Prose(result.sentences)
    if result.draw is not None and importlib.util.find_spec("matplotlib"):
        yield page.Figure(
            plots.svg(result.draw, name="result"), "The result as a picture."
        )
    elif result.chart:
        yield page.Preformatted(result.chart)
    for name, table in result.tables.items():
        show = functools.partial(
            page.TableBlock, max_rows=_MAX_ROWS, source=f"{name}.csv"
        )
        if name in result.unprinted:
            untitled = dataclasses.replace(table, title="")
            yield page.Details(table.title or name, [show(untitled)])
        else:
            yield show(table)


def _circumstances(about: Mapping[str, Any], settings: Any) -> Iterator[page.Block]:
    if isinstance(settings, Mapping):
        texts = {str(k): "–" if v is None else str(v) for k, v in settings.items()}
        yield page.Heading("Settings", 3)
        yield page.Glossary(texts)
    versions = about.get("versions", {})
    yield page.Heading("Versions", 3)
    yield page.Glossary({str(k): str(v) for k, v in versions.items()})


def _subtitle(about: Mapping[str, Any]) -> str:
    parts = []
    if "versions" in about:
        parts.append(f"jaxval {about['versions'].get('jaxval', '')}")
    if "device" in about:
        parts.append(str(about["device"]))
    if "wall_seconds" in about:
        parts.append(f"{about['wall_seconds']:.1f} s")
    return " · ".join(parts)
