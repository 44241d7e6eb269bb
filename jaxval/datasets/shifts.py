"""Data that get worse or come from elsewhere: noise, wrong labels, mixed domains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from jaxval._checks import check, positive, same_length
from jaxval.datasets._arrays import Rows, generator
from jaxval.types import Dataset, PRNGKey

__all__ = [
    "flip_labels",
    "gaussian_noise",
    "mixtures",
    "noisy_owners",
    "pad_images",
    "replicate_channels",
]

Domain = tuple[Rows, Rows]
Clip = tuple[float, float]


def gaussian_noise(
    key: PRNGKey, x: Rows, stddev: float, *, clip: Clip | None = None
) -> Float[np.ndarray, "n ..."]:
    r"""$x + \sigma\varepsilon$, $\varepsilon \sim N(0, 1)$, clipped where asked.

    Args:
      key: PRNG key for the noise.
      x: Inputs, one per row.
      stddev: $\sigma$.
      clip: Lowest and highest number to keep; the released code clips spins to
        (-1, 1), which takes half of the noise away. The paper doesn't say so.

    Example:
      >>> import jax
      >>> x = np.ones((2, 2), np.float32)
      >>> bool((gaussian_noise(jax.random.key(0), x, 0.0) == x).all())
      True
    """
    positive("stddev", stddev, zero=True)
    x = np.asarray(x, np.float32)
    noise = generator(key).standard_normal(x.shape, np.float32)
    return _clipped(x + np.float32(stddev) * noise, clip)


def noisy_owners(
    key: PRNGKey,
    dataset: Dataset,
    stddevs: Sequence[float],
    *,
    clip: Clip | None = None,
    shared: bool = False,
) -> Dataset:
    r"""Gaussian noise whose $\sigma$ depends on the owner (DAVINZ, Figure 4b).

    Args:
      key: PRNG key for the noise.
      dataset: Samples and their owners.
      stddevs: $\sigma$ of each owner.
      clip: Lowest and highest number to keep, as in `gaussian_noise`.
      shared: Whether to give the j-th row of every owner the same $\varepsilon$, as the
        released code does; otherwise all noise is independent.

    Raises:
      ValueError: if there isn't one $\sigma$ an owner.

    Example:
      >>> import jax
      >>> data = Dataset(np.zeros((4, 3), np.float32), np.zeros(4), np.arange(4) // 2)
      >>> noisy = noisy_owners(jax.random.key(0), data, (0.0, 1.0))
      >>> (noisy.x == 0).all(1).tolist()
      [True, True, False, False]
    """
    owner = np.asarray(dataset.owner)
    check(
        len(stddevs) == dataset.num_owners,
        f"stddevs must have one number for each of {dataset.num_owners} owners; got "
        f"{len(stddevs)}.",
    )
    for stddev in stddevs:
        positive("stddevs", stddev, zero=True)
    x = np.asarray(dataset.x, np.float32)
    rows = _rank_within_owner(owner) if shared else np.arange(len(owner))
    noise = generator(key).standard_normal((rows.max() + 1, *x.shape[1:]), np.float32)
    scale = np.asarray(stddevs, np.float32)[owner].reshape(-1, *[1] * (x.ndim - 1))
    return dataset._replace(x=_clipped(x + scale * noise[rows], clip))


def flip_labels(
    key: PRNGKey, y: Rows, rate: float, num_classes: int
) -> tuple[Int[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Wrong labels for a share of the samples, and which samples they are.

    Exactly `round(rate * n)` labels change, each to one of the other classes.

    Args:
      key: PRNG key for the choice of labels.
      y: Class numbers, one per row.
      rate: Share of the labels, 0 to 1.
      num_classes: Number of classes to choose from; 2 at least.

    Returns:
      The labels, and a mask of those that were flipped.

    Raises:
      ValueError: if `rate` is out of range, or a label is no class number.

    Example:
      >>> import jax
      >>> y, flipped = flip_labels(jax.random.key(0), np.zeros(8, int), 0.25, 3)
      >>> int(flipped.sum()), bool(((y != 0) == flipped).all())
      (2, True)
    """
    y = np.asarray(y)
    check(0 <= rate <= 1, f"rate must be 0 to 1; got {rate}.")
    check(num_classes >= 2, f"num_classes must be at least 2; got {num_classes}.")
    check(
        y.ndim == 1
        and np.issubdtype(y.dtype, np.integer)
        and bool(((y >= 0) & (y < num_classes)).all()),
        f"y must be a vector of class numbers 0 to {num_classes - 1}; got shape "
        f"{y.shape} of {y.dtype}.",
    )
    rng = generator(key)
    flipped = np.zeros(len(y), bool)
    flipped[rng.permutation(len(y))[: round(rate * len(y))]] = True
    # Adding 1 to C-1 modulo C can never give the class back.
    steps = rng.integers(1, num_classes, len(y))
    return np.where(flipped, (y + steps) % num_classes, y).astype(y.dtype), flipped


def mixtures(
    first: Domain,
    second: Domain,
    shares: Sequence[float],
    sizes: Sequence[int],
    *,
    disjoint: bool = True,
) -> Dataset:
    """Owners whose data come from two domains in different shares (DAVINZ, Figure 3).

    Rows of `second` are taken from the head of it, those of `first` from its tail.

    Args:
      first: Inputs and targets of the first domain, for example MNIST.
      second: Inputs and targets of the second domain, for example MNIST-M, with inputs
        of the same shape.
      shares: Share of `second` with each owner; the paper's are 0.1, 0.2, ..., 1.
      sizes: Rows of each owner.
      disjoint: Whether to give no row twice; otherwise each owner begins again at the
        head and the tail, as in the released code.

    Raises:
      ValueError: if shapes differ or a domain runs out.

    Example:
      >>> a = (np.zeros((6, 2)), np.arange(6))
      >>> b = (np.ones((6, 2)), np.arange(6))
      >>> mixtures(a, b, (0.5, 1.0), (4, 2)).x.sum(1).tolist()
      [2.0, 2.0, 0.0, 0.0, 2.0, 2.0]
    """
    (x0, y0), (x1, y1) = ((np.asarray(x), np.asarray(y)) for x, y in (first, second))
    same_length(shares=shares, sizes=sizes)
    check(
        x0.shape[1:] == x1.shape[1:],
        f"both domains must have inputs of one shape; got {x0.shape[1:]} and "
        f"{x1.shape[1:]}. See datasets.replicate_channels and datasets.pad_images.",
    )
    for share in shares:
        check(0 <= share <= 1, f"shares must be 0 to 1; got {share}.")
    second_sizes = [round(a * n) for a, n in zip(shares, sizes, strict=True)]
    first_sizes = [n - m for n, m in zip(sizes, second_sizes, strict=True)]
    heads = _taken(second_sizes, len(y1), "second", disjoint)
    tails = [len(y0) - 1 - t for t in _taken(first_sizes, len(y0), "first", disjoint)]
    parts = list(zip(heads, tails, strict=True))
    return Dataset(
        np.concatenate([part for h, t in parts for part in (x1[h], x0[t])]),
        np.concatenate([part for h, t in parts for part in (y1[h], y0[t])]),
        np.repeat(np.arange(len(sizes), dtype=np.int32), sizes),
    )


def replicate_channels(
    x: Num[np.ndarray, "n height width one"], channels: int = 3
) -> Num[np.ndarray, "n height width {channels}"]:
    """Grey images as colour ones.

    Example:
      >>> replicate_channels(np.zeros((2, 4, 4, 1))).shape
      (2, 4, 4, 3)
    """
    check(
        x.ndim == 4 and x.shape[-1] == 1,
        f"x must be grey images of shape (n, height, width, 1); got {x.shape}.",
    )
    return np.repeat(x, channels, axis=-1)


def pad_images(
    x: Num[np.ndarray, "n height width channels"], size: int
) -> Num[np.ndarray, "n {size} {size} channels"]:
    """Images in the middle of a larger black square: MNIST's at MNIST-M's 32x32.

    Example:
      >>> pad_images(np.ones((1, 28, 28, 1)), 32)[0, :, 16, 0].astype(int)[:4].tolist()
      [0, 0, 1, 1]
    """
    check(
        size >= max(x.shape[1:3]),
        f"size must be at least that of the images, {x.shape[1:3]}; got {size}.",
    )
    margins = [((size - s) // 2, size - s - (size - s) // 2) for s in x.shape[1:3]]
    return np.pad(x, [(0, 0), *margins, (0, 0)])


def _clipped(x, clip):
    return x if clip is None else np.clip(x, *clip)


def _rank_within_owner(owner):
    order = np.argsort(owner, kind="stable")
    sizes = np.bincount(owner)
    rank = np.empty(len(owner), int)
    rank[order] = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return rank


def _taken(sizes, available, name, disjoint):
    needed = sum(sizes) if disjoint else max(sizes)
    check(
        needed <= available,
        f"the {name} domain has {available} rows; the owners ask for {needed}.",
    )
    starts = np.cumsum(sizes) - sizes if disjoint else np.zeros(len(sizes), int)
    return [np.arange(s, s + n) for s, n in zip(starts, sizes, strict=True)]
