"""Write two small CSV files with an owner column, to try `value` on.

Scikit-learn's breast cancer data (classification; five owners of a tenth to a third of
the rows) and its diabetes data (regression; the same), with a file of validation rows
each.
"""

import dataclasses
import pathlib
from typing import Annotated

import numpy as np
import tyro

from jaxval.reporting.tables import Column, Table, to_csv
from jaxval.runner.contract import SILENT, Context
from jaxval.runner.results import write_atomically

_SHARES = (0.10, 0.14, 0.18, 0.25, 0.33)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Where to, and how the rows are dealt out."""

    folder: Annotated[pathlib.Path, tyro.conf.Positional] = pathlib.Path("example-data")
    """Folder to write the files to."""
    seed: int = 0
    """Deals the rows to the owners."""


def run(config: Config, context: Context = SILENT) -> None:
    """Write the files and say which commands to try on them."""
    from sklearn import datasets

    config.folder.mkdir(parents=True, exist_ok=True)
    cancer = datasets.load_breast_cancer()
    diabetes = datasets.load_diabetes(scaled=False)
    tables = {
        "breast_cancer": _table(cancer, "diagnosis", config.seed),
        "diabetes": _table(diabetes, "progression", config.seed),
    }
    for name, table in tables.items():
        path = config.folder / f"{name}.csv"
        write_atomically(path, lambda new, t=table: _write(new, t))
        target = table.columns[-2].name
        context.note(f"wrote {path} ({len(table)} rows)")
        context.note(
            f"  python -m jaxval.experiments value {path} --target {target} "
            "--owner hospital"
        )


def _table(bunch, target: str, seed: int) -> Table:
    rows = np.random.default_rng(seed).permutation(len(bunch.target))
    bounds = np.rint(np.cumsum(_SHARES) * len(rows)).astype(int)[:-1]
    owners = np.empty(len(rows), object)
    for number, part in enumerate(np.split(rows, bounds)):
        owners[part] = f"hospital {'ABCDE'[number]}"
    names = [str(name).replace(" ", "_") for name in bunch.feature_names]
    features = [Column(name, bunch.data[:, j]) for j, name in enumerate(names)]
    labels = bunch.target
    if hasattr(bunch, "target_names"):
        labels = bunch.target_names[labels]
    return Table(
        bunch.DESCR.splitlines()[0],
        (*features, Column(target, list(labels)), Column("hospital", list(owners))),
    )


def _write(path: pathlib.Path, table: Table) -> None:
    path.write_text(to_csv(table), encoding="utf-8")
