r"""DAVINZ: the worth of a coalition's data to a network that was never trained.

$$\nu(S) = -\kappa \sqrt{\hat y_S^\top (\Theta_{SS} + \zeta I)^{-1} \hat y_S / m_S}
- d(T, S)$$

(Eq. 3) is a combination of two games, `complexity` of a Gram matrix and `discrepancy`
of kernel sums, and each answers structured questions from one factorisation.

The paper leaves $\nu(\emptyset)$ open. Whatever it is, it shifts the Shapley (or any
other semi-) values of all players by one constant and leaves ranks and leave-one-out
values alone. It is `empty_score` here, of each part 0 by default.

References:
  Wu, Shu and Low, *DAVINZ: Data Valuation using Deep Neural Networks at
  Initialization*, ICML 2022.
"""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Int

from jaxval._checks import check, finite, one_of, positive, whole_number
from jaxval._targets import numbers, owners
from jaxval.coalitions import queries
from jaxval.coalitions.algebra import combine
from jaxval.coalitions.game import Game
from jaxval.execution.precision import float64
from jaxval.games.complexity import (
    RegulariserWarning,
    complexity,
    complexity_of_features,
    complexity_of_forms,
    residual,
)
from jaxval.games.discrepancy import discrepancy
from jaxval.kernels.mmd import LADDER, kernel_sums, rbf_ladder
from jaxval.kernels.pairwise import median_distance
from jaxval.types import Dataset

__all__ = [
    "Davinz",
    "PAPER",
    "RELEASED_CODE",
    "RegulariserWarning",
    "Settings",
    "complexity",
    "complexity_of_features",
    "complexity_of_forms",
    "davinz",
    "discrepancy",
    "from_settings",
    "kappa_of_coalitions",
    "kappa_of_singletons",
    "mean_of_owners",
    "residual",
]


class Davinz(NamedTuple):
    r"""The DAVINZ game and its two parts, which are baselines of their own.

    Attributes:
      game: Game $-(\kappa \cdot$ complexity$) -$ discrepancy.
      complexity: Game $\sqrt{\hat y^\top H^{-1} \hat y / m}$; lower is better.
      discrepancy: MMD to the target sample; lower is better.
      kappa: Factor that makes the two comparable.
    """

    game: Game
    complexity: Game
    discrepancy: Game
    kappa: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Every choice that the paper leaves open or that its released code makes."""

    readout: Literal["true_class_logit", "single_output", "trace"]
    """The scalar whose gradients the kernel compares (`jaxval.kernels.readouts`)."""
    target: Literal["true_class_logit", "difference"]
    """What is left to learn (`residual`)."""
    init: Literal["ntk", "pytorch"]
    """How the network is drawn; the caller draws it."""
    bandwidths: tuple[float, ...]
    """Of the discrepancy's kernels, in units of `median_bandwidth`."""
    median_bandwidth: bool
    """Multiples of the median distance, or absolute numbers."""
    unbiased: bool = False
    """The discrepancy's estimate."""
    root: bool = True
    """Discrepancy or its square."""
    kappa: Literal["singletons", "coalitions"] | float
    """Eq. 4, the released code's rule, or a number."""
    zeta: float
    """Added to the kernel's diagonal."""
    relative_zeta: bool
    """In units of the mean diagonal entry."""
    num_blocks: int = 1
    """Fixed diagonal blocks of equal size kept of the kernel (appendix B)."""
    shuffle: bool = False
    """Mix the owners in the blocks by one random permutation."""

    def __post_init__(self):
        """Validates the settings eagerly."""
        one_of("readout", self.readout, ("true_class_logit", "single_output", "trace"))
        one_of("target", self.target, ("true_class_logit", "difference"))
        one_of("init", self.init, ("ntk", "pytorch"))
        if isinstance(self.kappa, str):
            one_of("kappa", self.kappa, ("singletons", "coalitions"))
        else:
            positive("kappa", self.kappa, zero=True)
        whole_number("num_blocks", self.num_blocks)
        positive("zeta", self.zeta, zero=True)


