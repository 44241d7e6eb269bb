"""Semi-values: weights, exact enumeration, and estimators with true error bars."""

from jaxval.semivalues import exact, weights

__all__ = ["exact", "weights"]
