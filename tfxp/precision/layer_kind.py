"""Kinds of layers: the words in which measuring, pricing and searching speak of them."""

from __future__ import annotations

import enum


class LayerKind(str, enum.Enum):
    """The operation of a layer, whatever framework or file it comes from.

    Kinds are strings: statistics, cost tables and JSON files hold the member's value. Spellings of
    older files ("relu", "flatten", "mul") are read as today's members, and an operation outside
    this list is `OTHER`.

    Example:
        >>> LayerKind("conv"), LayerKind("flatten"), LayerKind("fft")
        (<LayerKind.CONV: 'conv'>, <LayerKind.RESHAPE: 'reshape'>, <LayerKind.OTHER: 'other'>)
    """

    INPUT = "input"
    # multiply by weights and add up
    CONV = "conv"
    DEPTHWISE_CONV = "depthwise_conv"
    TRANSPOSED_CONV = "transposed_conv"
    DENSE = "dense"
    ATTENTION = "attention"
    RECURRENT = "recurrent"
    TIME_DISTRIBUTED = "time_distributed"
    # rows of a table, by index
    EMBEDDING = "embedding"
    # several tensors
    ADD = "add"
    SUBTRACT = "subtract"
    MULTIPLY = "multiply"
    DIVIDE = "divide"
    MATMUL = "matmul"
    MAXIMUM = "maximum"
    MINIMUM = "minimum"
    CONCATENATE = "concatenate"
    # means and extremes of a neighbourhood or of everything
    POOL = "pool"
    MEAN = "mean"
    SUM = "sum"
    # functions of one tensor
    ACTIVATION = "activation"  # cuts off: ReLU and its kin
    LOOKUP = "lookup"  # by table: sigmoid, tanh, ELU, leaky ReLU
    SOFTMAX = "softmax"
    L2_NORMALIZE = "l2_normalize"
    NORMALIZATION = "normalization"
    BATCH_NORM = "batch_norm"
    QUANTIZE = "quantize"
    # move values about
    PAD = "pad"
    SLICE = "slice"
    TRANSPOSE = "transpose"
    RESIZE = "resize"
    RESHAPE = "reshape"
    DROPOUT = "dropout"  # nothing at inference
    OTHER = "other"

    def __str__(self) -> str:
        return self.value

    @classmethod
    def _missing_(cls, value: object) -> LayerKind:
        return _OLD_SPELLINGS.get(str(value).lower(), cls.OTHER)


_OLD_SPELLINGS: dict[str, LayerKind] = {
    "sub": LayerKind.SUBTRACT,
    "mul": LayerKind.MULTIPLY,
    "div": LayerKind.DIVIDE,
    "batch_matmul": LayerKind.MATMUL,
    "max_pool": LayerKind.POOL,
    "average_pool": LayerKind.POOL,
    "global_pool": LayerKind.POOL,
    "global_max_pool": LayerKind.POOL,
    "global_average_pool": LayerKind.MEAN,
    "relu": LayerKind.ACTIVATION,
    "elu": LayerKind.LOOKUP,
    "l2_normalization": LayerKind.L2_NORMALIZE,
    "lrn": LayerKind.NORMALIZATION,
    "dequantize": LayerKind.QUANTIZE,
    "strided_slice": LayerKind.SLICE,
    "resize_bilinear": LayerKind.RESIZE,
    "resize_nearest_neighbor": LayerKind.RESIZE,
    "tile": LayerKind.RESIZE,
    "flatten": LayerKind.RESHAPE,
    "squeeze": LayerKind.RESHAPE,
    "expand_dims": LayerKind.RESHAPE,
    "identity": LayerKind.DROPOUT,
}
