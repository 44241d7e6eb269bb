"""Embeddings from a network of ours, trained on data that are not to be valued."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Int, Num

from jaxval import models, training
from jaxval._checks import check, finite, same_length
from jaxval.ecoval.components import Embedding, principal_components
from jaxval.training import losses
from jaxval.types import PRNGKey

__all__ = ["Learned", "trained_network"]


class Learned(NamedTuple):
    """An embedding and how well its network classifies.

    Attributes:
      embed: Function from rows to features.
      accuracy: Accuracy of the network on the tenth of its rows, drawn at random, that
        it was not trained on.
    """

    embed: Embedding
    accuracy: float


def trained_network(
    key: PRNGKey,
    module: Any,
    x: Num[np.ndarray, "n ..."],
    y: Int[np.ndarray, " n"],
    *,
    epochs: int = 10,
    num_components: int | None = 32,
) -> Learned:
    """Train a classifier and take its last hidden layer, as the paper does.

    A random tenth of the rows is kept out of training, to say how good the network is.

    Args:
      key: PRNG key of the initial weights, the minibatches and the rows kept out.
      module: Network of `jaxval.models`.
      x: Inputs of a split that is neither valued, nor validated on, nor unseen.
      y: Class numbers of these rows, 0 to the network's outputs - 1.
      epochs: Epochs of Adam at 1e-3, in minibatches of 64.
      num_components: Principal components of the hidden layer to keep; all of it when
        `None` (a full covariance of 512 dimensions fits little but its regulariser).

    Raises:
      ValueError: with fewer than 20 rows, or rows and classes that can't be learned.

    Example:
      >>> from jaxval import models
      >>> x = np.repeat(np.eye(4, 6), 10, axis=0)
      >>> network = models.MLP((8,), num_outputs=4)
      >>> learned = trained_network(
      ...     jax.random.key(0), network, x, np.arange(40) // 10, num_components=3
      ... )
      >>> learned.embed(x[:5]).shape
      (5, 3)

    References:
      Tarun et al., *EcoVal*, KDD 2024, Algorithm 1, lines 4 and 5.
    """
    x, y = np.asarray(x), np.asarray(y)
    same_length(x=x, y=y)
    check(len(x) >= 20, f"an embedding needs at least 20 rows; got {len(x)}.")
    check(epochs >= 1, f"epochs must be at least 1; got {epochs}.")
    finite("x", x)
    without_head = models.headless(module)
    _check_classes(y, module)
    init_key, train_key, axes_key, split_key = jax.random.split(key, 4)
    inputs, labels = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.int32)
    network = _network(module, inputs)
    recipe = training.Recipe(optimizer=optax.adam(1e-3), batch_size=64, epochs=epochs)
    # Rows often come sorted by class: their last tenth would be one class alone.
    taught = jax.random.permutation(split_key, len(x)) >= len(x) // 10
    fit = jax.jit(
        lambda k, v, x, y: training.train(k, network, v, x, y, taught, recipe)
    )
    variables = fit(train_key, network.init(init_key), inputs, labels).variables
    outputs = jax.jit(lambda v, x: training.predict(network, v, x))
    held = np.flatnonzero(~np.asarray(taught))
    hits = losses.accuracy(outputs(variables, inputs[held]), labels[held])
    accuracy = float(np.mean(np.asarray(hits, np.float64)))
    hidden = _network(without_head, inputs)
    look = jax.jit(lambda v, x: training.predict(hidden, v, x))

    def features(rows):
        return np.asarray(look(variables, jnp.asarray(rows, jnp.float32)))

    if num_components is None:
        return Learned(features, accuracy)
    turn = principal_components(axes_key, features(x), num_components)
    return Learned(lambda rows: turn(features(rows)), accuracy)


def _check_classes(y, module) -> None:
    check(
        y.ndim == 1 and np.issubdtype(y.dtype, np.integer),
        f"y must be a vector of class numbers; got shape {y.shape} of {y.dtype}.",
    )
    outputs = module.num_outputs
    check(
        int(y.min()) >= 0 and int(y.max()) < outputs,
        f"y must hold class numbers from 0 to {outputs - 1}, as the network has "
        f"{outputs} outputs; got {y.min()} to {y.max()}. Renumber them, or give the "
        "network more outputs.",
    )


def _network(module, x):
    network = training.from_module(module, x[:1])
    on_cpu = jax.default_backend() == "cpu"
    return training.on_cpu(network) if on_cpu else network
