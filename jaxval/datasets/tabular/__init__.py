"""Tables of a user: files, columns, cells and their encoding as numbers."""

from jaxval.datasets.tabular.table import (
    CLASSIFICATION,
    REGRESSION,
    Table,
    read_table,
)

__all__ = ["CLASSIFICATION", "REGRESSION", "Table", "read_table"]
