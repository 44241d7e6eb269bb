"""Table 1 of DAVINZ, reduced: how well is a contributor's loss predicted?

Ten contributors bring the images of one class each. The ground truth is the accuracy
lost when a network is trained without a contributor, averaged over training seeds, and
beside every correlation with it stands its own reliability: the correlation of the
means over two halves of the seeds. Where that is low, no method can be judged.
"""

import dataclasses
import pathlib
from collections.abc import Mapping

import jax
import numpy as np
from jaxtyping import Float

from jaxval.evaluation import mean_and_stderr
from jaxval.experiments.parts import correlation, deals, methods, truth
from jaxval.reporting import Column, Table, bar_chart
from jaxval.runner.cache import data_folder
from jaxval.runner.contract import SILENT, Context, Result, require


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
    recipe: truth.RecipeName = "adam"
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


_SIZES = {
    "digits": ((80,) * 5 + (84, 88, 92, 96, 100), 500),
    "archive": ((100,) * 5 + (105, 110, 115, 120, 125), 3000),
}
"""Images of each class, and test images."""


def run(config: Config, context: Context = SILENT) -> Result:
    """Retrain without each contributor, and predict it by every method beforehand."""
    deal_key, truth_key, method_key = jax.random.split(jax.random.key(config.seed), 3)
    sizes, num_valid = _SIZES["digits" if config.data == "digits" else "archive"]
    deal = deals.one_class_each(
        deal_key,
        config.data,
        config.sizes or sizes,
        config.valid or num_valid,
        config.data_dir,
    )
    folder = data_folder(context.scratch, *deal.data, *deal.valid)
    context = dataclasses.replace(context, scratch=folder)
    recipe = truth.recipe(config.recipe, config.epochs)
    setup = methods.Setup(width=config.width, recipe=recipe)
    init_keys = list(jax.random.split(method_key, config.inits))
    values, seconds = methods.run(init_keys, deal, methods.METHODS, setup, context)
    seed_keys = [jax.random.fold_in(truth_key, i) for i in range(config.seeds)]
    draws, seconds[correlation.ONE_SEED] = truth.leave_one_out_by_seed(
        seed_keys, deal, setup.module(), recipe, context
    )
    title = f"Leave-one-out on {config.data}: agreement with {config.seeds} retrainings"
    agreement = correlation.agreement_table(title, draws, values, seconds)
    trust = correlation.reliabilities(draws)
    names = [f"class {i}" for i in range(draws.shape[1])]
    remedy = "Raise --seeds, --epochs or --sizes."
    return Result(
        tables={
            "agreement": agreement,
            "values": _values(names, deal.data.sizes, values, draws),
        },
        chart=bar_chart(names, *mean_and_stderr(draws), title="accuracy lost without"),
        metrics={
            "agreement": correlation.by_column(agreement),
            "reliability": [each._asdict() for each in trust],
            "seconds": seconds,
        },
        sentences=(
            correlation.reliability_sentence(trust[0], config.seeds, remedy),
            correlation.chance_sentence(draws.shape[1]),
        ),
        arrays={"retrained": draws}
        | {name.replace(" ", "_"): each for name, each in values.items()},
    )


def _values(
    names: list[str],
    sizes: np.ndarray,
    values: Mapping[str, Float[np.ndarray, "inits players"]],
    draws: Float[np.ndarray, "seeds players"],
) -> Table:
    columns = [
        Column("contributor", names),
        Column("size", sizes),
        Column("retrained", *mean_and_stderr(draws)),
    ]
    columns += [Column(n, v.mean(0), shown=False) for n, v in values.items()]
    return Table(
        "Leave-one-out values",
        tuple(columns),
        f"Accuracy lost; standard errors over {len(draws)} training seeds.",
    )