PAPER = Settings(
    readout="single_output",
    target="difference",
    init="ntk",
    bandwidths=LADDER,
    median_bandwidth=True,
    kappa="singletons",
    zeta=1e-3,
    relative_zeta=True,
)
"""The text: MK-MMD, Eq. 4 and a network of one output in the NTK parametrisation. Its
bandwidths and its "sufficiently small" zeta aren't stated: ours are relative to the
data and to the kernel. For a classifier take `readout="trace"`."""

RELEASED_CODE = Settings(
    readout="true_class_logit",
    target="true_class_logit",
    init="pytorch",
    bandwidths=(5.0,),
    median_bandwidth=False,
    kappa="coalitions",
    zeta=1e-4,
    relative_zeta=False,
    shuffle=True,
)
"""The authors' program: one kernel of bandwidth 5, kappa over the leave-one-outs.
`num_blocks` is 100 there for VGG and ResNet, 15 for CNN8 and 1 otherwise; it draws the
permutation anew for each coalition, while here it is one for all of them."""


def from_settings(
    settings: Settings,
    gram: Any,
    outputs: Any,
    data: Dataset,
    x_valid: Any,
    *,
    empty_score: float | Literal["mean_of_owners"] = 0.0,
    seed: int = 0,
) -> Davinz:
    r"""The DAVINZ game of a data set under one initialisation of a network.

    Average over initialisations by `combine`: one game per seed, weights 1/seeds.

    Args:
      settings: `PAPER`, `RELEASED_CODE`, or either with `dataclasses.replace`.
      gram: Gram matrix of the tangent kernel under `settings.readout`.
      outputs: Outputs of the network at initialisation on the same rows.
      data: Inputs, targets and owners of the rows to be valued.
      x_valid: Inputs of the target sample.
      empty_score: $\nu(\emptyset)$: a number, or the mean score of single owners, with
        which Shapley values add up to what pooling the data gains over the average
        owner's own. It shifts the semi-values of all players by one constant.
      seed: Seed of the permutation where `settings.shuffle`.

    Raises:
      ValueError: If lengths differ, an array holds text, NaN or infinity, or a setting
        does not fit the data.

    Example:
      >>> data = Dataset(np.eye(2), np.array([0, 1]), np.array([0, 1]))
      >>> parts = from_settings(
      ...     PAPER, np.eye(2), np.zeros((2, 2)), data, np.array([[0.5, 0.4]])
      ... )
      >>> parts.game.num_players, round(parts.kappa, 3)
      (2, 0.952)
    """
    owner = owners("data.owner", data.owner, num_rows=len(data.x))
    x, x_valid = numbers("data.x", data.x), numbers("x_valid", x_valid)
    targets = residual(outputs, data.y, settings.target)
    block = _blocks(len(owner), settings, seed)
    scale = {"zeta": settings.zeta, "relative": settings.relative_zeta}
    unit = median_distance(x, x_valid) if settings.median_bandwidth else 1.0
    sums = kernel_sums(x, owner, x_valid, rbf_ladder(unit, settings.bandwidths))
    mmd = {"unbiased": settings.unbiased, "root": settings.root}
    part = complexity(gram, targets, owner, block=block, **scale)
    distance = discrepancy(sums, **mmd)
    kappa = _kappa(settings.kappa, part, distance)
    if isinstance(empty_score, str):
        one_of("empty_score", empty_score, ("mean_of_owners",))
        part = _with_empty_score(part, mean_of_owners(part))
        nearness = -mean_of_owners(distance)
    else:
        finite("empty_score", empty_score)
        nearness = float(empty_score)
    distance = discrepancy(sums, **mmd, empty_score=-nearness)
    return davinz(part, distance, kappa=kappa)


def _kappa(rule, complexity, discrepancy) -> float:
    if rule == "coalitions":
        return kappa_of_coalitions(complexity, discrepancy)
    if rule == "singletons":
        return kappa_of_singletons(complexity, discrepancy)
    return float(rule)


