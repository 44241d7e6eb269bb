"""The optional package neural-tangents: an engine, infinitely wide networks."""

from jaxval.kernels.neural_tangents import engine, infinite_width

__all__ = ["engine", "infinite_width"]
