"""EcoVal: values of clusters, divided among their points."""

from jaxval.coalitions.algebra import grouped
from jaxval.ecoval.allocation import adjust, allocate
from jaxval.ecoval.bootstrap import bootstrap, owner_sums
from jaxval.ecoval.clusters import (
    Clustering,
    Mixture,
    gaussian_mixture,
)
from jaxval.ecoval.components import principal_components
from jaxval.ecoval.cost import Cost, figure_1_counts
from jaxval.ecoval.fitted import ClusterGame, Fitted, Settings, Utility
from jaxval.ecoval.leave_cluster_out import (
    ClusterValues,
    leave_cluster_out,
    leave_out_values,
)
from jaxval.ecoval.pipeline import fit, values
from jaxval.ecoval.records import (
    FULL,
    NO_ADJUSTMENT,
    NO_ALPHA,
    NO_BETA,
    Allocation,
    Hazards,
    Members,
    Terms,
)
from jaxval.ecoval.report import Report, report
from jaxval.ecoval.representative_values import permutations, truncated_permutations
from jaxval.ecoval.unseen import members_of, unseen_values
from jaxval.types import Points

__all__ = [
    "FULL",
    "NO_ADJUSTMENT",
    "NO_ALPHA",
    "NO_BETA",
    "Allocation",
    "ClusterGame",
    "ClusterValues",
    "Clustering",
    "Cost",
    "Fitted",
    "Hazards",
    "Members",
    "Mixture",
    "Points",
    "Report",
    "Settings",
    "Terms",
    "Utility",
    "adjust",
    "allocate",
    "bootstrap",
    "figure_1_counts",
    "fit",
    "gaussian_mixture",
    "grouped",
    "leave_cluster_out",
    "leave_out_values",
    "members_of",
    "owner_sums",
    "permutations",
    "principal_components",
    "report",
    "truncated_permutations",
    "unseen_values",
    "values",
]
