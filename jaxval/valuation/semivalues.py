"""The semi-values of `value`: one row per semi-value."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from jaxval._checks import check
from jaxval.semivalues import weights
from jaxval.semivalues.weights import Weights

__all__ = ["SEMIVALUES", "Semivalue", "SemivalueRow", "make"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Semivalue:
    """A semi-value, ready to be estimated.

    Attributes:
      name: Name in the settings.
      label: Name in titles.
      weights: Weight of a contribution, by the size of the coalition it is made to.
    """

    name: str
    label: str
    weights: Weights

    @property
    def is_leave_one_out(self) -> bool:
        """Whether one coalition per player is all that it asks for."""
        return self.weights is weights.leave_one_out


@dataclasses.dataclass(frozen=True, kw_only=True)
class SemivalueRow:
    """How a semi-value is made.

    Attributes:
      make: Makes its weights from the parameters.
      label: Its name in titles, with the parameters filled in.
      parameters: Settings that it reads.
    """

    make: Callable[..., Weights]
    label: str
    parameters: tuple[str, ...] = ()


SEMIVALUES: Mapping[str, SemivalueRow] = {
    "shapley": SemivalueRow(make=lambda: weights.shapley, label="Shapley"),
    "banzhaf": SemivalueRow(make=lambda: weights.banzhaf, label="Banzhaf"),
    "weighted-banzhaf": SemivalueRow(
        make=weights.weighted_banzhaf,
        label="Banzhaf({probability:g})",
        parameters=("probability",),
    ),
    "beta": SemivalueRow(
        make=weights.beta,
        label="Beta({alpha:g}, {beta:g})",
        parameters=("alpha", "beta"),
    ),
    "leave-one-out": SemivalueRow(
        make=lambda: weights.leave_one_out, label="Leave-one-out"
    ),
}
"""Semi-values by their names in the settings."""


def make(name: str, **parameters: Any) -> Semivalue:
    """The semi-value of that name.

    Args:
      name: Key of `SEMIVALUES`.
      **parameters: Those that its row names, and no others.

    Raises:
      ValueError: If there is no such semi-value, or a parameter is out of range.

    Example:
      >>> make("beta", alpha=4.0, beta=1.0).label
      'Beta(4, 1)'
    """
    check(
        name in SEMIVALUES, f"there is no semi-value {name!r}: {', '.join(SEMIVALUES)}."
    )
    row = SEMIVALUES[name]
    made = row.make(*(parameters[each] for each in row.parameters))
    return Semivalue(name=name, label=row.label.format(**parameters), weights=made)
