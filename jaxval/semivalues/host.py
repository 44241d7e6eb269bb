"""Steps of games on the host: every score is kept until its step is complete.

A step of an estimator asks for many coalitions, and on the host each may be a training
run. The record remembers what was scored in the current step, so that a step that was
interrupted resumes behind the last score, and can stop between two evaluations.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxval.coalitions import queries
from jaxval.coalitions.game import Game

__all__ = ["OutOfTime", "Record"]


Answer = tuple[str, list[float]]
"""The name of a question, and the scores that answered it."""


class OutOfTime(Exception):
    """The time is over in the middle of a step; its scores are in the record."""


class Record:
    """Scores of the current step, and the game that fills it.

    A game that scores masks one by one is remembered by mask; one with fast answers by
    question, since its scores may depend, in their last digits, on what is asked
    together. A step asks the same in the same order whenever it is drawn, so that the
    answers of an unfinished step are replayed in their order.

    Args:
      game: Game on the host.
      scored: Answers of an unfinished step, from a checkpoint.
      is_over: Asked before each evaluation; `OutOfTime` is raised where it says yes.
    """

    def __init__(
        self,
        game: Game,
        scored: Sequence[Answer] = (),
        is_over: Callable[[], bool] = lambda: False,
    ) -> None:
        self._game, self._is_over = game, is_over
        self._given: list[Answer] = []
        self._to_replay = collections.deque(scored)

    @property
    def scored(self) -> list[Answer]:
        """Names of the questions of the unfinished step, and their answers."""
        return [*self._given, *self._to_replay]

    def clear(self) -> None:
        """Forget the answers: their step is complete."""
        self._given.clear()
        self._to_replay.clear()

    @property
    def game(self) -> Game:
        """The game, asked through the record."""
        fast = self._game.fast_prefixes is not None
        return dataclasses.replace(
            self._game,
            fast_scores=self._scores,
            fast_prefixes=self._prefixes if fast else None,
        )

    def _scores(self, masks: Bool[Any, "m n"]) -> Float[np.ndarray, " m"]:
        masks = np.asarray(masks, bool)
        if self._game.fast_scores is not None:
            return self._ask("scores", masks, self._game.scores)
        one_by_one = [
            self._ask("scores", masks[i : i + 1], self._game.scores)
            for i in range(len(masks))
        ]
        return np.concatenate(one_by_one) if one_by_one else np.zeros(0)

    def _prefixes(self, order: Int[Any, " n"]) -> Float[np.ndarray, " prefixes"]:
        return self._ask("prefixes", order, self._game.prefix_scores)

    def _ask(
        self, what: str, argument: Any, ask: Callable[[Any], Any]
    ) -> Float[np.ndarray, " m"]:
        array = np.asarray(argument)
        content = f"{what} {array.dtype} {array.shape}".encode() + array.tobytes()
        name = hashlib.sha256(content).hexdigest()[:32]
        if self._to_replay and self._to_replay[0][0] == name:
            answer = self._to_replay.popleft()
        else:
            # Another question than last time: the step was a shorter one then.
            self._to_replay.clear()
            if self._is_over():
                raise OutOfTime
            scores = np.asarray(ask(argument), np.float64)
            _check_finite(scores, array)
            answer = (name, scores.tolist())
        self._given.append(answer)
        return np.asarray(answer[1])


def _check_finite(scores: Float[np.ndarray, " m"], asked: Any) -> None:
    bad = np.flatnonzero(~np.isfinite(scores))
    if bad.size:
        row = int(bad[0])
        masks = asked.dtype == bool
        members = np.flatnonzero(asked[row]) if masks else asked[:row]
        raise queries.not_finite(scores[row], members.tolist(), bad.size)
