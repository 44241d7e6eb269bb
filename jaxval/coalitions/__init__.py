"""Coalitions: masks, games over them, and asking a game for its scores."""

from jaxval.coalitions import masks, queries
from jaxval.coalitions.algebra import combine, grouped
from jaxval.coalitions.game import Game, LeaveOneOut, Rows

__all__ = [
    "Game",
    "LeaveOneOut",
    "Rows",
    "combine",
    "grouped",
    "masks",
    "queries",
]
