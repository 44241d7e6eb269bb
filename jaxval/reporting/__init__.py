"""Tables, charts, pictures and pages of values with their error bars."""

from jaxval.reporting.charts import bar_chart
from jaxval.reporting.console import progress
from jaxval.reporting.tables import Column, Table, to_csv, to_text

__all__ = ["Column", "Table", "bar_chart", "progress", "to_csv", "to_text"]
