"""The settings of a valuation: keyword arguments in Python, options of the command."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, Literal

from jaxval._checks import check
from jaxval.valuation.estimators import ESTIMATORS
from jaxval.valuation.games import GAMES
from jaxval.valuation.semivalues import SEMIVALUES

__all__ = ["Settings", "game_options", "semivalue_parameters"]

ModelName = Literal[
    "mlp", "mlp10", "cnn", "cnn8", "vgg11", "vgg13", "vgg16",
    "resnet18", "resnet21", "resnet34",
]  # fmt: skip
TaskName = Literal["auto", "classification", "regression"]
# The registries say which names there are: a new row is a new choice.
GameName: Any = Literal[tuple(GAMES)]  # pyrefly: ignore
SemivalueName: Any = Literal[tuple(SEMIVALUES)]  # pyrefly: ignore
EstimatorName: Any = Literal[("auto", "exact", *ESTIMATORS)]  # pyrefly: ignore


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What to value by which game, and how precisely."""

    target: str | None = None
    """The column to predict."""
    owner: str | None = None
    """The column that says who contributed a row; every row is a player without."""
    valid: Any = None
    """Rows to validate with: a table, or a fraction of the rows (0.2)."""
    unseen: Any = None
    """A table of unseen points, to be valued too (with --game ecoval)."""
    task: TaskName = "auto"
    """What the target is; words, and whole numbers of few values, are classes."""
    drop: tuple[str, ...] = ()
    """Columns to leave out."""
    categorical: tuple[str, ...] = ()
    """Columns whose numbers are names."""

    game: GameName = "davinz"
    """How a coalition is scored; davinz and kernel-regression train nothing."""
    model: ModelName = "mlp"
    """The network, for davinz, kernel-regression, complexity and retraining."""
    width: float = 1.0
    """Factor on its hidden units."""
    zeta: float = 1e-3
    """Regulariser of the kernel, relative to its mean diagonal."""
    block: int | None = None
    """Keep the kernel inside blocks of this many rows of one owner (davinz)."""
    neighbours: int = 5
    """Neighbours that vote, for knn."""
    epochs: int = 50
    """Epochs of each training, for retraining."""
    seeds: int = 3
    """Initialisations (or trainings, or fits of ecoval) to average over."""
    resamples: int = 20
    """Bootstrap resamples of the rows behind the error bars of ecoval."""

    semivalue: SemivalueName = "shapley"
    """How a player's contributions to coalitions are weighed."""
    probability: float = 0.5
    """Probability of joining, for weighted-banzhaf."""
    alpha: float = 4.0
    """First parameter of beta; large ones favour small coalitions."""
    beta: float = 1.0
    """Second parameter of beta."""
    estimator: EstimatorName = "auto"
    """How coalitions are chosen; auto takes all of them where they are few."""
    stderr: float | None = None
    """Stop sampling when all standard errors are below this."""
    budget: int | None = None
    """Stop sampling after this many utility evaluations (for each seed)."""
    seconds: float | None = None
    """Stop sampling after this many seconds (for each seed)."""

    memory: float | None = None
    """GiB to stay below; what the machine has free when left out."""
    seed: int = 0
    """Seed of the validation rows, networks and coalitions."""

    def __post_init__(self):
        """Validates the settings eagerly."""
        check_choices({name: getattr(self, name) for name in _CHOICES})
        for name, least in _LEAST.items():
            number = getattr(self, name)
            check(
                number is None or number >= least,
                f"--{name} must be at least {least}; got {number}.",
            )
        for name in ("width", "zeta", "stderr", "seconds", "memory"):
            number = getattr(self, name)
            check(
                number is None or number > 0,
                f"--{name} must be positive; got {number}.",
            )

    def check_together(self) -> None:
        """Check that every option that was given does something.

        Raises:
          ValueError: If one would be ignored, or two don't go together.
        """
        given = {
            field.name
            for field in dataclasses.fields(self)
            if not _is_default(getattr(self, field.name), field.default)
        }
        for name in sorted(given & _GAMES_WITH.keys(), key=list(_GAMES_WITH).index):
            check(
                self.game in _GAMES_WITH[name],
                f"--{name} does nothing with --game {self.game}: it needs --game "
                f"{' or '.join(_GAMES_WITH[name])}. Leave it out.",
            )
        for semivalue, row in SEMIVALUES.items():
            for name in row.parameters:
                check(
                    name not in given or self.semivalue == semivalue,
                    f"--{name} does nothing with --semivalue {self.semivalue}: it "
                    f"needs --semivalue {semivalue}. Leave it out.",
                )
        for name in _SAMPLING:
            check(
                name not in given or self.game != "ecoval",
                "--game ecoval is a method of its own and samples no semi-value: leave "
                f"--{name} out. (Its error bars come from --resamples.)",
            )
        self._check_estimator()

    def _check_estimator(self) -> None:
        check(
            self.semivalue != "leave-one-out" or self.estimator in ("auto", "exact"),
            "--semivalue leave-one-out needs no estimator: it scores the absence of "
            "every player. Leave --estimator out.",
        )
        row = ESTIMATORS.get(self.estimator)
        check(
            row is None or row.semivalues is None or self.semivalue in row.semivalues,
            f"--estimator {self.estimator} can't estimate {self.semivalue}; take "
            "antithetic, permutation or msr.",
        )


def check_choices(chosen: Mapping[str, Any]) -> None:
    """Check the settings that must be one of several names.

    Raises:
      ValueError: If one is another; the message lists the names.
    """
    for name in chosen.keys() & _CHOICES.keys():
        check(
            chosen[name] in _CHOICES[name],
            f"--{name} must be one of {', '.join(_CHOICES[name])}; got "
            f"{chosen[name]!r}.",
        )


def game_options(settings: Settings) -> dict[str, Any]:
    """The settings that the chosen game reads."""
    return {name: getattr(settings, name) for name in GAMES[settings.game].options}


def semivalue_parameters(settings: Settings) -> dict[str, Any]:
    """The settings that the chosen semi-value reads."""
    names = SEMIVALUES[settings.semivalue].parameters
    return {name: getattr(settings, name) for name in names}


def _is_default(value: Any, default: Any) -> bool:
    # Tables and arrays are compared by identity: == would be a table of truth values.
    simple = (str, int, float, tuple, list, type(None))
    if not isinstance(value, simple) or hasattr(value, "_fields"):
        return False
    return value == default


_HINTS: Mapping[str, Any] = {
    "game": GameName,
    "model": ModelName,
    "semivalue": SemivalueName,
    "estimator": EstimatorName,
    "task": TaskName,
}
_CHOICES = {name: typing.get_args(choices) for name, choices in _HINTS.items()}

_LEAST = {
    "seeds": 1, "resamples": 2, "epochs": 1, "neighbours": 1, "block": 1, "budget": 1,
}  # fmt: skip

_GAMES_WITH: dict[str, tuple[str, ...]] = {
    option: tuple(name for name, row in GAMES.items() if option in row.options)
    for option in dict.fromkeys(each for row in GAMES.values() for each in row.options)
    if option != "seeds"  # it also holds, as one, for games in which nothing is random
}
"""Options that only some games read, and those games."""

_SAMPLING = ("semivalue", "estimator", "stderr", "budget", "seconds")
"""Options of a sampled semi-value, which ecoval is not."""
