"""The loop of a run on the sampling design: rounds drawn, scored, estimated."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from jax.tree_util import Partial
from jaxtyping import Bool, Float

from jaxval._checks import check
from jaxval.coalitions import queries
from jaxval.coalitions.game import Game
from jaxval.execution.options import Execution
from jaxval.execution.parallel import batched_map
from jaxval.execution.precision import double
from jaxval.semivalues import checkpoint as _checkpoint
from jaxval.semivalues.designed import DesignEstimator, DesignState
from jaxval.semivalues.sampling_design import Samples, plan_round
from jaxval.semivalues.sampling_draws import draw_round, empty_samples
from jaxval.semivalues.saves import Saves
from jaxval.semivalues.stopping import Rule, Status, budget, limits
from jaxval.types import PRNGKey

__all__ = ["DesignDriver"]

_CHUNK = 1024
"""Coalitions of a traced game between two looks at the clock."""


class DesignDriver:
    """One run in rounds.

    A round that was interrupted is resumed where it stopped: its coalitions follow from
    the key, and the scores it has are in the checkpoint, by round.
    """

    def __init__(
        self,
        key: PRNGKey,
        estimator: DesignEstimator,
        game: Game,
        until: Rule,
        execution: Execution,
        saves: Saves,
    ) -> None:
        check(
            estimator.num_players == game.num_players,
            f"estimator was made for {estimator.num_players} players; the game has "
            f"{game.num_players}.",
        )
        self.key, self.estimator, self.game = key, estimator, game
        self.until, self.execution, self.saves = until, execution, saves
        self.limits, self.started, self.spent = limits(until), time.monotonic(), 0.0
        self.ends = queries.ends(game)
        self.samples = empty_samples(game.num_players)
        self.scores: list[Float[np.ndarray, " m"]] = []
        self.budgets: list[int] = []
        self.is_exact = False
        self._resume()

    def run(self, progress: Callable[[Status], None] | None) -> tuple[Status, Any]:
        """Rounds until the rule says stop, or all coalitions are scored."""
        try:
            self._finish_round()
            status, state = self._status()
            while True:
                if progress is not None:
                    progress(status)
                if self.is_exact or self.until(status) or not self._next_round():
                    return status, state
                if not self._finish_round():
                    return status, state
                status, state = self._status()
        finally:
            self.saves.write(self._what(), self.ends)

    def _resume(self) -> None:
        loaded = self.saves.load(np.zeros(0), self.ends)
        if loaded is None:
            self._next_round()
            return
        self.spent = loaded.seconds
        for planned, scores in loaded.scored:
            self._draw(int(planned))
            self.scores[-1] = np.asarray(scores, np.float64)

    def _next_round(self) -> bool:
        """Plan and draw the next round; false where there is nothing to draw."""
        size, bound = self.estimator.first * 2 ** len(self.budgets), self.limits
        if bound.num_evaluations is not None:
            left = bound.num_evaluations - len(self.samples)
            # Nothing but a budget can end the run: one round is the best design.
            alone = self.until == budget(bound.num_evaluations)
            size = left if alone else min(size, left)
        return size > 0 and self._draw(size)

    def _draw(self, budget: int) -> bool:
        estimator, samples = self.estimator, self.samples
        plan = plan_round(
            len(self.budgets),
            estimator.law,
            budget,
            is_paired=estimator.is_paired,
            enumerated=np.unique(samples.sizes[samples.is_enumerated]).tolist(),
        )
        if not plan.strata:
            return False
        self.samples = draw_round(self.key, plan, samples)
        self.budgets.append(budget)
        self.scores.append(np.zeros(0))
        return True

    def _finish_round(self) -> bool:
        """Score what is left of the last round; false where the time was over."""
        if not self.budgets:
            return True
        last = len(self.budgets) - 1
        rows = np.flatnonzero(self.samples.round == last)
        step = 1 if self.game.on_host else _CHUNK
        while len(self.scores[last]) < len(rows):
            if self._is_over():
                return False
            start = int(rows[0]) + len(self.scores[last])
            stop = min(start + step, int(rows[0]) + len(rows))
            scores = self._score(self.samples.masks(start, stop))
            self.scores[last] = np.concatenate([self.scores[last], scores])
            if self.saves.is_due():
                self.saves.write(self._what(), self.ends)
        return True

    def _score(self, masks: Bool[np.ndarray, "m n"]) -> Float[np.ndarray, " m"]:
        mesh = self.execution.mesh
        if mesh is None or self.game.on_host:
            return np.asarray(queries.scores(self.game, masks))
        fn = self.game.score
        with double():
            scores = batched_map(
                fn if isinstance(fn, Partial) else Partial(fn),
                masks,
                chunk_size=self.execution.batch_size or 64,
                mesh=mesh,
            )
        return np.asarray(scores, np.float64).reshape(len(masks))

    def _status(self) -> tuple[Status, DesignState]:
        samples, scores = self._finished()
        ends, shares = self.ends, self.estimator.shares
        ends = type(ends)(float(ends.empty), float(ends.full))
        state = DesignState(
            samples=samples,
            scores=scores,
            ends=ends,
            budgets=np.asarray(self.budgets),
            method=self.estimator.method,
        )
        estimated = self.estimator.method(samples, scores, ends, shares)
        sampled = np.unique(samples.sizes[~samples.is_enumerated])
        border = np.unique(samples.sizes[samples.is_enumerated])
        self.is_exact = len(border) > 0 and bool(np.isin(sampled, border).all())
        status = Status(
            estimate=estimated.estimate,
            covariance=estimated.covariance,
            num_evaluations=sum(len(part) for part in self.scores),
            steps=len(self.budgets),
            seconds=self._seconds(),
        )
        return status, state

    def _finished(self) -> tuple[Samples, Float[np.ndarray, " m"]]:
        """Samples and scores of the finished rounds."""
        counts = np.bincount(self.samples.round, minlength=len(self.budgets))
        whole = [len(s) == c for s, c in zip(self.scores, counts, strict=True)]
        count = int(sum(c for c, done in zip(counts, whole, strict=True) if done))
        done = [s for s, finished in zip(self.scores, whole, strict=True) if finished]
        return self.samples.first(count), np.concatenate([np.zeros(0), *done])

    def _is_over(self) -> bool:
        # A first round is always finished: without it there is no value to return.
        bound = self.limits.seconds
        return bound is not None and len(self.budgets) > 1 and self._seconds() >= bound

    def _seconds(self) -> float:
        return self.spent + time.monotonic() - self.started

    def _what(self) -> _checkpoint.Loaded:
        pairs = zip(self.budgets, self.scores, strict=True)
        scored = [(str(budget), scores.tolist()) for budget, scores in pairs]
        steps = sum(len(scores) for scores in self.scores)
        return _checkpoint.Loaded(np.zeros(0), steps, self._seconds(), scored)
