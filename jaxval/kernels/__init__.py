"""Kernels: of points, and of a network's gradients (the empirical NTK)."""

from jaxval.kernels import (
    approximations,
    banded,
    blocks,
    gradient_engine,
    infinite_width,
    neural_tangents_engine,
    pairwise,
    projection,
    readouts,
    spectra,
    tangent,
)

__all__ = [
    "approximations",
    "banded",
    "blocks",
    "gradient_engine",
    "infinite_width",
    "neural_tangents_engine",
    "pairwise",
    "projection",
    "readouts",
    "spectra",
    "tangent",
]
