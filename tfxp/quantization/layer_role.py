"""What a kind of layer means to quantization: its role, its kernels, its bias."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from tfxp.errors import ConfigError
from tfxp.precision import LayerKind
from tfxp.quantization.weight_spec import WeightSpec
from tfxp.transforms.layer_graph import LayerSpec

# What a layer does to the grid of its input:
#   input       a network input; quantized right behind it
#   mac         multiplies by weights and adds a bias; its output gets a format of its own
#   add         sums or subtracts two tensors; own format, ties go up as in XNNPACK's ADD
#   multiply    multiplies two tensors; own format
#   matmul      multiplies the matrices of two tensors; own format
#   concatenate joins tensors or takes the larger or smaller of two; own format, parts that differ
#               are requantized, ties go up
#   mean        averages over all positions; own format
#   unary       a function of one tensor; own format, the integer operator's codes (`unary_of`)
#   float       computed in float between quantized tensors; own format, weights on grids; there is
#               no integer operator
#   average_pool keeps its input's format, rounds half away
#   interpolate keeps its input's format, ties go up
#   relu        keeps its input's format, or closes the layer before it
#   keep        moves values about and computes nothing
#   softmax     float, the network's end; one that a layer reads is unary
#   batch_norm  kept BatchNormalization, absorbed at export into per-channel scales
#   untouched   left alone in a network that is quantized in parts; its output is float
ROLES = (
    "input",
    "mac",
    "add",
    "multiply",
    "matmul",
    "concatenate",
    "mean",
    "unary",
    "float",
    "average_pool",
    "interpolate",
    "relu",
    "keep",
    "softmax",
    "batch_norm",
    "untouched",
)
# Roles whose output gets a format of its own, by the layer's rule in the precision map.
OWN_FORMAT = (
    "input", "mac", "add", "multiply", "matmul", "concatenate", "mean", "unary", "float",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class LayerRole:
    """How a layer class is quantized.

    Args:
        role: one of `ROLES`.
        kind: the word of cost models for it, a `LayerKind` or its spelling.
        weights: kernels to quantize.
        bias: attribute of the bias, which goes to the accumulator's grid.
        finds_weights: the kernels are all weights whose path ends in "kernel": layers that hold
            other layers.
        one_format: all kernels have one format, whatever the map says of channels, because the
            integer operator has one.
        accepts: says why a layer of the class is not supported, or None if it is.
        write: how the layer is written into an integer file, for layers of users' own:
            `write(builder, number, call, spec)` with a `tfxp.export.GraphBuilder`.
    """

    role: str
    kind: LayerKind | str
    weights: tuple[WeightSpec, ...] = ()
    bias: str | None = None
    accepts: Callable[[LayerSpec], str | None] = lambda spec: None
    write: Callable[..., None] | None = None
    finds_weights: bool = False
    one_format: bool = False

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ConfigError(f"role of layer: got {self.role!r}; expected one of {ROLES}.")
        object.__setattr__(self, "kind", LayerKind(self.kind))
