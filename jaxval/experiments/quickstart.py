"""Value ten contributors of handwritten digits with DAVINZ, without any training.

Each contributor brings the images of one digit of scikit-learn's data, and they bring
different numbers of them. The worth of each coalition (there are 1,023) is scored by a
network that was never trained, and Shapley, Banzhaf and leave-one-out values follow
exactly; standard errors are over initialisations of the network. At the end the same
network is trained without each contributor in turn, to see who foretold what is lost.
"""

import dataclasses
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Float

from jaxval import datasets, models
from jaxval.experiments.parts import truth as ground_truth
from jaxval.experiments.quickstart_report import Findings, Scores, report
from jaxval.games import at_initialisation as untrained
from jaxval.games.davinz import Davinz
from jaxval.runner.contract import SILENT, Context, Result
from jaxval.runner.machine import timed
from jaxval.semivalues import exact
from jaxval.types import Points


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
        """Numbers that nothing else would look at in time."""
        for name in ("seeds", "check_epochs"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"--{name.replace('_', '-')} must be at least 1; got "
                    f"{getattr(self, name)}."
                )


def run(config: Config, context: Context = SILENT) -> Result:
    """Score all coalitions under each initialisation, then check by retraining."""
    split = deal(config)
    module = network(config)
    seconds: dict[str, float] = {}
    scores, regression = [], []
    with timed(seconds, "discrepancy only"):
        sums = untrained.similarity(split.data, split.x_valid)
    with context.progress("initialisations") as update:
        for done, key in enumerate(keys_of(config), 1):
            with timed(seconds, "DAVINZ"):
                drawn = untrained.draw(key, module, split.data)
                game = untrained.davinz_game(drawn, sums, split.data, zeta=config.zeta)
                scores.append(_tabulate(game))
            if config.check_seeds:
                with timed(seconds, "kernel regression"):
                    regression.append(_leave_one_out(key, module, split, config))
            update(done, config.seeds)
    table = Scores(*map(np.stack, zip(*scores, strict=True)))
    truth = _retrain(config, split, module, context) if config.check_seeds else None
    kernel = np.mean(regression, axis=0) if config.check_seeds else None
    return report(config, Findings(split.data.sizes, table, kernel, truth, seconds))


def deal(config: Config) -> ground_truth.Dealt:
    """Contributor `i` gets `sizes[i]` images of digit `i`."""
    if not 2 <= len(config.sizes) <= 10 or min(config.sizes) < 1:
        raise ValueError(
            "--sizes must be 2 to 10 positive numbers, one for each digit; got "
            f"{config.sizes}."
        )
    split = datasets.digits(jax.random.key(config.seed), config.valid)
    mine = datasets.by_class(split.x_train, split.y_train, config.sizes)
    asked = split.y_valid < len(config.sizes)
    return ground_truth.Dealt(mine, split.x_valid[asked], split.y_valid[asked])


def keys_of(config: Config) -> jax.Array:
    """A random key for each initialisation."""
    return jax.random.split(jax.random.key(config.seed), config.seeds)


def network(config: Config) -> Any:
    """The network that looks at the digits."""
    classes = len(config.sizes)
    if config.network == "cnn":
        return models.cnn(classes, width=config.width)
    return models.mlp([max(1, round(128 * config.width))] * 2, classes)


def _tabulate(game: Davinz) -> tuple[Any, ...]:
    complexity, discrepancy = map(exact.table, (game.complexity, game.discrepancy))
    # The game is that combination of its parts; its own table would cost as much again.
    score = -game.kappa * complexity - discrepancy
    return score, complexity, discrepancy, np.float64(game.kappa)


def _leave_one_out(key, module, split, config) -> Float[np.ndarray, " players"]:
    game = untrained.kernel_regression_game(
        key,
        module,
        split.data,
        Points(split.x_valid, split.y_valid),
        penalty=config.zeta,
    )
    return np.asarray(exact.leave_one_out(game).values)


def _retrain(config, split, module, context) -> Float[np.ndarray, "seeds players"]:
    with context.progress("retraining") as update:
        return ground_truth.retrained_leave_one_out(
            ground_truth.key_of(config.seed),
            split,
            module,
            seeds=config.check_seeds,
            recipe=ground_truth.recipe_of("adam", config.check_epochs),
            progress=update,
        )
