"""What `value` found, as tables, sentences and a picture."""

from typing import Any

import numpy as np
from jaxtyping import Float

from jaxval.datasets.tabular.table import Table as Data
from jaxval.evaluation import Agreement, spearman
from jaxval.evaluation.ranking import ranks
from jaxval.reporting import Column, Table, bar_chart
from jaxval.reporting.plots import COLOURS, bars
from jaxval.runner.contract import Result
from jaxval.valuation.result import Found, name_of, places

__all__ = ["report"]

_MOST_SHOWN = 24
"""Players that fit the terminal; of more, the best and the worst are shown."""

_ENDS = 8
"""Of how many at either end."""


def report(config: Any, data: Data, found: Found) -> Result:
    """Tables, sentences and a picture.

    Args:
      config: of `value`.
      data: a person's table.
      found: values of its owners.
    """
    order = np.argsort(-found.values.values, kind="stable")
    whole = _table(config, data, found, np.arange(len(order)))
    tables = {"values": whole}
    unprinted: list[str] = []
    shown = order
    if len(order) > _MOST_SHOWN:
        shown = np.concatenate([order[:_ENDS], order[-_ENDS:]])
        tables["best_and_worst"] = _table(config, data, found, shown)
        unprinted.append("values")
    agree = _agreement(found)
    tables["rivals"] = _rivals(found, agree)
    extra_tables = found.extras.get("tables", {})
    names = [data.owner_names[i] for i in shown]
    values, errors = (np.asarray(each)[shown] for each in found.values[:2])
    return Result(
        tables={**tables, **extra_tables},
        unprinted=(*unprinted, *found.extras.get("unprinted", ())),
        chart=bar_chart(names, values, errors, title=_title(config)),
        metrics=_metrics(data, found, agree),
        sentences=(
            *_sentences(data.owner_names, found, agree),
            *found.extras.get("sentences", ()),
        ),
        arrays={"draws": found.draws, **found.extras.get("arrays", {})},
        draw=lambda figure: _draw(figure, config, data, found),
    )


def _title(config) -> str:
    return "EcoVal value" if config.game == "ecoval" else f"{name_of(config)} value"


def _table(config, data: Data, found: Found, rows: np.ndarray) -> Table:
    values, errors, counts = (np.asarray(each)[rows] for each in found.values)
    best, worst = places(found.sure)
    rank = ranks(np.asarray(found.values.values))
    over = f", ± one standard error over {found.sampled}" if found.sampled else ""
    return Table(
        f"What each owner's rows are worth: {_title(config)}",
        (
            Column("owner", [data.owner_names[i] for i in rows]),
            Column("rows", data.dataset.sizes[rows]),
            Column(
                _column(config), values, errors, _title(config).removesuffix(" value")
            ),
            Column("rank", rank[rows]),
            Column("best_place", best[rows], shown=False),
            Column("worst_place", worst[rows], shown=False),
            Column("places", _ranges(best[rows], worst[rows])),
            Column("above_next", _above_next(found)[rows]),
            Column("sampling_stderr", found.sampling[rows], shown=False),
            Column("units", counts, shown=False),
            *(
                Column(name.replace(" ", "_"), rival[rows], shown=False)
                for name, rival in found.rivals.items()
            ),
        ),
        f"{found.how}. In units of {found.unit}{over}. places: between which the true "
        "rank lies, above next: how surely worth more than the next (each comparison "
        "by itself, 95%).",
    )


def _column(config) -> str:
    name = "ecoval" if config.game == "ecoval" else config.semivalue
    return name.replace("-", "_")


def _ranges(best, worst) -> list[str]:
    pairs = zip(best.tolist(), worst.tolist(), strict=True)
    return [str(a) if a == b else f"{a}-{b}" for a, b in pairs]


def _above_next(found: Found) -> Float[np.ndarray, " n"]:
    """How surely each player is worth more than the next; NaN of the last."""
    order = np.argsort(-found.values.values, kind="stable")
    above = np.full(len(order), np.nan)
    above[order[:-1]] = found.sure[order[:-1], order[1:]]
    return above


def _agreement(found: Found) -> dict[str, Agreement]:
    values = np.asarray(found.values.values)
    return {name: spearman(values, rival) for name, rival in found.rivals.items()}


def _rivals(found: Found, agree: dict[str, Agreement]) -> Table:
    value, low, high = np.array(list(agree.values())).T
    return Table(
        "Would something simpler have said the same?",
        (
            Column("score", list(agree)),
            Column("spearman", value),
            Column("low", low, heading="from"),
            Column("high", high, heading="to"),
        ),
        "Rank correlation of its values with those above; from, to: its 95% interval "
        f"for {len(found.values.values)} owners.",
    )


