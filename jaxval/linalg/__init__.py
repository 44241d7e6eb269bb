r"""Factorise once, ask often: quadratic forms of every sub-matrix that a game needs.

Throughout, $H = \Theta + \zeta I$ is symmetric positive definite, $y$ a vector (or a
matrix, one column an output) and $q(S) = y_S^\top H_{SS}^{-1} y_S$ the quadratic form
of the rows $S$, summed over the columns of $y$. All of it is in float64 whatever the
global setting: a leave-one-out difference of a contributor with three samples is wrong
in its fourth digit in float32.

- `quadratic`: one matrix, its prefixes, its leave-groups-out, its masked systems;
- `partition`: every leave-one-out of a partition at hardly more than one score;
- `statistics`: forms from additive statistics, for every regulariser, with duplicates;
- `lattice`: tables over all $2^K$ coalitions, each from its neighbour.
"""

from jaxval.linalg.lattice import (
    additive_table,
    pairwise_table,
    powerset_quadratic_forms,
    powerset_statistic_forms,
)
from jaxval.linalg.partition import leave_owners_out, leave_parts_out
from jaxval.linalg.quadratic import (
    check_positive_definite,
    cholesky,
    leave_groups_out,
    masked_quadratic_form,
    masked_solve,
    member_table,
    prefix_quadratic_forms,
    quadratic_form,
)
from jaxval.linalg.statistics import (
    Statistics,
    additive_statistics,
    collapse_duplicates,
    forms_for_regularisers,
    statistic_form,
)

__all__ = [
    "Statistics",
    "additive_statistics",
    "additive_table",
    "check_positive_definite",
    "cholesky",
    "collapse_duplicates",
    "forms_for_regularisers",
    "leave_groups_out",
    "leave_owners_out",
    "leave_parts_out",
    "masked_quadratic_form",
    "masked_solve",
    "member_table",
    "pairwise_table",
    "powerset_quadratic_forms",
    "powerset_statistic_forms",
    "prefix_quadratic_forms",
    "quadratic_form",
    "statistic_form",
]
