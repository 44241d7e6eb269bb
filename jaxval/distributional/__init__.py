"""Distributional Shapley: values of points, and of points not seen before.

`distributional.regressions`, regressions on values, is imported by its own name: it
brings scikit-learn along.
"""

from jaxval.distributional import estimator, point_scores, utilities

__all__ = ["estimator", "point_scores", "utilities"]
