"""A valuation as tables, sentences and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxval.evaluation import Agreement, spearman
from jaxval.reporting import Column, Table, bar_chart
from jaxval.reporting.plots import COLOURS, bars
from jaxval.reporting.tables import to_text
from jaxval.runner.contract import Result
from jaxval.valuation.result import Valuation, rank_ranges

__all__ = ["as_text", "draw", "report", "values_table"]

_MOST_SHOWN = 24
"""Players that fit the terminal; of more, the best and the worst are shown."""

_ENDS = 8
"""Players shown at either end of many."""


def report(valuation: Valuation) -> Result:
    """Tables, sentences and a picture of a valuation."""
    whole = values_table(valuation)
    tables = {"values": whole}
    extras = valuation.extras
    unprinted: list[str] = []
    shown = _shown(valuation)
    if len(shown) < len(valuation):
        tables["best_and_worst"] = _table(valuation, shown)
        unprinted.append("values")
    agreement = _agreement(valuation)
    tables["baselines"] = _baselines(valuation, agreement)
    names = [valuation.owner_names[i] for i in shown]
    return Result(
        tables={**tables, **extras.tables},
        unprinted=(*unprinted, *extras.unprinted),
        chart=bar_chart(
            names,
            valuation.values[shown],
            valuation.stderr[shown],
            title=f"{valuation.name} value",
        ),
        metrics=_metrics(valuation, agreement),
        sentences=(*_sentences(valuation, agreement), *extras.sentences),
        arrays={"draws": valuation.draws, **extras.arrays},
        draw=lambda figure: draw(figure, valuation),
    )


def as_text(valuation: Valuation, width: int = 88) -> str:
    """The table of a valuation, the best and the worst of many, and what it means."""
    table = _table(valuation, _shown(valuation))
    sentences = (
        *_sentences(valuation, _agreement(valuation)),
        *valuation.extras.sentences,
    )
    return "\n".join([to_text(table, width).rstrip(), *sentences])


def values_table(valuation: Valuation) -> Table:
    """All owners in the order of `owner_names`."""
    return _table(valuation, np.arange(len(valuation)))


def _shown(valuation: Valuation) -> np.ndarray:
    order = valuation.order
    if len(order) <= _MOST_SHOWN:
        return order
    return np.concatenate([order[:_ENDS], order[-_ENDS:]])


def _table(valuation: Valuation, rows: np.ndarray) -> Table:
    best, worst = rank_ranges(valuation.prob_greater)
    counts = np.asarray(valuation.estimate.counts)
    source = valuation.error_source
    over = f", ± one standard error over {source}" if source else ""
    return Table(
        f"Values of the owners of the rows: {valuation.name} value",
        (
            Column("owner", [valuation.owner_names[i] for i in rows]),
            Column("rows", valuation.num_rows[rows]),
            Column(
                valuation.column,
                valuation.values[rows],
                valuation.stderr[rows],
                valuation.name,
            ),
            Column("rank", valuation.ranks[rows]),
            Column("best_place", best[rows], shown=False),
            Column("worst_place", worst[rows], shown=False),
            Column("places", _ranges(best[rows], worst[rows])),
            Column("above_next", _above_next(valuation)[rows]),
            Column("sampling_stderr", valuation.sampling_stderr[rows], shown=False),
            Column("units", counts[rows], shown=False),
            *(
                Column(name.replace(" ", "_"), baseline[rows], shown=False)
                for name, baseline in valuation.baselines.items()
            ),
        ),
        f"{valuation.method}. In units of {valuation.unit}{over}. places: range that "
        "the true rank lies in; above next: probability that the value is greater than "
        "the next one's (each comparison by itself, 95%).",
    )


def _ranges(best, worst) -> list[str]:
    pairs = zip(best.tolist(), worst.tolist(), strict=True)
    return [str(a) if a == b else f"{a}-{b}" for a, b in pairs]


def _above_next(valuation: Valuation) -> Float[np.ndarray, " n"]:
    """Probability that a value is greater than the next one's; NaN for the last."""
    order = valuation.order
    above = np.full(len(order), np.nan)
    above[order[:-1]] = valuation.prob_greater[order[:-1], order[1:]]
    return above


def _agreement(valuation: Valuation) -> dict[str, Agreement]:
    return {
        name: spearman(valuation.values, baseline)
        for name, baseline in valuation.baselines.items()
    }


def _baselines(valuation: Valuation, agreement: Mapping[str, Agreement]) -> Table:
    value, low, high = np.array(list(agreement.values())).T
    return Table(
        "Would a simpler score give the same ranking?",
        (
            Column("score", list(agreement)),
            Column("spearman", value),
            Column("low", low, heading="from"),
            Column("high", high, heading="to"),
        ),
        "Rank correlation of its values with those above; from, to: its 95% interval "
        f"for {len(valuation)} owners.",
    )


