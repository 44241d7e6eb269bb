"""Deals: which rows go to whom, whom they are validated by, and what comes later."""

import pathlib
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import numpy as np

from jaxval import datasets, models
from jaxval.ecoval import principal_components
from jaxval.ecoval.embeddings import trained_network
from jaxval.types import Dataset, Points, PRNGKey

__all__ = [
    "Contributors",
    "EmbeddedData",
    "Sample",
    "Sizes",
    "draw_sample",
    "embedded_data",
    "one_class_each",
]


class Contributors(NamedTuple):
    """Rows owned by contributors, and rows to validate by.

    Attributes:
      data: Training rows and their owners.
      valid: Validation rows of the classes that the contributors bring.
    """

    data: Dataset
    valid: Points


def one_class_each(
    key: PRNGKey,
    name: str,
    sizes: Sequence[int],
    num_valid: int,
    folder: pathlib.Path | None = None,
) -> Contributors:
    """Contributor `i` gets the first `sizes[i]` images of class `i`.

    Args:
      key: PRNG key of the split into training and validation images, of digits.
      name: Data set: `digits`, or an archive of the data folder.
      sizes: Images of each contributor.
      num_valid: Validation images, of all classes.
      folder: Data folder; the environment's JAXVAL_DATA when left out.

    Raises:
      ValueError: if a class has fewer images, or there is no such archive.

    Example:
      >>> deal = one_class_each(jax.random.key(0), "digits", (5, 7), 100)
      >>> deal.data.sizes.tolist(), np.unique(deal.valid.y).tolist()
      ([5, 7], [0, 1])
    """
    if name == "digits":
        split = datasets.digits(key, num_valid)
    else:
        split = datasets.load(name, folder, num_valid=num_valid)
    data = datasets.by_class(split.x_train, split.y_train, sizes)
    present = split.y_valid < len(sizes)
    return Contributors(data, Points(split.x_valid[present], split.y_valid[present]))


class Sizes(NamedTuple):
    """How many rows go where.

    Attributes:
      embedding: Rows to learn the embedding from, used for nothing else.
      points: Rows of B, to be valued.
      test: Rows of which half is for the utility, half held out for the curves.
      unseen: Rows to be valued out of sample.
      pool: Rows of the rest of the distribution.
    """

    embedding: int
    points: int
    test: int
    unseen: int
    pool: int


SIZES = {
    # 1,797 in all.
    "digits": Sizes(embedding=297, points=200, test=500, unseen=400, pool=400),
    # As many as in the paper: 200 + 2,000 + 17,800 of 20,000, and 10,000 unseen. Which
    # is which is drawn: each deal shuffles the first 30,000 images, unseen included,
    # where the paper keeps the unseen ones apart for good. The embedding has the next
    # 10,000 to itself.
    "mnist": Sizes(10_000, 200, 2_000, 10_000, 17_800),
    "cifar10": Sizes(10_000, 200, 2_000, 10_000, 17_800),
}


class EmbeddedData(NamedTuple):
    """All rows but the embedding's own, embedded.

    Attributes:
      points: Embedded rows and their classes.
      sizes: Rows of each part of a sample.
      accuracy: Accuracy of the embedding's network; `None` without a network.
      classes: Number of classes.
    """

    points: Points
    sizes: Sizes
    accuracy: float | None
    classes: int


def embedded_data(
    key: PRNGKey,
    name: Literal["digits", "mnist", "cifar10"],
    folder: pathlib.Path | None,
    embedding: Literal["network", "pca"],
    dims: int,
    training_steps: int,
) -> EmbeddedData:
    """Load the images, learn the embedding on rows of their own, embed the others.

    Args:
      key: PRNG key of the split, the network and the principal components.
      name: Data set: `digits`, or an archive of the data folder.
      folder: Data folder; the environment's JAXVAL_DATA when left out.
      embedding: Kind of embedding: the last hidden layer of a network, or the images'
        own principal components.
      dims: Principal components.
      training_steps: Minibatches of 64 that the network is trained on.

    Raises:
      ValueError: if the data folder has too few images.
    """
    sizes = SIZES[name]
    data_key, embed_key = jax.random.split(key)
    if name == "digits":
        split = datasets.digits(data_key, 1)
        x = np.concatenate([split.x_train, split.x_valid])
        y = np.concatenate([split.y_train, split.y_valid])
    else:
        split = datasets.load(name, folder, num_train=sum(sizes))
        x, y = split.x_train, split.y_train
    if len(x) < sum(sizes):
        raise ValueError(
            f"the study needs {sum(sizes)} training images of {name}; the data folder "
            f"has {len(x)}."
        )
    study, own = slice(0, len(x) - sizes.embedding), slice(-sizes.embedding, None)
    if embedding == "pca":
        embed, accuracy = principal_components(embed_key, x[own], dims), None
    else:
        epochs = max(1, round(64 * training_steps / sizes.embedding))
        embed, accuracy = trained_network(
            embed_key, models.cnn(10), x[own], y[own], epochs=epochs,
            num_components=dims,
        )  # fmt: skip
    return EmbeddedData(Points(embed(x[study]), y[study]), sizes, accuracy, 10)


class Sample(NamedTuple):
    """One deal of embedded rows.

    Attributes:
      points: B, to be valued.
      pool: Rest of the distribution.
      valid: Rows of the utility.
      held_out: Rows that no valuation sees, for the curves.
      unseen: Rows to be valued out of sample.
    """

    points: Points
    pool: Points
    valid: Points
    held_out: Points
    unseen: Points


def draw_sample(key: PRNGKey, data: EmbeddedData) -> Sample:
    """Shuffle the embedded rows and deal them out.

    Args:
      key: PRNG key of the order.
      data: Embedded rows and the sizes of the parts.
    """
    sizes, (x, y) = data.sizes, data.points
    order = np.asarray(jax.random.permutation(key, len(x)))
    counts = (
        sizes.points,
        sizes.test - sizes.test // 2,
        sizes.test // 2,
        sizes.unseen,
        sizes.pool,
    )
    parts = np.split(order[: sum(counts)], np.cumsum(counts)[:-1])
    own, valid, held_out, unseen, pool = (Points(x[rows], y[rows]) for rows in parts)
    return Sample(own, pool, valid, held_out, unseen)
