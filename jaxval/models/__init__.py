"""Networks of the papers in Flax Linen, and the pure functions the library works with.

`as_network` turns any module, or plain functions, into one record, `Network`.

`init(key, module, x)` draws parameters, `apply_fn(module)` is the network as a function
`(params, x) -> outputs`; with batch norm, `init_with_state` and `apply_with_state`.
"""

from jaxval.models.functions import (
    StatefulApplyFn,
    apply_fn,
    apply_with_state,
    headless,
    init,
    init_with_state,
    num_weights,
)
from jaxval.models.layers import NTK, PYTORCH, BatchNorm, Parametrisation, conv, dense
from jaxval.models.modules import MLP, POOL, ConvNet, ResNet
from jaxval.models.network import Network, as_network, fixed, is_linen
from jaxval.models.networks import (
    cnn,
    cnn8,
    mlp,
    mlp10,
    resize,
    resnet18,
    resnet21,
    resnet34,
    vgg11,
    vgg13,
    vgg16,
)

__all__ = [
    "MLP",
    "NTK",
    "Network",
    "POOL",
    "PYTORCH",
    "BatchNorm",
    "ConvNet",
    "Parametrisation",
    "ResNet",
    "StatefulApplyFn",
    "apply_fn",
    "apply_with_state",
    "as_network",
    "cnn",
    "cnn8",
    "conv",
    "dense",
    "fixed",
    "headless",
    "init",
    "init_with_state",
    "is_linen",
    "mlp",
    "mlp10",
    "num_weights",
    "resize",
    "resnet18",
    "resnet21",
    "resnet34",
    "vgg11",
    "vgg13",
    "vgg16",
]
