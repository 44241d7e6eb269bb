"""Asking a game: compiled once, in double precision, every score checked."""
