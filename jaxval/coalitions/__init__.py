"""Coalitions: masks, games over them, and asking a game for its scores."""

from jaxval.coalitions import masks, queries
from jaxval.coalitions.game import Game, LeaveOneOut, Rows, combine, grouped

__all__ = [
    "Game",
    "LeaveOneOut",
    "Rows",
    "combine",
    "grouped",
    "masks",
    "queries",
]
