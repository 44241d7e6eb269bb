r"""The Ising data of DAVINZ's regression tables, generated.

The published set holds configurations of $8 \times 8$ spins with their energies, spread
about evenly over $[-128, 128]$. A Markov chain at one temperature shows a narrow band
of energies only, so chains run at many, and rows are drawn evenly from the levels met.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxval._checks import check
from jaxval.datasets._arrays import generator
from jaxval.types import PRNGKey, Split

__all__ = ["Ising", "ising", "ising_energy", "ising_split"]

_COLDEST = 0.9
_WARM_UP = 60
_SWEEPS_APART = 3
_SNAPSHOTS = 24


class Ising(NamedTuple):
    """Configurations and their energies.

    Attributes:
      x: Spins, -1 or 1, with a last axis of one channel.
      energy: Energy of each configuration.
    """

    x: Float[np.ndarray, "n size size 1"]
    energy: Float[np.ndarray, " n"]

    @property
    def y(self) -> Float[np.ndarray, " n"]:
        r"""Energies scaled to $[0, 1]$ from their possible range $\pm 2L^2$."""
        bound = 2 * self.x.shape[1] ** 2
        return ((self.energy + bound) / (2 * bound)).astype(np.float32)


def ising_energy(spins: Float[np.ndarray, "n size size"]) -> Float[np.ndarray, " n"]:
    r"""$E = -\sum_{\langle ij \rangle} s_i s_j$ over neighbours on a torus.

    Example:
      >>> ising_energy(np.ones((1, 8, 8))).tolist()
      [-128.0]
    """
    bonds = sum(np.einsum("nij,nij->n", spins, np.roll(spins, 1, i)) for i in (1, 2))
    return -np.asarray(bonds)


def ising(key: PRNGKey, n: int, *, size: int = 8) -> Ising:
    r"""`n` configurations whose energies are spread evenly over all levels.

    Chains at inverse temperatures from 0 to 0.9 are swept by Metropolis moves on one
    sublattice after the other. Turning one sublattice over changes the sign of the
    energy, so half of the snapshots are turned and no chain runs at a negative
    temperature. Rare levels repeat configurations, as they do in the published set:
    the lowest has only two.

    Args:
      key: PRNG key for the chains and the choice of states.
      n: Number of configurations.
      size: $L$, the side of the lattice; even.

    Returns:
      The configurations in random order, and their energies.

    Raises:
      ValueError: if `n` isn't positive or `size` isn't even.

    Example:
      >>> import jax
      >>> data = ising(jax.random.key(0), 100)
      >>> data.x.shape, float(data.y.min()) >= 0, float(data.y.max()) <= 1
      ((100, 8, 8, 1), True, True)

    References:
      Mills, Spanner and Tamblyn, *Deep learning and the Schroedinger equation*, 2017,
      and *Extensive deep neural networks*, 2019, whose data this stands for.
    """
    check(n >= 1, f"n must be at least 1; got {n}.")
    check(size >= 2 and size % 2 == 0, f"size must be even and at least 2; got {size}.")
    rng = generator(key)
    num_chains = max(256, -(-3 * n // _SNAPSHOTS))
    pool = _chains(rng, num_chains, size)
    turned = rng.random(len(pool)) < 0.5
    pool[turned] *= _sublattice(size).astype(np.int8) * 2 - 1
    energy = ising_energy(pool.astype(np.float32))
    chosen = _evenly(rng, energy, n)
    return Ising(pool[chosen, :, :, None].astype(np.float32), energy[chosen])


def ising_split(
    key: PRNGKey, num_train: int = 12_787, num_valid: int = 10_000
) -> Split:
    """Ising data with energies scaled to [0, 1]; the defaults are those of Table 7.

    Example:
      >>> import jax
      >>> ising_split(jax.random.key(0), 80, 20).x_valid.shape
      (20, 8, 8, 1)
    """
    data = ising(key, num_train + num_valid)
    x, y = data.x, data.y
    return Split(x[:num_train], y[:num_train], x[num_train:], y[num_train:])


def _sublattice(size):
    return np.indices((size, size)).sum(0) % 2 == 0


def _chains(rng, num_chains, size):
    """Snapshots of chains at inverse temperatures from 0 to the coldest."""
    spins = rng.choice(np.array([-1, 1], np.int8), (num_chains, size, size))
    cold = np.linspace(0, _COLDEST, num_chains, dtype=np.float32)
    # Energies change fastest near the critical temperature: every other chain is there.
    critical = 0.5 * np.log1p(np.sqrt(2))
    cold[::2] = critical + np.linspace(-0.15, 0.15, len(cold[::2]))
    # A chance for each sum of four neighbours times the spin: -4, -2, 0, 2, 4.
    chances = np.exp(-2 * cold[:, None] * np.arange(-4, 5, dtype=np.float32))
    chances = np.ascontiguousarray(np.minimum(chances, 1))
    rows = np.arange(num_chains)[:, None]
    parities = [np.nonzero(_sublattice(size) == parity) for parity in (True, False)]
    snapshots = []
    for sweep in range(_WARM_UP + _SNAPSHOTS * _SWEEPS_APART):
        for i, j in parities:
            around = (
                spins[:, i - 1, j]
                + spins[:, (i + 1) % size, j]
                + spins[:, i, j - 1]
                + spins[:, i, (j + 1) % size]
            )
            aligned = around * spins[:, i, j]
            uniform = rng.random(aligned.shape, np.float32)
            flips = uniform < chances[rows, aligned.astype(np.intp) + 4]
            spins[:, i, j] = np.where(flips, -spins[:, i, j], spins[:, i, j])
        if sweep >= _WARM_UP and (sweep - _WARM_UP) % _SWEEPS_APART == 0:
            snapshots.append(spins.copy())
    return np.concatenate(snapshots)


def _evenly(rng, energy, n):
    """`n` rows with the same number from each level, or as many as a level has."""
    order = rng.permutation(len(energy))
    _, level, count = np.unique(energy[order], return_inverse=True, return_counts=True)
    # The rank of each row among those of its level: taking the lowest ranks first
    # fills all levels alike, and a level that runs out leaves its share to the others.
    by_level = np.argsort(level, kind="stable")
    starts = np.concatenate([[0], np.cumsum(count)[:-1]])
    rank = np.empty(len(order), int)
    rank[by_level] = np.arange(len(order)) - np.repeat(starts, count)
    chosen = order[np.argsort(rank, kind="stable")[:n]]
    return rng.permutation(chosen)
