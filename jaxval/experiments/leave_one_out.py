"""Table 1 of DAVINZ, reduced: who foretells what is lost without a contributor?

Ten contributors bring the images of one class each. The ground truth is the accuracy
lost when a network is trained without a contributor, averaged over training seeds, and
beside every correlation with it stands its own reliability: the correlation of the
means over two halves of the seeds. Where that is low, no method can be judged.
"""

import dataclasses
import functools
import itertools
import pathlib

import jax
import numpy as np

from jaxval import datasets, models
from jaxval.evaluation import pearson, spearman, split_half_reliability
from jaxval.evaluation.replicates import over_seeds
from jaxval.experiments.parts import methods
from jaxval.experiments.parts.truth import (
    Dealt,
    RecipeName,
    key_of,
    recipe_of,
    retrained_leave_one_out,
)
from jaxval.reporting import Column, Table, bar_chart
from jaxval.runner.cache import cached, data_folder
from jaxval.runner.contract import SILENT, Context, Result, require

SEED, HALVES = "one retraining seed", "ground truth, half to half"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Which images, how many, and how often."""

    data: str = "digits"
    """`digits` (comes with scikit-learn), or an archive of the data folder: `mnist`,
    `cifar10`."""
    data_dir: pathlib.Path | None = None
    """Folder with the archives; the environment's JAXVAL_DATA when left out."""
    sizes: tuple[int, ...] = ()
    """Images of each class; 80 to 100 of digits and 100 to 125 of others when left
    out."""
    valid: int = 0
    """Test images; 500 of digits and 3000 of others when left out."""
    width: float = 1.0
    """Factor on the channels of the paper's small convolutional network."""
    seeds: int = 4
    """Trainings of each coalition."""
    recipe: RecipeName = "adam"
    """`adam`: 1e-3, batches of 32. `paper`: plain SGD until the loss settles, which
    takes many times as long (give it --epochs 1000)."""
    epochs: int = 20
    """Of each training, at most."""
    inits: int = 3
    """Initialisations that the methods without training are averaged over."""
    seed: int = 0
    """Deals the images and draws the networks."""

    def __post_init__(self):
        """Validates the settings eagerly."""
        require(self, seeds=2, inits=1, epochs=1)


def run(config: Config, context: Context = SILENT) -> Result:
    """Retrain without each contributor, and ask everybody else beforehand."""
    split = deal(config)
    folder = data_folder(context.scratch, *split.data, *split[1:])
    context = dataclasses.replace(context, scratch=folder)
    values, seconds = _without_training(config, split, context)
    draws, seconds[SEED] = _retrained(config, split, context)
    return _report(config, split, values, draws, seconds)


def _without_training(config, split, context):
    """Values of each method, one initialisation a row, and seconds for one of them."""
    rows: dict[str, list[np.ndarray]] = {}
    spent: dict[str, list[float]] = {}
    keys = jax.random.split(jax.random.key(config.seed), config.inits)
    total = len(methods.METHODS) * config.inits
    with context.progress("without training the coalitions") as update:
        for done, (name, i) in enumerate(
            itertools.product(methods.METHODS, range(config.inits))
        ):
            update(done, total, name)
            method = functools.partial(methods.METHODS[name], keys[i], split, config)
            found, seconds = cached(context.scratch, f"{name}-{i}", method)
            for label, each in found.items():
                rows.setdefault(label, []).append(each)
                spent.setdefault(label, []).append(seconds)
        update(total, total)
    stacked = {label: np.stack(each) for label, each in rows.items()}
    return stacked, {label: float(np.mean(each)) for label, each in spent.items()}


def _retrained(config, split, context):
    """Leave-one-out values, one training seed a row, and seconds for one of them."""
    module = models.cnn(width=config.width)
    recipe, runs = recipe_of(config.recipe, config.epochs), split.data.num_owners + 1
    draws, spent = [], []
    with context.progress("retraining") as update:
        for seed in range(config.seeds):
            key = jax.random.fold_in(key_of(config.seed), seed)

            def draw(key=key, before=seed * runs):
                report = lambda done, _: update(before + done, config.seeds * runs)
                values = retrained_leave_one_out(
                    key, split, module, recipe=recipe, seeds=1, progress=report
                )
                return values[0]

            values, seconds = cached(context.scratch, f"retrained-{seed}", draw)
            draws.append(values)
            spent.append(seconds)
    return np.stack(draws), float(np.mean(spent))


