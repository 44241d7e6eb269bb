"""Double precision where the library needs it, and the precision of matrix products.

`jax.enable_x64(True)` as a context manager also works inside a function that is being
traced under `jit` in single precision, so a game can stay in double precision without
touching `jax.config`. Two rules follow from how JAX treats what crosses the border:

- a float64 `jax.Array` passed into a jitted function keeps its precision, a float64
  NumPy array does not: store arrays with `float64(...)`;
- arithmetic between a float64 array and a Python number *outside* the scope rounds to
  float32: wrap every function that does arithmetic in `in_double`.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

__all__ = [
    "EXACT",
    "MatmulPrecision",
    "double",
    "float64",
    "in_double",
    "packed",
    "unpacked",
]


class MatmulPrecision(NamedTuple):
    """How matrix products are computed.

    Attributes:
      dtype: Type that their operands are rounded to; left as they are when `None`.
      precision: Precision of the products, as in `jax.lax.dot_general`.

    Example:
      >>> coarse = MatmulPrecision(jnp.bfloat16)
      >>> matrix = jnp.full((1, 1), 1.001)
      >>> coarse.dot(matrix, matrix, (((1,), (0,)), ((), ()))).tolist()
      [[1.0]]
    """

    dtype: Any = None
    precision: Any = "highest"

    def dot(self, left: Array, right: Array, dimensions: Any) -> Array:
        """`lax.dot_general`, accumulated in float32 at least."""
        exact = jnp.promote_types(jnp.result_type(left, right), jnp.float32)
        if self.dtype is not None:
            left, right = left.astype(self.dtype), right.astype(self.dtype)
        return lax.dot_general(
            left,
            right,
            dimensions,
            precision=self.precision,
            preferred_element_type=exact,
        )


EXACT = MatmulPrecision()
"""Matrix products in the precision of their operands."""


@contextlib.contextmanager
def double() -> Iterator[None]:
    """A scope in which JAX computes in float64 where it is asked to.

    Integers and floats add up in it whatever `jax_numpy_dtype_promotion` says: the
    library counts in integers and means what it adds.

    Example:
      >>> with double():
      ...     print(jnp.zeros(1).dtype)
      float64
    """
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        yield


def in_double(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Run `fn` in double precision, also while it is being traced in single.

    Example:
      >>> third = in_double(lambda: jnp.asarray(1.0) / 3)
      >>> jax.jit(third)().dtype
      dtype('float64')
    """

    @functools.wraps(fn)
    def wrapped(*args, **kwargs):
        with double():
            return fn(*args, **kwargs)

    return wrapped


def float64(x: Any) -> Float[Array, "..."]:
    """`x` as a float64 `jax.Array`, whatever the global setting.

    Example:
      >>> float64(0.5).dtype
      dtype('float64')
    """
    with double():
        return jnp.asarray(x, jnp.float64)


def packed(tree: Any) -> Any:
    """The tree with its JAX arrays as they are to be pickled.

    A pickled float64 `jax.Array` comes back in single precision where the process that
    reads it computes in single; `unpacked` gives it back as it was.

    Args:
      tree: Pytree; leaves that are no JAX arrays are kept.

    Example:
      >>> unpacked(packed({"x": float64(0.5)}))["x"].dtype
      dtype('float64')
    """
    return jax.tree.map(_pack, tree)


def unpacked(tree: Any) -> Any:
    """The inverse of `packed`."""
    with double():
        return jax.tree.map(_unpack, tree)


@dataclasses.dataclass(frozen=True)
class _Packed:
    """A JAX array in a pickle; a leaf where pytrees are mapped over."""

    array: np.ndarray
    key_type: str | None


def _pack(leaf: Any) -> Any:
    if not isinstance(leaf, jax.Array):
        return leaf
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        kind = str(jax.random.key_impl(leaf))
        return _Packed(np.asarray(jax.random.key_data(leaf)), kind)
    return _Packed(np.asarray(leaf), None)


def _unpack(leaf: Any) -> Any:
    if not isinstance(leaf, _Packed):
        return leaf
    array = jnp.asarray(leaf.array)
    if leaf.key_type is None:
        return array
    return jax.random.wrap_key_data(array, impl=leaf.key_type)
