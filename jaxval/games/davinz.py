r"""DAVINZ: the worth of a coalition's data to a network that was never trained.

$$\nu(S) = -\kappa \sqrt{\hat y_S^\top (\Theta_{SS} + \zeta I)^{-1} \hat y_S / m_S}
- d(T, S)$$

(Eq. 3) is a combination of two games, `complexity` of a Gram matrix and `discrepancy`
of kernel sums, and each answers structured questions from one factorisation.

The paper leaves $\nu(\emptyset)$ open. Whatever it is, it shifts the Shapley (or any
other semi-) values of all players by one constant and leaves ranks and leave-one-out
values alone. Both games pay `empty`, 0 unless told otherwise, to nobody.

References:
  Wu, Shu and Low, *DAVINZ: Data Valuation using Deep Neural Networks at
  Initialization*, ICML 2022.
"""

import dataclasses
import functools
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, Num

from jaxval._checks import check, positive
from jaxval.coalitions import queries
from jaxval.coalitions.algebra import combine
from jaxval.coalitions.game import Game
from jaxval.execution.precision import float64, in_double
from jaxval.games.complexity import (
    RegulariserWarning,
    complexity,
    complexity_of_features,
    complexity_of_forms,
    residual,
)
from jaxval.kernels.mmd import (
    LADDER,
    KernelSums,
    kernel_sums,
    median_distance,
    mmd_from_totals,
    rbf_ladder,
)
from jaxval.linalg import additive_table, pairwise_table
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
    "residual",
]


class Davinz(NamedTuple):
    r"""The DAVINZ game and what it is made of: two of its rivals come for nothing.

    Attributes:
      game: $-(\kappa \cdot$ complexity$) -$ discrepancy.
      complexity: $\sqrt{\hat y^\top H^{-1} \hat y / m}$; lower is better.
      discrepancy: MMD to the target sample; lower is better.
      kappa: the factor that makes the two comparable.
    """

    game: Game
    complexity: Game
    discrepancy: Game
    kappa: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Every choice that the paper leaves open or that its released code makes."""

    readout: Literal["own_logit", "only", "trace"]
    """The scalar whose gradients the kernel compares (`jaxval.kernels.readouts`)."""
    target: Literal["own_logit", "difference"]
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


PAPER = Settings(
    readout="only",
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
    readout="own_logit",
    target="own_logit",
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
    gram: Float[Array, "n n"] | Float[np.ndarray, "n n"],
    outputs: Float[Array, "n outputs"] | Float[np.ndarray, "n outputs"],
    dataset: Dataset,
    x_valid: Num[Array, "m ..."] | Num[np.ndarray, "m ..."],
    *,
    seed: int = 0,
) -> Davinz:
    """The DAVINZ game of a data set under one initialisation of a network.

    Average over initialisations by `combine`: one game a seed, weights 1/seeds.

    Args:
      settings: `PAPER`, `RELEASED_CODE`, or either with `dataclasses.replace`.
      gram: the tangent kernel under `settings.readout`.
      outputs: of the network at initialisation on the same rows.
      dataset: inputs, targets, owners.
      x_valid: the target sample.
      seed: of the permutation where `settings.shuffle`.
    """
    owner = np.asarray(dataset.owner)
    left = residual(outputs, dataset.y, settings.target)
    block = _blocks(len(owner), settings, seed)
    scale = {"zeta": settings.zeta, "relative": settings.relative_zeta}
    whole = complexity(gram, left, owner, block=block, **scale)
    unit = median_distance(dataset.x, x_valid) if settings.median_bandwidth else 1.0
    sums = kernel_sums(dataset.x, owner, x_valid, rbf_ladder(unit, settings.bandwidths))
    far = discrepancy(sums, unbiased=settings.unbiased, root=settings.root)
    if isinstance(settings.kappa, float | int):
        return davinz(whole, far, kappa=float(settings.kappa))
    if settings.kappa == "coalitions":
        return davinz(whole, far, kappa=kappa_of_coalitions(whole, far))
    return davinz(whole, far, kappa=kappa_of_singletons(whole, far))


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
    """The score of Eq. 3 as a combination of its two parts.

    Args:
      complexity: see `complexity`.
      discrepancy: see `discrepancy`.
      kappa: see `kappa_of_singletons`, `kappa_of_coalitions`, or any positive number.
    """
    positive("kappa", kappa, zero=True)
    game = combine((-kappa, -1.0), (complexity, discrepancy))
    return Davinz(game, complexity, discrepancy, kappa)


def kappa_of_singletons(complexity: Game, discrepancy: Game) -> float:
    r"""$\kappa$ of Eq. 4: mean discrepancy over mean complexity of the single owners.

    Only single owners are scored, so the game of contributor-aligned blocks,
    `complexity(..., block=owner)`, gives the same number as the full one at a
    fraction of the price.
    """
    singles = jnp.eye(complexity.num_players, dtype=bool)
    return _ratio(discrepancy.scores(singles), complexity.scores(singles))


def kappa_of_coalitions(complexity: Game, discrepancy: Game) -> float:
    r"""$\kappa$ of the released code: that ratio over $N$ and every $N \setminus i$.

    It is several times smaller than Eq. 4's where owners differ in size.
    """
    ask = lambda game: np.r_[tuple(map(np.ravel, queries.leave_one_out_scores(game)))]
    return _ratio(ask(discrepancy), ask(complexity))


def _ratio(above, below):
    above, below = np.asarray(above, float), np.asarray(below, float)
    check(
        bool(below.sum() > 0),
        "complexity is 0 for every coalition: the network already fits all targets, "
        "and kappa has nothing to balance. Give kappa as a number.",
    )
    return float(above.sum() / below.sum())


def discrepancy(
    sums: KernelSums, *, unbiased: bool = False, root: bool = True, empty: float = 0.0
) -> Game:
    r"""$v(S) = \mathrm{MMD}(S, T)$ of a coalition's rows to the target sample.

    Args:
      sums: see `jaxval.kernels.mmd.kernel_sums`.
      unbiased: leave the diagonal out of the means; the biased estimate (paper and
        released code) makes small coalitions look far away.
      root: MMD, not its square; 0 where an unbiased square is negative.
      empty: $v(\emptyset)$.
    """
    known = (sums, float64(empty))
    score, powerset = _MMD[unbiased, root]
    return Game(
        len(sums.sizes), Partial(score, known), fast_powerset=Partial(powerset, known)
    )


def _mmd_score(unbiased, root, known, mask):
    sums, inside = known[0], mask.astype(jnp.float64)
    totals = inside @ sums.between @ inside, inside @ sums.to_valid, inside @ sums.sizes
    return _or_empty(known, totals, unbiased, root)


def _mmd_powerset(unbiased, root, known):
    sums = known[0]
    totals = (
        pairwise_table(sums.between),
        additive_table(sums.to_valid),
        additive_table(sums.sizes),
    )
    return _or_empty(known, totals, unbiased, root)


def _or_empty(known, totals, unbiased, root):
    sums, empty = known
    within, across, size = totals
    some = jnp.maximum(size, 1.0)
    value = mmd_from_totals(sums, within, across, some, unbiased, root)
    return jnp.where(size > 0, value, empty)


# One function object for each choice, so that games of a kind share their programs.
_MMD = {
    (unbiased, root): tuple(
        in_double(functools.partial(fn, unbiased, root))
        for fn in (_mmd_score, _mmd_powerset)
    )
    for unbiased in (False, True)
    for root in (False, True)
}
