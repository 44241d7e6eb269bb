"""Value ten contributors of handwritten digits with DAVINZ, without any training.

Each contributor brings the images of one digit of scikit-learn's data, and they bring
different numbers of them. Each coalition (there are 1,023) is scored by a network that
was never trained, and Shapley, Banzhaf and leave-one-out values follow exactly;
standard errors are over initialisations of the network. At the end the same network is
trained without each contributor in turn, to see how well that was predicted.
"""

import dataclasses
from typing import Any, Literal

import jax
import numpy as np

from jaxval import models
from jaxval.evaluation import mean_and_stderr
from jaxval.experiments.parts import correlation, deals, tabulated, truth
from jaxval.reporting import bar_chart
from jaxval.reporting.plots import grouped_bars
from jaxval.runner.contract import SILENT, Context, Result, require
from jaxval.semivalues import weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Which digits, which network, how often."""

    sizes: tuple[int, ...] = (70, 90, 50, 100, 60, 80, 120, 30, 110, 40)
    """Images that the contributors of digit 0, 1, 2, ... bring."""
    valid: int = 500
    """Validation images, of all digits."""
    network: Literal["mlp", "cnn"] = "mlp"
    """Two hidden layers of 128 units, or the paper's small convolutional network."""
    width: float = 1.0
    """Factor on the network's hidden units."""
    seeds: int = 5
    """Initialisations to average over."""
    zeta: float = 1e-3
    """Regulariser, relative to the mean diagonal of the kernel."""
    check_seeds: int = 10
    """Trainings of each coalition for the check at the end; 0 leaves it out."""
    check_epochs: int = 30
    """Epochs of each."""
    seed: int = 0
    """Deals the images and draws the networks."""

    def __post_init__(self):
        """Validates the settings eagerly."""
        require(self, seeds=1, check_epochs=1)
        if not 2 <= len(self.sizes) <= 10 or min(self.sizes) < 1:
            raise ValueError(
                "--sizes must be 2 to 10 positive numbers, one for each digit; got "
                f"{self.sizes}."
            )


_SEMIVALUES = {
    "shapley": weights.shapley,
    "banzhaf": weights.banzhaf,
    "leave_one_out": weights.leave_one_out,
}
_TITLE = "What each contributor's images are worth to an untrained network (DAVINZ)"


def run(config: Config, context: Context = SILENT) -> Result:
    """Score all coalitions under each initialisation, then check by retraining."""
    key = jax.random.key(config.seed)
    deal_key, init_key, regression_key, truth_key = jax.random.split(key, 4)
    deal = deals.one_class_each(deal_key, "digits", config.sizes, config.valid)
    module = network(config.network, config.width, len(config.sizes))
    keys, seconds = list(jax.random.split(init_key, config.seeds)), {}
    with context.progress("initialisations") as update:
        scores = tabulated.tabulate(
            keys, module, deal, zeta=config.zeta, seconds=seconds, progress=update
        )
    sizes, names = deal.data.sizes, [f"digit {i}" for i in range(len(config.sizes))]
    draws = {n: tabulated.semivalues(scores.davinz, w) for n, w in _SEMIVALUES.items()}
    values = {name: mean_and_stderr(rows) for name, rows in draws.items()}
    others = tabulated.baselines(scores, sizes, weights.shapley)
    chance = np.random.default_rng(config.seed).normal(size=len(sizes))
    shown = {**others, "random": chance}
    tables = {
        "values": tabulated.values_table(_TITLE, names, sizes, draws, shown),
        "baselines": tabulated.baselines_table(names, values["shapley"][0], shown),
        "scores": tabulated.scores_table(scores),
    }
    said = [tabulated.ranking_sentence(names, sizes, draws["shapley"], others)]
    arrays, metrics = scores._asdict(), {"kappa": scores.kappa, "seconds": seconds}
    if config.check_seeds:
        with context.progress("kernel regression") as update:
            regression = tabulated.kernel_regression(
                list(jax.random.split(regression_key, config.seeds)), module, deal,
                penalty=config.zeta, seconds=seconds, progress=update,
            )  # fmt: skip
        with context.progress("retraining") as update:
            retrained = truth.leave_one_out(
                truth_key,
                deal,
                module,
                seeds=config.check_seeds,
                recipe=truth.recipe("adam", config.check_epochs),
                progress=update,
            )
        simple = tabulated.baselines(scores, sizes, weights.leave_one_out)
        methods = {
            "DAVINZ": values["leave_one_out"][0],
            "kernel regression": regression,
        }
        check = correlation.single_agreement_table(retrained, methods | simple, seconds)
        tables["check"], arrays["retrained_leave_one_out"] = check, retrained
        said.append(correlation.advice(check, tuple(simple)))
        metrics["check"] = correlation.by_column(check)
    return Result(
        tables=tables,
        unprinted=("scores",),
        chart=bar_chart(names, *values["shapley"], title="Shapley value"),
        metrics=metrics,
        sentences=tuple(said),
        arrays=arrays,
        draw=lambda figure: _draw(figure, names, values, tables.get("check")),
    )


def network(kind: str, width: float, classes: int) -> Any:
    """The network that looks at the digits."""
    if kind == "cnn":
        return models.cnn(classes, width=width)
    return models.mlp([max(1, round(128 * width))] * 2, classes)


def _draw(figure, names, values, check) -> None:
    figure.set_size_inches(9.5, 5)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    grouped_bars(left, names, values, title="Values under DAVINZ, ± 1 standard error")
    left.set_xlabel("DAVINZ score")
    if check is None:
        right.remove()
    else:
        correlation.draw_agreement(right, check)
