"""Who contributed what: by class, by size, at random, by bootstrap.

A split chooses rows and says who owns each. Those that take rows in their order in the
file need no key, as in the released code; `shuffled` first makes them random.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Array, Float, Int

from jaxval._checks import check, positive, same_length
from jaxval.datasets._arrays import Rows, generator
from jaxval.types import Dataset, PRNGKey

__all__ = [
    "TABLE_6",
    "TABLE_7",
    "bootstrap",
    "bootstrap_counts",
    "by_class",
    "by_proportion",
    "by_size",
    "random_owners",
    "shuffled",
]

TABLE_6 = (1000, 1000, 1000, 1000, 1000, 1050, 1100, 1150, 1200, 1250)
"""Images of each one-class contributor of MNIST and CIFAR-10 (DAVINZ, Table 6)."""

TABLE_7 = (12, 25, 50, 100, 200, 400, 800, 1600, 3200, 6400)
"""Samples of each contributor of the Ising data (DAVINZ, Table 7)."""

Matrix = (
    Float[Array, "owners classes"]
    | Float[np.ndarray, "owners classes"]
    | Sequence[Sequence[float]]
)


def shuffled(key: PRNGKey, x: Rows, y: Rows) -> tuple[np.ndarray, np.ndarray]:
    """The samples in random order.

    Example:
      >>> import jax
      >>> sorted(shuffled(jax.random.key(0), np.arange(3), np.arange(3))[1].tolist())
      [0, 1, 2]
    """
    same_length(x=x, y=y)
    order = generator(key).permutation(len(y))
    return np.asarray(x)[order], np.asarray(y)[order]


def by_class(
    x: Rows, y: Rows, sizes: Sequence[int], classes: Sequence[int] | None = None
) -> Dataset:
    """One class for each owner: its first rows in the order of the file.

    Args:
      x: Inputs, one per row.
      y: Class numbers, one per row.
      sizes: Rows of each owner, for example `TABLE_6`.
      classes: Class of each owner; 0, 1, 2, ... when `None`.

    Returns:
      The rows chosen, owner by owner.

    Raises:
      ValueError: if a class has fewer rows than its owner asks for.

    Example:
      >>> y = np.array([1, 0, 0, 1, 1])
      >>> by_class(np.arange(5), y, (1, 2)).x.tolist()
      [1, 0, 3]
    """
    classes = range(len(sizes)) if classes is None else classes
    same_length(sizes=sizes, classes=classes)
    return by_proportion(x, y, sizes, np.eye(max(classes) + 1)[list(classes)])


def by_proportion(
    x: Rows, y: Rows, sizes: Sequence[int], proportions: Matrix
) -> Dataset:
    """Classes mixed in given proportions for each owner, no row given twice.

    Rows are taken in the order of the file. The number of a class is rounded such that
    an owner's numbers sum to its size.

    Args:
      x: Inputs, one per row.
      y: Class numbers, one per row.
      sizes: Rows of each owner.
      proportions: Share of each class (column) with each owner (row); rows sum to one.

    Raises:
      ValueError: if proportions don't sum to one, or a class runs out.

    Example:
      >>> y = np.array([0, 0, 0, 1, 1, 1])
      >>> by_proportion(np.arange(6), y, (2, 4), [[0.5, 0.5], [0.5, 0.5]]).x.tolist()
      [0, 3, 1, 2, 4, 5]
    """
    same_length(x=x, y=y)
    y, table = np.asarray(y), np.asarray(proportions, float)
    same_length(sizes=sizes, proportions=table)
    check(
        bool((table >= 0).all() and np.allclose(table.sum(1), 1, rtol=0, atol=1e-6)),
        "proportions must not be negative and must sum to 1 for each owner; got sums "
        f"{table.sum(1).tolist()}.",
    )
    bounds = np.cumsum(table, axis=1) * np.asarray(sizes)[:, None]
    numbers = np.diff(np.round(bounds).astype(int), axis=1, prepend=0)
    rows_of = [np.flatnonzero(y == c) for c in range(table.shape[1])]
    wanted = numbers.sum(0)
    for c, rows in enumerate(rows_of):
        check(
            wanted[c] <= len(rows),
            f"class {c} has {len(rows)} rows; the owners ask for {wanted[c]}.",
        )
    ends = np.cumsum(numbers, axis=0)
    chosen = [
        np.concatenate(
            [
                rows_of[c][ends[i, c] - numbers[i, c] : ends[i, c]]
                for c in range(len(wanted))
            ]
        )
        for i in range(len(sizes))
    ]
    return _owned(x, y, chosen)


def by_size(x: Rows, y: Rows, sizes: Sequence[int]) -> Dataset:
    """The first `sizes[0]` rows for owner 0, the next `sizes[1]` for owner 1, ...

    Raises:
      ValueError: if there are fewer rows than the owners ask for.

    Example:
      >>> by_size(np.arange(5), np.arange(5), (1, 3)).owner.tolist()
      [0, 1, 1, 1]
    """
    same_length(x=x, y=y)
    for size in sizes:
        positive("sizes", size)
    check(
        sum(sizes) <= len(y),
        f"the owners ask for {sum(sizes)} rows in all; there are {len(y)}.",
    )
    ends = np.cumsum(sizes)
    return _owned(x, y, [np.arange(e - s, e) for s, e in zip(sizes, ends, strict=True)])


def random_owners(
    key: PRNGKey, x: Rows, y: Rows, shares: int | Sequence[float]
) -> Dataset:
    """Every row to an owner at random, in given shares.

    Args:
      key: PRNG key for the assignment.
      x: Inputs, one per row.
      y: Targets, one per row.
      shares: Share of each owner, in any unit, or the number of equal owners. Every
        owner gets one row at least.

    Returns:
      All rows, in their order.

    Raises:
      ValueError: if there are more owners than rows, or a share isn't positive.

    Example:
      >>> import jax
      >>> x = np.arange(10)
      >>> random_owners(jax.random.key(0), x, x, (1.0, 1.0, 3.0)).sizes.tolist()
      [2, 2, 6]
    """
    same_length(x=x, y=y)
    shares = [1.0] * shares if isinstance(shares, int) else list(shares)
    for share in shares:
        positive("shares", share)
    check(
        1 <= len(shares) <= len(y),
        f"{len(shares)} owners can't share {len(y)} rows.",
    )
    spare = len(y) - len(shares)
    ends = np.round(np.cumsum(shares) / np.sum(shares) * len(y)).astype(int)
    sizes = np.diff(ends, prepend=0)
    if sizes.min() < 1:
        ends = np.round(np.cumsum(shares) / np.sum(shares) * spare).astype(int)
        sizes = np.diff(ends, prepend=0) + 1
    owner = np.repeat(np.arange(len(shares), dtype=np.int32), sizes)
    owner = generator(key).permutation(owner)
    return Dataset(np.asarray(x), np.asarray(y), owner)


def bootstrap(key: PRNGKey, x: Rows, y: Rows, sizes: Sequence[int]) -> Dataset:
    """Owners that drew their rows with replacement from all (DAVINZ, Figure 2).

    Args:
      key: PRNG key for the draws.
      x: Inputs, one per row.
      y: Targets, one per row.
      sizes: Rows of each owner.

    Returns:
      The rows drawn, owner by owner, repeated rows beside each other.

    Example:
      >>> import jax
      >>> x = np.arange(3)
      >>> bootstrap(jax.random.key(0), x, x, (5, 2)).sizes.tolist()
      [5, 2]
    """
    same_length(x=x, y=y)
    counts = bootstrap_counts(key, len(y), sizes)
    rows = np.arange(len(y))
    return _owned(x, y, [np.repeat(rows, count) for count in counts])


def bootstrap_counts(
    key: PRNGKey, num_rows: int, sizes: Sequence[int]
) -> Int[np.ndarray, "owners rows"]:
    """How often each owner of `bootstrap` with this key drew each row.

    Duplicates collapse in a tangent kernel's quadratic form (identity L), so counts
    spare the rows.

    Example:
      >>> import jax
      >>> bootstrap_counts(jax.random.key(0), 4, (3, 5)).sum(1).tolist()
      [3, 5]
    """
    positive("num_rows", num_rows)
    rng = generator(key)
    for size in sizes:
        positive("sizes", size)
    draws = [rng.integers(num_rows, size=size) for size in sizes]
    return np.stack([np.bincount(draw, minlength=num_rows) for draw in draws])


def _owned(x, y, chosen) -> Dataset:
    for owner, rows in enumerate(chosen):
        check(len(rows) > 0, f"owner {owner} has no rows.")
    rows = np.concatenate(chosen)
    owner = np.repeat(np.arange(len(chosen), dtype=np.int32), [len(c) for c in chosen])
    return Dataset(np.asarray(x)[rows], np.asarray(y)[rows], owner)
