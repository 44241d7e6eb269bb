"""Data with owners: where they come from, who owns what, and what is wrong with them.

Everything here is made on the host as NumPy arrays; keys come first.
"""

from jaxval.datasets._arrays import DataError
from jaxval.datasets.shifts import (
    flip_labels,
    gaussian_noise,
    mixtures,
    noisy_owners,
    pad_images,
    replicate_channels,
)
from jaxval.datasets.sources import (
    CIFAR10_MEAN,
    CIFAR10_STD,
    archive,
    digits,
    idx,
    load,
    openml,
    standardised,
    to_unit,
)
from jaxval.datasets.spins import Ising, ising, ising_energy, ising_split
from jaxval.datasets.splits import (
    TABLE_6,
    TABLE_7,
    bootstrap,
    bootstrap_counts,
    by_class,
    by_proportion,
    by_size,
    random_owners,
    shuffled,
)
from jaxval.datasets.tabular.table import CLASSIFICATION, REGRESSION, Table, read_table
from jaxval.types import Split

__all__ = [
    "CIFAR10_MEAN",
    "CIFAR10_STD",
    "CLASSIFICATION",
    "REGRESSION",
    "TABLE_6",
    "TABLE_7",
    "DataError",
    "Ising",
    "Split",
    "Table",
    "archive",
    "bootstrap",
    "bootstrap_counts",
    "by_class",
    "by_proportion",
    "by_size",
    "digits",
    "flip_labels",
    "gaussian_noise",
    "idx",
    "ising",
    "ising_energy",
    "ising_split",
    "load",
    "mixtures",
    "noisy_owners",
    "openml",
    "pad_images",
    "random_owners",
    "read_table",
    "replicate_channels",
    "shuffled",
    "standardised",
    "to_unit",
]
