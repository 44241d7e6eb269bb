"""Kernels: of points, and of a network's gradients (the empirical NTK)."""

from jaxval.kernels import gradient_engine, pairwise, readouts, tangent

__all__ = ["gradient_engine", "pairwise", "readouts", "tangent"]
