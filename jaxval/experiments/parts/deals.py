"""Data of the `ecoval` experiment: embedded once, dealt out anew for each draw."""

import pathlib
from typing import Literal, NamedTuple

import jax
import numpy as np

from jaxval import datasets, models
from jaxval.ecoval import principal_components
from jaxval.ecoval.embeddings import trained_network
from jaxval.types import Points

__all__ = ["Draw", "Material", "Sizes", "deal", "material"]

Name = Literal["digits", "mnist", "cifar10"]


class Sizes(NamedTuple):
    """How many rows go where.

    Attributes:
      embedding: to learn the embedding from, and used for nothing else.
      points: B, to be valued.
      test: half for the utility, half held out for the curves.
      unseen: to be valued later.
      pool: the rest of the distribution.
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


class Material(NamedTuple):
    """Everything but the embedding's own rows, embedded."""

    points: Points
    sizes: Sizes
    accuracy: float | None
    classes: int


class Draw(NamedTuple):
    """One deal of the rows."""

    points: Points
    pool: Points
    valid: Points
    held_out: Points
    unseen: Points


def material(
    name: Name,
    folder: pathlib.Path | None,
    embedding: Literal["network", "pca"],
    dims: int,
    training_steps: int,
    seed: int,
) -> Material:
    """Load, learn the embedding on rows of their own, embed the others."""
    sizes, key = SIZES[name], jax.random.key(seed)
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
            f"the experiment needs {sum(sizes)} training images of {name}; the data "
            f"folder has {len(x)}."
        )
    study, own = slice(0, len(x) - sizes.embedding), slice(-sizes.embedding, None)
    if embedding == "network":
        epochs = max(1, round(64 * training_steps / sizes.embedding))
        learned = trained_network(
            embed_key,
            models.cnn(10),
            x[own],
            y[own],
            epochs=epochs,
            num_components=dims,
        )
        embed, accuracy = learned.embed, learned.accuracy
    else:
        embed, accuracy = principal_components(embed_key, x[own], dims), None
    return Material(Points(embed(x[study]), y[study]), sizes, accuracy, 10)


def deal(key: jax.Array, known: Material) -> Draw:
    """Shuffle the study's rows and deal them out."""
    sizes = known.sizes
    order = np.asarray(jax.random.permutation(key, len(known.points.x)))
    counts = (
        sizes.points,
        sizes.test - sizes.test // 2,
        sizes.test // 2,
        sizes.unseen,
        sizes.pool,
    )
    parts = np.split(order[: sum(counts)], np.cumsum(counts)[:-1])
    own, valid, held, unseen, pool = (
        Points(known.points.x[rows], known.points.y[rows]) for rows in parts
    )
    return Draw(own, pool, valid, held, unseen)
