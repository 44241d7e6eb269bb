"""Kernels: of points, and of a network's gradients (the empirical NTK)."""

from jaxval.kernels import (
    approximations,
    gradient_engine,
    layers,
    mmd,
    neural_tangents,
    pairwise,
    readouts,
    spectra,
    tangent,
)

__all__ = [
    "approximations",
    "gradient_engine",
    "layers",
    "mmd",
    "neural_tangents",
    "pairwise",
    "readouts",
    "spectra",
    "tangent",
]