def _metrics(valuation: Valuation, agreement) -> dict[str, Any]:
    empty, full = valuation.endpoints or (None, None)
    return {
        **valuation.metrics,
        "method": valuation.method,
        "num_evaluations": valuation.num_evaluations,
        "empty_score": empty,
        "full_score": full,
        "spearman_with": {name: each.value for name, each in agreement.items()},
        "resolved_pairs": _resolved_pairs(valuation)[0],
        **valuation.extras.metrics,
    }


_KNOWN = 0.5
"""Share of all pairs that must be resolved for a ranking to be compared."""

_ALIKE = 0.9
"""Rank correlation from which two rankings are as good as the same."""


def _sentences(
    valuation: Valuation, agreement: Mapping[str, Agreement]
) -> tuple[str, ...]:
    order = valuation.order
    best, worst = (valuation.owner_names[order[i]] for i in (0, -1))
    if np.ptp(valuation.values) == 0:
        return ("All owners have the same value under this score.",)
    first = f"{best} has the greatest value and {worst} the smallest; "
    first += f"{_confidence(valuation)}."
    informative = {
        name: each
        for name, each in agreement.items()
        if name != "random" and not np.isnan(each.value)
    }
    if not informative:
        return (first,)
    return first, _verdict(valuation, informative)


def _verdict(valuation: Valuation, agreement: Mapping[str, Agreement]) -> str:
    """Whether a simpler score gives the same ranking, as far as the data can tell."""
    nearest = max(agreement, key=lambda name: agreement[name].value)
    value, low, high = agreement[nearest]
    said = f"Of the simpler scores, {nearest} ranks most like it (Spearman {value:.2f}"
    resolved, pairs = _resolved_pairs(valuation)
    if not resolved >= _KNOWN * pairs:
        why = (
            "its errors are unknown"
            if valuation.drawn_once or np.isnan(resolved)
            else f"{resolved:.0f} of {pairs} pairs of owners are resolved at 95%"
        )
        return f"{said}), but this ranking is too uncertain to be compared: {why}."
    said += f", 95% interval {low:.2f} to {high:.2f}): " if low == low else "): "
    owners = len(valuation)
    if value >= _ALIKE:
        same = "that alone gives most of this ranking"
        doubt = "" if low > 0.5 else f", as far as {owners} owners can tell"
        return f"{said}{same}{doubt}."
    if high < _ALIKE:
        return f"{said}the ranking differs from that of every simpler score."
    return (
        f"{said}{owners} owners are too few to say whether the ranking says more than "
        "that."
    )


def _resolved_pairs(valuation: Valuation) -> tuple[float, int]:
    """Pairs whose order is known at 95%, NaN if errors are unknown, and all pairs."""
    greater = valuation.prob_greater
    pairs = len(greater) * (len(greater) - 1) // 2
    if np.isnan(greater).any():
        return float("nan"), pairs
    return float((greater > 0.95).sum()), pairs


def _confidence(valuation: Valuation) -> str:
    order, greater = valuation.order, valuation.prob_greater
    if valuation.drawn_once:
        return (
            f"this is one {valuation.drawn_once} of many, so the errors are unknown: "
            "give --seeds 3 or more"
        )
    if not valuation.error_source:
        return "nothing in this score is random, so there are no error bars"
    if not greater[order[0], order[-1]] > 0.95:
        return "but not even these two are significantly different at 95%"
    settled = int((greater[order[:-1], order[1:]] > 0.95).sum())
    return f"{settled} of {len(order) - 1} neighbouring places are settled at 95%"


def draw(figure: Any, valuation: Valuation) -> None:
    """Draw the values onto an empty matplotlib figure; it may change its size."""
    values, errors, order = valuation.values, valuation.stderr, valuation.order
    axes = figure.subplots()
    title = f"{valuation.name} value: {valuation.method}"
    if len(order) > _MOST_SHOWN:
        _draw_many(axes, values[order], np.nan_to_num(errors[order]))
        axes.set_title(_broken(title))
        axes.set_ylabel(valuation.unit)
        return
    figure.set_size_inches(8, 1.6 + 0.32 * len(order))
    ranges = _ranges(*rank_ranges(valuation.prob_greater))
    labels = [f"{valuation.owner_names[i][:28]}  (place {ranges[i]})" for i in order]
    bars(axes, labels, values[order], errors[order], title=_broken(title))
    source = valuation.error_source
    over = f"\n± one standard error over {source}" if source else ""
    axes.set_xlabel(valuation.unit + over)


def _broken(text: str) -> str:
    return text.replace("; ", "\n")


def _draw_many(axes, values, errors) -> None:
    places = np.arange(1, len(values) + 1)
    axes.fill_between(
        places, values - errors, values + errors, color=COLOURS[0], alpha=0.3, lw=0,
        label="± one standard error",
    )  # fmt: skip
    axes.plot(places, values, color=COLOURS[0], lw=1.2)
    axes.axhline(0, color="#222222", lw=0.8)
    axes.set_xlabel("place in the ranking")
    if errors.any():
        axes.legend()
