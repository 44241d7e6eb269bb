"""What `value` found, as tables, sentences and a picture."""

from typing import Any

import numpy as np
from jaxtyping import Float

from jaxval.datasets.tables import Table as Data
from jaxval.evaluation import spearman
from jaxval.experiments.contract import Result
from jaxval.experiments.ranking import ranks
from jaxval.experiments.value_estimate import Found, name_of, places
from jaxval.reporting import Column, Table, bar_chart
from jaxval.reporting.plots import COLOURS, bars

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
        unprinted=(*unprinted, *extra_tables),
        chart=bar_chart(names, values, errors, title=_title(config)),
        metrics=_metrics(data, found, agree),
        sentences=(*_sentences(data, found, agree), *found.extras.get("sentences", ())),
        arrays={"draws": found.draws},
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


def _agreement(found: Found) -> dict[str, float]:
    values = np.asarray(found.values.values)
    return {name: spearman(values, rival).value for name, rival in found.rivals.items()}


def _rivals(found: Found, agree: dict[str, float]) -> Table:
    names = list(agree)
    return Table(
        "Would something simpler have said the same?",
        (
            Column("score", names),
            Column("spearman", [agree[name] for name in names]),
        ),
        "Rank correlation of its values with those above.",
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
        "utility_calls": found.utility_calls,
        "score_of_nobody": None if found.worth is None else found.worth[0],
        "score_of_everybody": None if found.worth is None else found.worth[1],
        "spearman_with": agree,
        **found.extras.get("metrics", {}),
    }


def _sentences(data: Data, found: Found, agree) -> tuple[str, ...]:
    values = np.asarray(found.values.values)
    order = np.argsort(-values, kind="stable")
    best, worst = (data.owner_names[order[i]] for i in (0, -1))
    if np.ptp(values) == 0:
        return ("All owners are worth the same under this score.",)
    first = f"{best} is worth most and {worst} least; {_trust(found, order)}."
    known = {name: r for name, r in agree.items() if name != "random" and r == r}
    if not known:
        return (first,)
    nearest = max(known, key=lambda name: known[name])
    verdict = (
        "most of this ranking could be had from that alone"
        if known[nearest] >= 0.9
        else "the ranking says something that no simpler score says"
    )
    second = (
        f"Of the simpler scores {nearest} ranks most like it (Spearman "
        f"{known[nearest]:.2f}): {verdict}."
    )
    return first, second


def _trust(found: Found, order) -> str:
    if found.drawn_once:
        return (
            f"this is one {found.drawn_once} of many, which says nothing about errors: "
            "give --seeds 3 or more"
        )
    if not found.sampled:
        return "nothing in this score is random, so there are no error bars"
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
