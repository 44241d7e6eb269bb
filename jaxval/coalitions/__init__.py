"""Coalitions: masks, games over them, and asking a game for its scores."""

from jaxval.coalitions import masks, queries
from jaxval.coalitions.game import Game, LeaveOneOut, combine

__all__ = ["Game", "LeaveOneOut", "combine", "masks", "queries"]
