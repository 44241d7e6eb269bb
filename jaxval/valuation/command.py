"""Value the contributors of your own CSV, Parquet or npz file.

    python -m jaxval.experiments value data.csv --target y --owner who

Every row's owner is a player; without --owner every row is one. Names of columns that
are words become categories. The values come with standard errors, ranks with how sure
they are, and beside them what simpler scores would have said. Killed or interrupted,
the same command goes on where it was.
"""

import dataclasses
import pathlib
from typing import Annotated, Literal

import jax
import tyro

from jaxval.datasets.tabular import table as tables
from jaxval.runner.contract import SILENT, Context, Result
from jaxval.valuation import ecoval as value_ecoval
from jaxval.valuation import estimate as value_estimate
from jaxval.valuation import games as value_games
from jaxval.valuation import report as value_report
from jaxval.valuation.memory_check import limit_of

GAMES = Literal[
    "davinz",
    "kernel-regression",
    "knn",
    "logistic",
    "ridge",
    "retraining",
    "ecoval",
    "discrepancy",
    "complexity",
    "size",
]
MODELS = Literal[
    "mlp", "mlp10", "cnn", "cnn8", "vgg11", "vgg13", "vgg16",
    "resnet18", "resnet21", "resnet34",
]  # fmt: skip
SEMIVALUES = Literal["shapley", "banzhaf", "weighted-banzhaf", "beta", "leave-one-out"]
ESTIMATORS = Literal[
    "auto",
    "exact",
    "permutation",
    "antithetic",
    "quasi-random",
    "stratified",
    "truncated",
    "msr",
    "least-squares",
    "adjusted",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Whose data, worth what to whom, and how sure."""

    data: Annotated[pathlib.Path, tyro.conf.Positional]
    """CSV, Parquet or npz file; npz files hold x, y and owner."""
    target: str | None = None
    """The column to predict."""
    owner: str | None = None
    """The column that says who contributed a row; every row is a player without."""
    valid: str | None = None
    """Rows to validate with: a file, or a fraction of the rows (0.2)."""
    unseen: pathlib.Path | None = None
    """A file of points that come later, to be valued too (with --game ecoval)."""
    task: Literal["auto", "classification", "regression"] = "auto"
    """What the target is; words, and whole numbers of few values, are classes."""
    drop: tuple[str, ...] = ()
    """Columns to leave out."""
    categorical: tuple[str, ...] = ()
    """Columns whose numbers are names."""

    game: GAMES = "davinz"
    """What a coalition's rows are worth; davinz and kernel-regression train nothing."""
    model: MODELS = "mlp"
    """The network, for davinz, kernel-regression, complexity and retraining."""
    width: float = 1.0
    """Factor on its hidden units."""
    zeta: float = 1e-3
    """Regulariser of the kernel, relative to its mean diagonal."""
    block: int | None = None
    """Keep the kernel inside blocks of so many rows of one owner (davinz)."""
    neighbours: int = 5
    """Neighbours that vote, for knn."""
    epochs: int = 50
    """Epochs of each training, for retraining."""
    seeds: int = 3
    """Initialisations (or trainings, or fits of ecoval) to average over."""
    resamples: int = 20
    """Bootstrap resamples of the rows behind the error bars of ecoval."""

    semivalue: SEMIVALUES = "shapley"
    """How a player's contributions to coalitions are weighed."""
    probability: float = 0.5
    """Of joining, for weighted-banzhaf."""
    alpha: float = 4.0
    """First parameter of beta; large ones favour small coalitions."""
    beta: float = 1.0
    """Second parameter of beta."""
    estimator: ESTIMATORS = "auto"
    """How coalitions are chosen; auto takes all of them where they are few."""
    stderr: float | None = None
    """Stop sampling when all standard errors are below this."""
    budget: int | None = None
    """Stop sampling after so many scores of coalitions (for each seed)."""
    seconds: float | None = None
    """Stop sampling after so many seconds (for each seed)."""

    memory: float | None = None
    """GiB to stay below; what the machine has free when left out."""
    seed: int = 0
    """Draws validation rows, networks and coalitions."""

    def __post_init__(self):
        """Numbers that nothing else would look at in time."""
        for name, least in _LEAST.items():
            number = getattr(self, name)
            if number is not None and number < least:
                raise ValueError(f"--{name} must be at least {least}; got {number}.")
        for name in ("width", "stderr", "seconds"):
            number = getattr(self, name)
            if number is not None and not number > 0:
                raise ValueError(f"--{name} must be positive; got {number}.")


def run(config: Config, context: Context = SILENT) -> Result:
    """Read, build the game once a seed, estimate, compare, report."""
    _check_options(config)
    data_key, game_key, draw_key = jax.random.split(jax.random.key(config.seed), 3)
    table = tables.read_table(
        data_key,
        config.data,
        config.target,
        owner=config.owner,
        valid=config.valid,
        task=None if config.task == "auto" else config.task,
        categorical=config.categorical,
        drop=config.drop,
    )
    for warning in table.warnings:
        context.note(f"note: {warning}")
    if config.game == "ecoval":
        limit = limit_of(config.memory)
        found = value_ecoval.play(game_key, config, table, limit, context)
        return value_report.report(config, table, found)
    maker = value_games.maker(game_key, config, table, limit_of(config.memory))
    found = value_estimate.estimate(draw_key, config, table, maker, context)
    return value_report.report(config, table, found)


_LEAST = {
    "seeds": 1, "resamples": 2, "epochs": 1, "neighbours": 1, "block": 1, "budget": 1,
}  # fmt: skip

_NETWORKS = ("davinz", "complexity", "kernel-regression", "retraining")
_KERNELS = ("davinz", "complexity", "kernel-regression")

_GAMES_OF: dict[str, tuple[str, ...]] = {
    "model": _NETWORKS,
    "width": _NETWORKS,
    "zeta": _KERNELS,
    "block": ("davinz", "complexity"),
    "neighbours": ("knn",),
    "epochs": ("retraining",),
    "unseen": ("ecoval",),
    "resamples": ("ecoval",),
}
"""Options that only some games listen to."""

_SEMIVALUE_OF = {"probability": "weighted-banzhaf", "alpha": "beta", "beta": "beta"}
"""Options that only one semi-value listens to."""

_SAMPLING = ("semivalue", "estimator", "stderr", "budget", "seconds")
"""Options of a sampled semi-value, which ecoval is not."""


def _check_options(config: Config) -> None:
    """Options that go together, or don't: none is given and ignored."""
    given = {
        field.name
        for field in dataclasses.fields(config)
        if getattr(config, field.name) != field.default
    }
    for name, games in _GAMES_OF.items():
        if name in given and config.game not in games:
            raise ValueError(
                f"--{name} does nothing with --game {config.game}: it needs --game "
                f"{' or '.join(games)}. Leave it out."
            )
    for name, semivalue in _SEMIVALUE_OF.items():
        if name in given and config.semivalue != semivalue:
            raise ValueError(
                f"--{name} does nothing with --semivalue {config.semivalue}: it needs "
                f"--semivalue {semivalue}. Leave it out."
            )
    for name in _SAMPLING:
        if name in given and config.game == "ecoval":
            raise ValueError(
                "--game ecoval is a method of its own and samples no semi-value: leave "
                f"--{name} out. (Its error bars come from --resamples.)"
            )
    shapley_only = ("truncated", "least-squares")
    if config.estimator in shapley_only and config.semivalue not in (
        ("shapley",) if config.estimator == "truncated" else ("shapley", "banzhaf")
    ):
        raise ValueError(
            f"--estimator {config.estimator} can't estimate {config.semivalue}; take "
            "antithetic, permutation or msr."
        )
