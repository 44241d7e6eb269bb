"""Tangent kernels that do not fit: blocks, bands, projections, and their deviation."""

from jaxval.kernels.approximations import banded, blocks, error, projection

__all__ = ["banded", "blocks", "error", "projection"]
