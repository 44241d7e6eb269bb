r"""Bands around $v(N)$ in which a truncated order may stop."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxval._checks import positive
from jaxval.types import Ends

__all__ = ["Band", "absolute", "relative_to_full"]

Band = Callable[[Ends], float | Float[Array, ""]]
"""Half-width of the band around $v(N)$, from the endpoints."""


def relative_to_full(tolerance: float) -> Band:
    r"""Within `tolerance` times $|v(N)|$: Data Shapley's band.

    The size of $v(N)$ is taken, so that negative scores have a band too.

    Example:
      >>> round(float(relative_to_full(0.01)(Ends(0.0, -2.0))), 3)
      0.02

    References:
      Ghorbani and Zou, *Data Shapley*, ICML 2019, released code.
    """
    positive("tolerance", tolerance, zero=True)
    return _RelativeToFull(tolerance)


def absolute(width: float) -> Band:
    """Within `width`, in the units of the score: for scores without a natural zero.

    Example:
      >>> absolute(0.5)(Ends(0.0, -2.0))
      0.5
    """
    positive("width", width, zero=True)
    return _Absolute(width)


@dataclasses.dataclass(frozen=True)
class _RelativeToFull:
    tolerance: float

    def __call__(self, ends: Ends) -> Float[Array, ""]:
        return self.tolerance * jnp.abs(ends.full)

    def __str__(self) -> str:
        return f"relative_to_full({self.tolerance})"


@dataclasses.dataclass(frozen=True)
class _Absolute:
    width: float

    def __call__(self, ends: Ends) -> float:
        return self.width

    def __str__(self) -> str:
        return f"absolute({self.width})"
