"""Value the contributors of your own CSV, Parquet or npz file.

    python -m jaxval value data.csv --target y --owner who

Every row's owner is a player; without --owner every row is one. Names of columns that
are words become categories. The values come with standard errors and ranks with their
confidence, beside the values of simpler scores. Killed or interrupted, rerunning the
command resumes it. From Python: `jaxval.value`.
"""

import dataclasses
import pathlib
from typing import Annotated

import tyro

from jaxval.runner.contract import SILENT, Context, Result
from jaxval.valuation import api, report
from jaxval.valuation.settings import Settings

__all__ = ["Config", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """What to value by which game, and how precisely."""

    data: Annotated[pathlib.Path, tyro.conf.Positional]
    """CSV, Parquet or npz file; npz files hold x, y and owner."""
    valid: str | None = None
    """Rows to validate with: a file, or a fraction of the rows (0.2)."""
    unseen: pathlib.Path | None = None
    """A file of unseen points, to be valued too (with --game ecoval)."""


def run(config: Config, context: Context = SILENT) -> Result:
    """Value the rows of a file; see `jaxval.value`."""
    return report.report(api.compute(config.data, config, context))
