"""What predicts a leave-one-out value: each method as a function of one key.

A method gives all values that it can from the same work, by the names of the table:
DAVINZ and its complexity share one Gram matrix, and each is charged for all of it.
"""

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxval import models
from jaxval.attribution import influence as influences
from jaxval.attribution.solvers import conjugate_gradient
from jaxval.coalitions.game import Game
from jaxval.experiments.parts.deals import Contributors
from jaxval.games import at_initialisation as untrained
from jaxval.games import davinz, size, volume
from jaxval.kernels import readouts, tangent
from jaxval.runner.cache import cached
from jaxval.runner.contract import SILENT, Context
from jaxval.semivalues import exact
from jaxval.training import (
    Recipe,
    as_matrix_products,
    cross_entropy,
    from_module,
    on_cpu,
    train,
)
from jaxval.types import Points, PRNGKey

__all__ = ["METHODS", "Method", "Setup", "run"]

Values = Float[np.ndarray, " players"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setup:
    """The network that methods look at, and how it is trained where they train it.

    Attributes:
      width: Factor on the channels of the paper's small convolutional network.
      recipe: Recipe of the ground truth, for methods that train once.
    """

    width: float
    recipe: Recipe

    def module(self, **options: Any) -> Any:
        """The network, with options of `models.cnn`."""
        return models.cnn(width=self.width, **options)


@runtime_checkable
class Method(Protocol):
    """Leave-one-out values, predicted without training the coalitions."""

    def __call__(
        self, key: PRNGKey, deal: Contributors, setup: Setup
    ) -> dict[str, Values]:
        """Values of the contributors, by the name of the method."""
        ...


def run(
    keys: Sequence[PRNGKey],
    deal: Contributors,
    methods: Mapping[str, Method],
    setup: Setup,
    context: Context = SILENT,
) -> tuple[dict[str, Float[np.ndarray, "inits players"]], dict[str, float]]:
    """Values by every method under every initialisation, each kept when it is through.

    Args:
      keys: PRNG keys, one per initialisation.
      deal: Rows of the contributors and of the validation set.
      methods: Methods, by the names under which their values are kept.
      setup: Network and recipe.
      context: Progress, and the folder where values are kept.

    Returns:
      Values by label, one initialisation per row, and the mean seconds of one.
    """
    rows: dict[str, list[np.ndarray]] = {}
    spent: dict[str, list[float]] = {}
    total = len(methods) * len(keys)
    with context.progress("without training the coalitions") as update:
        for done, (name, i) in enumerate(itertools.product(methods, range(len(keys)))):
            update(done, total, name)
            # One key for each method and initialisation.
            key = jax.random.fold_in(keys[i], list(methods).index(name))
            work = functools.partial(methods[name], key, deal, setup)
            values, seconds = cached(context.scratch, f"{name}-{i}", work)
            for label, each in values.items():
                rows.setdefault(label, []).append(each)
                spent.setdefault(label, []).append(seconds)
        update(total, total)
    stacked = {label: np.stack(each) for label, each in rows.items()}
    return stacked, {label: float(np.mean(each)) for label, each in spent.items()}


@dataclasses.dataclass(frozen=True)
class _Davinz:
    """DAVINZ and its complexity.

    Attributes:
      settings: Settings of the paper or of the released code.
      whose: Whose they are, in the names of the values.
    """

    settings: davinz.Settings
    whose: str

    def __call__(self, key, deal, setup):
        """Both from one Gram matrix."""
        settings = self.settings
        built = models.NTK if settings.init == "ntk" else models.PYTORCH
        module = setup.module(parametrisation=built)
        apply_fn = models.apply_fn(module)
        params = models.init(key, module, deal.data.x)
        own = settings.readout == "true_class_logit"
        gram = tangent.gram(
            apply_fn,
            params,
            Points(deal.data.x, deal.data.y) if own else deal.data.x,
            readout=readouts.true_class_logit if own else readouts.trace(10),
        )
        outputs = jax.jit(apply_fn)(params, deal.data.x)
        game = davinz.from_settings(settings, gram, outputs, deal.data, deal.valid.x)
        # Complexity is a cost: a contributor is worth what it rises by without it.
        return {
            f"DAVINZ, {self.whose}": _leave_one_out(game.game),
            f"complexity alone, {self.whose}": _leave_one_out(-game.complexity),
        }


def _discrepancy(key, deal, setup):
    sums = untrained.similarity(deal.data, deal.valid.x)
    return {"discrepancy alone": _leave_one_out(-davinz.discrepancy(sums))}


def _kernel_regression(key, deal, setup):
    game = untrained.kernel_regression_game(
        key, setup.module(), deal.data, deal.valid, penalty=1e-3
    )
    return {"kernel regression, NTK": _leave_one_out(game)}


def _size(key, deal, setup):
    return {"size": _leave_one_out(size.size(deal.data.owner))}


def _random(key, deal, setup):
    return {"random": np.asarray(jax.random.normal(key, (deal.data.num_owners,)))}


# One compiled program for all keys, which is why network and recipe are made alike.
_fit = jax.jit(train, static_argnums=(1, 6))


def _trained(key, deal, setup):
    network = on_cpu(from_module(setup.module(), deal.data.x))
    init_key, order_key = jax.random.split(key)
    x, y = jnp.asarray(deal.data.x), jnp.asarray(deal.data.y)
    present, start = jnp.ones(len(y), bool), network.init(init_key)
    fitted = _fit(order_key, network, start, x, y, present, setup.recipe)
    return fitted.variables.params


# The Hessian of a network has negative eigenvalues, and with damping of 0.01 or 0.1
# conjugate gradients don't solve for it (0.4 and 0.5 of the gradient left, on digits).
_DAMPING = 1.0


def _influence(key, deal, setup):
    each = influences.influences(
        as_matrix_products(models.apply_fn(setup.module())),
        _trained(key, deal, setup),
        cross_entropy,
        deal.data,
        deal.valid,
        damping=_DAMPING,
        inverse=conjugate_gradient(max_steps=20),
    )
    return {"influence functions": influences.influence(each, deal.data.owner)}


def _robust_volume(key, deal, setup):
    apply_fn = jax.jit(models.apply_fn(setup.module()))
    outputs = apply_fn(_trained(key, deal, setup), deal.data.x)
    features = volume.standardise(np.asarray(outputs))
    game = volume.robust_volume(features, deal.data.owner)
    return {"robust volume": _leave_one_out(game)}


def _leave_one_out(game: Game) -> Values:
    return np.asarray(exact.leave_one_out(game).values)


_PAPER = dataclasses.replace(davinz.PAPER, readout="trace")

METHODS: dict[str, Method] = {
    "davinz-paper": _Davinz(_PAPER, "paper's settings"),
    "davinz-code": _Davinz(davinz.RELEASED_CODE, "released code's"),
    "discrepancy": _discrepancy,
    "kernel-regression": _kernel_regression,
    "influence": _influence,
    "robust-volume": _robust_volume,
    "size": _size,
    "random": _random,
}
"""The methods by the names under which their values are kept."""