def _metrics(data: Data, found: Found, agree) -> dict[str, Any]:
    return {
        "task": data.task,
        "owners": len(data.owner_names),
        "training_rows": len(data.dataset.x),
        "validation_rows": len(data.x_valid),
        "features": len(data.feature_names),
        "target_range": data.target_range,
        "classes": data.class_names,
        "method": found.how,
        "num_evaluations": found.num_evaluations,
        "score_of_nobody": None if found.worth is None else found.worth[0],
        "score_of_everybody": None if found.worth is None else found.worth[1],
        "spearman_with": {name: each.value for name, each in agree.items()},
        "pairs_told_apart": _told_apart(found)[0],
        **found.extras.get("metrics", {}),
    }


_KNOWN = 0.5
"""Share of all pairs that must be told apart for a ranking to be compared."""

_ALIKE = 0.9
"""Rank correlation from which two rankings are as good as the same."""


def _sentences(
    names: tuple[str, ...], found: Found, agree: dict[str, Agreement]
) -> tuple[str, ...]:
    values = np.asarray(found.values.values)
    order = np.argsort(-values, kind="stable")
    best, worst = (names[order[i]] for i in (0, -1))
    if np.ptp(values) == 0:
        return ("All owners are worth the same under this score.",)
    first = f"{best} is worth most and {worst} least; {_trust(found, order)}."
    known = {name: r for name, r in agree.items() if name != "random" and r[0] == r[0]}
    if not known:
        return (first,)
    return first, _verdict(found, known)


def _verdict(found: Found, known: dict[str, Agreement]) -> str:
    """Whether a simpler score would have done, as far as that can be told."""
    nearest = max(known, key=lambda name: known[name].value)
    value, low, high = known[nearest]
    said = f"Of the simpler scores {nearest} ranks most like it (Spearman {value:.2f}"
    told, pairs = _told_apart(found)
    if not told >= _KNOWN * pairs:
        why = (
            "nothing is known of its errors"
            if found.drawn_once
            else f"{told:.0f} of {pairs} pairs of owners are told apart at 95%"
        )
        return (
            f"{said}), but this ranking is not known well enough to be compared: {why}."
        )
    said += f", 95% interval {low:.2f} to {high:.2f}): " if low == low else "): "
    owners = len(found.values.values)
    if value >= _ALIKE:
        same = "most of this ranking could be had from that alone"
        doubt = "" if low > 0.5 else f", as far as {owners} owners can tell"
        return f"{said}{same}{doubt}."
    if high < _ALIKE:
        return f"{said}the ranking says something that no simpler score says."
    return (
        f"{said}{owners} owners are too few to say whether the ranking says more than "
        "that."
    )


def _told_apart(found: Found) -> tuple[float, int]:
    """Pairs whose order is known at 95%, NaN if nothing is known, and all pairs."""
    pairs = len(found.sure) * (len(found.sure) - 1) // 2
    known = not np.isnan(found.sure).any()
    return float((found.sure > 0.95).sum()) if known else float("nan"), pairs


def _trust(found: Found, order) -> str:
    if found.drawn_once:
        return (
            f"this is one {found.drawn_once} of many, which says nothing about errors: "
            "give --seeds 3 or more"
        )
    if not found.sampled:
        return "nothing in this score is random, so there are no error bars"
    if not found.sure[order[0], order[-1]] > 0.95:
        return "but not even these two are told apart at 95%"
    settled = int((found.sure[order[:-1], order[1:]] > 0.95).sum())
    return f"{settled} of {len(order) - 1} neighbouring places are settled at 95%"


def _draw(figure, config, data: Data, found: Found) -> None:
    values, errors = (np.asarray(each) for each in found.values[:2])
    order = np.argsort(-values, kind="stable")
    axes = figure.subplots()
    title = f"{_title(config)}: {found.how}"
    if len(order) > _MOST_SHOWN:
        _draw_many(axes, values[order], np.nan_to_num(errors[order]))
        axes.set_title(_broken(title))
        axes.set_ylabel(found.unit)
        return
    figure.set_size_inches(8, 1.6 + 0.32 * len(order))
    best, worst = places(found.sure)
    ranges = _ranges(best, worst)
    labels = [f"{data.owner_names[i][:28]}  (place {ranges[i]})" for i in order]
    bars(axes, labels, values[order], errors[order], title=_broken(title))
    over = f"\n± one standard error over {found.sampled}" if found.sampled else ""
    axes.set_xlabel(found.unit + over)


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