def mean_of_owners(game: Game) -> float:
    """The mean score of single players, such as for `empty_score`.

    Args:
      game: Game to ask.

    Example:
      >>> mean_of_owners(Game(2, lambda mask: mask @ jnp.array([1.0, 3.0])))
      2.0
    """
    return float(np.mean(queries.scores(game, np.eye(game.num_players, dtype=bool))))


def _with_empty_score(game: Game, empty_score: float) -> Game:
    """The same game of `complexity` with another score of the empty coalition."""
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(game):
        fn = getattr(game, field.name)
        if isinstance(fn, Partial):
            (arrays,) = fn.args
            arrays = arrays._replace(empty_score=float64(empty_score))
            changed[field.name] = Partial(fn.func, arrays)
    return dataclasses.replace(game, **changed)


def _blocks(rows, settings, seed) -> Int[np.ndarray, " n"] | None:
    check(
        1 <= settings.num_blocks <= rows,
        f"num_blocks must lie between 1 and the {rows} rows; got "
        f"{settings.num_blocks}.",
    )
    if settings.num_blocks == 1:
        return None
    block = np.arange(rows) * settings.num_blocks // rows
    return np.random.default_rng(seed).permutation(block) if settings.shuffle else block


def davinz(complexity: Game, discrepancy: Game, *, kappa: float) -> Davinz:
    r"""The score of Eq. 3, $-\kappa\,c(S) - d(S)$, as a combination of its two parts.

    Args:
      complexity: Game of the complexity; see `complexity`.
      discrepancy: Game of the discrepancy; see `discrepancy`.
      kappa: Factor of the complexity: see `kappa_of_singletons` and
        `kappa_of_coalitions`, or any non-negative number.

    Raises:
      ValueError: If `kappa` is negative or not finite, or the players differ.

    Example:
      >>> one = Game(2, lambda mask: mask.sum() * 1.0)
      >>> float(davinz(one, one, kappa=2.0).game.score(jnp.array([True, False])))
      -3.0
    """
    positive("kappa", kappa, zero=True)
    game = combine((-kappa, -1.0), (complexity, discrepancy))
    return Davinz(game, complexity, discrepancy, kappa)


def kappa_of_singletons(complexity: Game, discrepancy: Game) -> float:
    r"""$\kappa$ of Eq. 4: mean discrepancy over mean complexity of the single owners.

    Only single owners are scored, so the game of contributor-aligned blocks,
    `complexity(..., block=owner)`, gives the same number as the full one at a
    fraction of the cost.

    Args:
      complexity: Game of the complexity.
      discrepancy: Game of the discrepancy.

    Raises:
      ValueError: If the complexity is 0 for every owner.

    Example:
      >>> game = Game(2, lambda mask: mask @ jnp.array([1.0, 3.0]))
      >>> kappa_of_singletons(game, 2.0 * game)
      2.0
    """
    singles = jnp.eye(complexity.num_players, dtype=bool)
    return _ratio(discrepancy.scores(singles), complexity.scores(singles))


def kappa_of_coalitions(complexity: Game, discrepancy: Game) -> float:
    r"""$\kappa$ of the released code: that ratio over $N$ and every $N \setminus i$.

    It is several times smaller than Eq. 4's where owners differ in size.

    Args:
      complexity: Game of the complexity.
      discrepancy: Game of the discrepancy.

    Raises:
      ValueError: If the complexity is 0 for all of these coalitions.

    Example:
      >>> game = Game(2, lambda mask: mask @ jnp.array([1.0, 3.0]))
      >>> kappa_of_coalitions(game, 2.0 * game)
      2.0
    """
    discrepancies, complexities = (
        np.r_[tuple(map(np.ravel, queries.leave_one_out_scores(game)))]
        for game in (discrepancy, complexity)
    )
    return _ratio(discrepancies, complexities)


def _ratio(above, below):
    above, below = np.asarray(above, float), np.asarray(below, float)
    check(
        bool(below.sum() > 0),
        "complexity is 0 for every coalition: the network already fits all targets, "
        "and kappa has nothing to balance. Give kappa as a number.",
    )
    return float(above.sum() / below.sum())
