"""One training run as a pure function of (key, variables, data, coalition)."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int, Num

from jaxval._checks import check, positive
from jaxval.training.losses import LossFn, cross_entropy
from jaxval.training.network import Network, Variables
from jaxval.types import PRNGKey, Scalar

__all__ = [
    "Recipe",
    "Trained",
    "epoch_order",
    "train",
    "until_settled",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    r"""How to train: everything about a run but its data.

    An epoch goes once through the coalition's own $m$ points, in
    $\lceil m / b \rceil$ steps: smaller coalitions take fewer. The run ends after
    `epochs` epochs, or from `min_epochs` on when the loss of an epoch differs from the
    one before by less than `stop_below` without being equal to it.

    Attributes:
      optimizer: Optax transformation.
      loss: Loss with one entry per row; its mean over the minibatch is descended.
      batch_size: Batch size $b$; `None` takes all points of the coalition at once.
      epochs: Epochs at most.
      min_epochs: Epochs at least.
      stop_below: Change of the loss below which the run ends; 0 never stops early.

    Raises:
      ValueError: If a number is negative, `batch_size` is 0, or `min_epochs` exceeds
        `epochs`.

    Example:
      >>> Recipe(epochs=5).batch_size
      128
    """

    optimizer: optax.GradientTransformation = optax.sgd(0.01)
    loss: LossFn = cross_entropy
    batch_size: int | None = 128
    epochs: int = 300
    min_epochs: int = 0
    stop_below: float = 0.0

    def __post_init__(self):
        check(
            self.batch_size is None or self.batch_size >= 1,
            f"batch_size must be at least 1, or None for all points; got "
            f"{self.batch_size}.",
        )
        check(
            0 <= self.min_epochs <= self.epochs,
            f"epochs must be at least min_epochs, and neither negative; got epochs = "
            f"{self.epochs} and min_epochs = {self.min_epochs}.",
        )
        positive("stop_below", self.stop_below, zero=True)


def until_settled(threshold: float = 1e-6, **changes: Any) -> Recipe:
    """The recipe of a ground truth: train until the loss no longer moves.

    At least 50 and at most 1,000 epochs of plain SGD, as DAVINZ's authors ran their
    image networks (1e-8 for the deep ones, 1e-6 for the small CNN).

    Args:
      threshold: Change of the loss, the recipe's `stop_below`.
      **changes: Other fields of the recipe.

    Example:
      >>> until_settled(epochs=200).min_epochs
      50
    """
    settled = Recipe(epochs=1000, min_epochs=50, stop_below=threshold)
    return dataclasses.replace(settled, **changes)


class Trained(NamedTuple):
    """Where a run ended.

    Attributes:
      variables: Parameters and state; the initial ones for an empty coalition.
      loss: Mean training loss over the last epoch, infinite if there was none.
      epochs: Epochs run.
    """

    variables: Variables
    loss: Scalar
    epochs: Int[Array, ""]


class _Run(NamedTuple):
    variables: Variables
    slots: Any
    epoch: Int[Array, ""]
    loss: Scalar
    settled: Bool[Array, ""]


def train(
    key: PRNGKey,
    network: Network,
    variables: Variables,
    x: Num[Array, "n ..."],
    y: Num[Array, "n ..."],
    present: Bool[Array, " n"],
    recipe: Recipe,
) -> Trained:
    """Train on the rows that are present; the others have no influence at all.

    A coalition trained through its mask equals the same rows trained alone with the
    same key, because minibatches are drawn by the rank of a row among those present,
    and because what fills the last minibatch up are present rows of weight zero. All
    shapes are fixed, so that runs of different coalitions can be vmapped: then all
    take as many steps as the largest, and those that have finished stand still.

    Args:
      key: PRNG key for the order of the minibatches.
      network: Network to train.
      variables: Variables to start from.
      x: Inputs, one per row.
      y: Targets, as the recipe's loss wants them.
      present: Mask of the coalition's rows.
      recipe: Optimiser, loss, minibatches, epochs.

    Example:
      >>> linear = Network(
      ...     init=lambda key: Variables(jnp.zeros((1, 1))),
      ...     train=lambda v, x, weights: (x @ v.params, ()),
      ...     apply=lambda v, x: x @ v.params,
      ... )
      >>> from jaxval.training.losses import squared_error
      >>> recipe = Recipe(loss=squared_error, optimizer=optax.sgd(0.1), epochs=50)
      >>> x, y = jnp.array([[1.0], [2.0], [9.0]]), jnp.array([3.0, 6.0, 0.0])
      >>> key = jax.random.key(0)
      >>> present = jnp.array([True, True, False])
      >>> out = train(key, linear, linear.init(key), x, y, present, recipe)
      >>> round(float(out.variables.params[0, 0]), 4)
      3.0

    References:
      Wu, Shu and Low, *DAVINZ*, ICML 2022, section 6 and appendix D.
    """
    rows = jnp.argsort(~present, stable=True)
    size = jnp.sum(present)
    batch = min(recipe.batch_size or x.shape[0], x.shape[0])
    steps = (size + batch - 1) // batch

    def step(i, carry):
        variables, slots, total, order = carry
        place = i * batch + jnp.arange(batch)
        index = order[jnp.minimum(place, size - 1)]
        weights = (place < size).astype(jnp.result_type(float))
        grad_fn = jax.value_and_grad(_loss, has_aux=True)
        (loss, state), grads = grad_fn(
            variables.params, variables.state, network, recipe, x[index], y[index],
            weights,
        )  # fmt: skip
        updates, slots = recipe.optimizer.update(grads, slots, variables.params)
        params = optax.apply_updates(variables.params, updates)
        return Variables(params, state), slots, total + loss * weights.sum(), order

    def epoch(run):
        order = epoch_order(jax.random.fold_in(key, run.epoch), rows, size)
        start = (run.variables, run.slots, jnp.zeros(()), order)
        variables, slots, total, _ = jax.lax.fori_loop(0, steps, step, start)
        loss = total / size
        change = jnp.abs(loss - run.loss)
        settled = (change > 0) & (change < recipe.stop_below)
        settled &= run.epoch + 1 >= recipe.min_epochs
        return _Run(variables, slots, run.epoch + 1, loss, settled)

    def goes_on(run):
        return (run.epoch < recipe.epochs) & ~run.settled & (size > 0)

    slots = recipe.optimizer.init(variables.params)
    start = _Run(
        variables, slots, jnp.zeros((), jnp.int32), jnp.asarray(jnp.inf), size < 0
    )
    end = jax.lax.while_loop(goes_on, epoch, start)
    return Trained(end.variables, end.loss, end.epoch)


def _loss(params, state, network, recipe, x, y, weights):
    outputs, state = network.train(Variables(params, state), x, weights)
    losses = recipe.loss(outputs, y)
    return jnp.sum(losses * weights) / jnp.sum(weights), state


def epoch_order(
    key: PRNGKey, rows: Int[Array, " n"], size: Int[Array, ""]
) -> Int[Array, " n"]:
    """The first `size` entries of `rows` in random order, and then the others.

    The number that decides the place of a row is made from its rank alone: how many
    rows there are behind `size` changes nothing, which random bits drawn for a whole
    array at once wouldn't promise.

    Args:
      key: PRNG key for the order.
      rows: Row numbers.
      size: Leading entries to shuffle.

    Example:
      >>> order = epoch_order(jax.random.key(0), jnp.arange(5), jnp.asarray(3))
      >>> sorted(order[:3].tolist()), order[3:].tolist()
      ([0, 1, 2], [3, 4])
    """
    ranks = jnp.arange(rows.shape[0])

    # 32 bits in double precision too: of 64 nearly all exceed the largest number below.
    def draw(rank):
        return jax.random.bits(jax.random.fold_in(key, rank), dtype=jnp.uint32)

    # Rows behind `size` get the largest number and, the sort being stable, stay last.
    largest = jnp.uint32(0xFFFFFFFF)
    priority = jnp.where(ranks < size, jax.vmap(draw)(ranks), largest)
    return rows[jnp.argsort(priority, stable=True)]
