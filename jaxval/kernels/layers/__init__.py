"""The layer engine: products of per-sample gradients that are never formed.

Its door: `represent` turns a block of samples into what each layer leaves of them, and
`contract` two such blocks into a tile of the Gram matrix.

Example:
  >>> import jax.numpy as jnp
  >>> from jaxval.kernels import layers, readouts
  >>> linear = lambda w, x: x @ w
  >>> x = jnp.array([[1.0, 2.0], [3.0, 4.0]])
  >>> readout = (readouts.single_output,)
  >>> block = layers.represent(linear, jnp.ones((2, 1)), readout, x, None)
  >>> layers.contract(block, None).tolist()
  [[5.0, 11.0], [11.0, 25.0]]
"""

from jaxval.kernels.layers.capture import represent
from jaxval.kernels.layers.routes import Route, contract
from jaxval.kernels.layers.weights import Rows, Weight

__all__ = ["Route", "Rows", "Weight", "contract", "represent"]
