"""What a row of the games makes: a factory of one game per seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax

from jaxval.coalitions.game import Game
from jaxval.datasets.tabular.table import CLASSIFICATION, Table
from jaxval.execution.options import Progress
from jaxval.types import PRNGKey

__all__ = [
    "Constant",
    "GameFactory",
    "MemoryLimit",
    "Seeded",
    "SeededGame",
    "score_unit",
]


class MemoryLimit(NamedTuple):
    """Memory that a valuation may take.

    Attributes:
      size: Bytes; nothing is checked when `None`.
      is_given: Whether the user named it; otherwise it is what the machine has free.
    """

    size: int | None
    is_given: bool = False


class SeededGame(NamedTuple):
    """The game of one seed, and the half of it that is a baseline.

    Attributes:
      game: Game to be valued.
      discrepancy: The discrepancy within it, whose values are subtracted to know those
        of the complexity; `None` where it has no such part.
    """

    game: Game
    discrepancy: Game | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class GameFactory:
    """How to make the game of each seed; made one after the other, to save memory.

    Attributes:
      name: Name in the settings.
      make: The game of a seed, by its number; tells `progress` of the work on it.
      description: The game in words.
      unit: Unit of its scores.
      max_exact: Players up to which all coalitions are scored unless told otherwise.
      seeds: Number of seeds; 1 where nothing is random.
      check_every: Steps of an estimator between two looks at the stopping rules.
      random: What differs between seeds, in a word; empty where nothing does.
      is_trained: Whether every score takes a training run.
    """

    name: str
    make: Callable[[int, Progress | None], SeededGame]
    description: str
    unit: str
    max_exact: int
    seeds: int = 1
    check_every: int = 16
    random: str = ""
    is_trained: bool = False


@dataclasses.dataclass(frozen=True)
class Constant:
    """A `make` for games in which nothing is random: the same game for every seed."""

    game: Game

    def __call__(self, seed: int, progress: Progress | None) -> SeededGame:
        """The game."""
        return SeededGame(self.game)


@dataclasses.dataclass(frozen=True)
class Seeded:
    """A `make` that folds the number of a seed into a key."""

    key: PRNGKey
    make: Callable[[PRNGKey, Progress | None], SeededGame]

    def __call__(self, seed: int, progress: Progress | None) -> SeededGame:
        """The game of that seed."""
        return self.make(jax.random.fold_in(self.key, seed), progress)


def score_unit(table: Table) -> str:
    """Unit of a score on the validation rows."""
    if table.task == CLASSIFICATION:
        return "validation accuracy"
    return "minus the mean squared error of the target scaled to [0, 1]"