def deal(config: Config) -> Dealt:
    """Contributor `i` gets the first so many images of class `i`."""
    if config.data == "digits":
        sizes = config.sizes or (80,) * 5 + (84, 88, 92, 96, 100)
        split = datasets.digits(jax.random.key(config.seed), config.valid or 500)
    else:
        sizes = config.sizes or (100,) * 5 + (105, 110, 115, 120, 125)
        split = datasets.load(
            config.data, config.data_dir, num_valid=config.valid or 3000
        )
    mine = datasets.by_class(split.x_train, split.y_train, sizes)
    known = split.y_valid < len(sizes)
    return Dealt(mine, split.x_valid[known], split.y_valid[known])


def agreements(draws, values):
    """Pearson's and Spearman's correlation of each row with the mean of the draws.

    Args:
      draws: leave-one-out values by retraining, one seed a row.
      values: of a method, one initialisation a row.
    """
    truth = draws.mean(0)
    return np.array(
        [[pearson(truth, v).value, spearman(truth, v).value] for v in values]
    )


def one_against_the_others(draws):
    """The same of each retraining seed with the mean of the other seeds."""
    others = [np.delete(draws, i, axis=0).mean(0) for i in range(len(draws))]
    pairs = list(zip(draws, others, strict=True))
    return np.array([[pearson(a, b).value, spearman(a, b).value] for a, b in pairs])


def _report(config, split, values, draws, seconds) -> Result:
    rows = {name: agreements(draws, each) for name, each in values.items()}
    rows[SEED] = one_against_the_others(draws)
    key = jax.random.key(0)
    trust = [split_half_reliability(key, draws, ranks=r) for r in (False, True)]
    rows[HALVES] = np.array([[each.half for each in trust]])
    table = Table(
        f"Leave-one-out on {config.data}: agreement with {config.seeds} retrainings",
        (
            Column("method", list(rows)),
            Column("pearson", *_over_draws(rows, 0)),
            Column("truth_pearson", [trust[0].half] * len(rows), heading="truth"),
            Column("spearman", *_over_draws(rows, 1)),
            Column("truth_spearman", [trust[1].half] * len(rows), heading="truth"),
            Column("seconds", [seconds.get(n, np.nan) for n in rows], digits=3),
        ),
        f"± one standard error over {config.inits} initialisations (or retraining "
        "seeds, each against the mean of the others). truth: how far the truth agrees "
        "with itself, half of its seeds to the other half. Complexity and DAVINZ share "
        "a Gram matrix, counted for both. seconds: for one initialisation or seed, "
        "compilation included.",
    )
    names = [f"class {i}" for i in range(draws.shape[1])]
    mean, stderr, _ = over_seeds(draws.T)
    return Result(
        tables={"agreement": table, "values": _values(names, split, values, draws)},
        chart=bar_chart(names, mean, stderr, title="accuracy lost without"),
        metrics={
            "agreement": _columns(table),
            "reliability": [each._asdict() for each in trust],
            "seconds": seconds,
        },
        sentences=(
            _judgement(config, trust[0].half, trust[0].whole),
            f"Between {draws.shape[1]} contributors chance alone correlates at 0 ± "
            f"{1 / np.sqrt(draws.shape[1] - 1):.2f}.",
        ),
        arrays={"retrained": draws}
        | {name.replace(" ", "_"): each for name, each in values.items()},
    )


def _values(names, split, values, draws):
    columns = [
        Column("contributor", names),
        Column("size", split.data.sizes),
        Column("retrained", *over_seeds(draws.T)[:2]),
    ]
    columns += [Column(n, v.mean(0), shown=False) for n, v in values.items()]
    return Table(
        "Leave-one-out values",
        tuple(columns),
        f"Accuracy lost; standard errors over {len(draws)} training seeds.",
    )


def _judgement(config, half, whole):
    if not half > 0:
        how = f"correlate at {half:.2f}" if half == half else "are not comparable"
        return (
            f"The halves of the {config.seeds} retraining seeds {how}: this ground "
            "truth is noise, and no method can be judged by it. Raise --seeds, "
            "--epochs or --sizes."
        )
    return (
        f"The halves of the {config.seeds} retraining seeds correlate at {half:.2f}; "
        f"by Spearman and Brown's formula the mean of all of them has reliability "
        f"{whole:.2f}, so that no method can be expected to pass {np.sqrt(whole):.2f}."
    )


def _columns(table) -> dict[str, list]:
    found = {column.name: list(column.values) for column in table.columns}
    errors = {
        f"{column.name}_stderr": list(column.stderr)
        for column in table.columns
        if column.stderr is not None
    }
    return found | errors


def _over_draws(rows, which):
    """Mean correlation of each method, and its standard error over the draws."""
    found = [over_seeds(each[None, :, which]) for each in rows.values()]
    return [f.scores[0] for f in found], [f.stderr[0] for f in found]
