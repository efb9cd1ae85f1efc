"""The table of layers that tfxp quantizes: class name -> role. A new layer is a new line here.

What is not listed and not registered with `tfxp.register_layer` is refused by name. Separable
convolutions, Rescaling, Normalization, Average, swish, hard_sigmoid and functions of tensors are
rewritten into listed layers before the table is asked: `tfxp.transforms.normalize.normalize`.
"""

from __future__ import annotations

from tfxp.precision import LayerKind
from tfxp.quantization.layer_role import LayerRole, WeightSpec
from tfxp.quantization.role import (
    ADD,
    AVERAGE_POOL,
    BATCH_NORM,
    CONCATENATE,
    IN_FLOAT,
    INPUT,
    KEEP,
    MAC,
    MATMUL,
    MEAN,
    MULTIPLY,
    RELU,
    SOFTMAX,
    UNARY,
)
from tfxp.transforms.layer_graph import LayerSpec
from tfxp.transforms.linear_layers import LINEAR_LAYERS, LinearForm
from tfxp.transforms.training_only import TRAINING_ONLY


def _channels_last(spec: LayerSpec) -> str | None:
    if spec.config.get("data_format", "channels_last") not in (None, "channels_last"):
        return "data_format channels_first; expected channels_last"
    return None


def _last_axis(spec: LayerSpec) -> str | None:
    axis = spec.config.get("axis", -1)
    if axis == -1 or (isinstance(axis, list | tuple) and list(axis) == [-1]):
        return None
    return f"axis {list(axis) if isinstance(axis, list | tuple) else axis}; expected -1"


def _inside_samples(spec: LayerSpec) -> str | None:
    return "axis 0; expected an axis of the sample" if spec.config["axis"] == 0 else None


def _linear(form: LinearForm) -> LayerRole:
    kernel = WeightSpec(form.kernel, form.channel_axes, form.trailing)
    return LayerRole(MAC, form.name, (kernel,), "bias", _channels_last)


def _keep(kind: LayerKind) -> LayerRole:
    return LayerRole(KEEP, kind, accepts=_channels_last)


def _recurrent() -> LayerRole:
    return LayerRole(IN_FLOAT, LayerKind.RECURRENT, finds_weights=True)


# Operators that add or multiply know one scale for the whole constant.
_CONSTANT = WeightSpec("constant", channel_axes=0)
_UNARY = LayerRole(UNARY, LayerKind.LOOKUP)
# A softmax that no layer reads.
FINAL_SOFTMAX = LayerRole(SOFTMAX, LayerKind.SOFTMAX)

LAYERS: dict[str, LayerRole] = {
    "InputLayer": LayerRole(INPUT, LayerKind.INPUT),
    # multiply and add up
    **{kind: _linear(form) for kind, form in LINEAR_LAYERS.items()},
    "BatchNormalization": LayerRole(BATCH_NORM, LayerKind.BATCH_NORM),
    # several tensors
    "Add": LayerRole(ADD, LayerKind.ADD),
    "Subtract": LayerRole(ADD, LayerKind.SUBTRACT),
    "Multiply": LayerRole(MULTIPLY, LayerKind.MULTIPLY),
    "AddConstant": LayerRole(ADD, LayerKind.ADD, (_CONSTANT,)),
    "SubtractFromConstant": LayerRole(ADD, LayerKind.SUBTRACT, (_CONSTANT,)),
    "MultiplyConstant": LayerRole(MULTIPLY, LayerKind.MULTIPLY, (_CONSTANT,)),
    "tf.matmul": LayerRole(MATMUL, LayerKind.MATMUL),
    "tf.pad": LayerRole(CONCATENATE, LayerKind.PAD),
    "Maximum": LayerRole(CONCATENATE, LayerKind.MAXIMUM),
    "Minimum": LayerRole(CONCATENATE, LayerKind.MINIMUM),
    "Concatenate": LayerRole(CONCATENATE, LayerKind.CONCATENATE, accepts=_inside_samples),
    # pools and means
    "GlobalAveragePooling1D": LayerRole(MEAN, LayerKind.MEAN, accepts=_channels_last),
    "GlobalAveragePooling2D": LayerRole(MEAN, LayerKind.MEAN, accepts=_channels_last),
    "tf.reduce_mean": LayerRole(MEAN, LayerKind.MEAN),
    "AveragePooling1D": LayerRole(AVERAGE_POOL, LayerKind.POOL, accepts=_channels_last),
    "AveragePooling2D": LayerRole(AVERAGE_POOL, LayerKind.POOL, accepts=_channels_last),
    "MaxPooling1D": _keep(LayerKind.POOL),
    "MaxPooling2D": _keep(LayerKind.POOL),
    "MaxPooling3D": _keep(LayerKind.POOL),
    "GlobalMaxPooling1D": _keep(LayerKind.POOL),
    "GlobalMaxPooling2D": _keep(LayerKind.POOL),
    "GlobalMaxPooling3D": _keep(LayerKind.POOL),
    "AveragePooling3D": LayerRole(IN_FLOAT, LayerKind.POOL, accepts=_channels_last),
    "GlobalAveragePooling3D": LayerRole(IN_FLOAT, LayerKind.MEAN, accepts=_channels_last),
    # move values about
    "ZeroPadding1D": _keep(LayerKind.PAD),
    "ZeroPadding2D": _keep(LayerKind.PAD),
    "ZeroPadding3D": _keep(LayerKind.PAD),
    "Cropping1D": _keep(LayerKind.SLICE),
    "Cropping2D": _keep(LayerKind.SLICE),
    "Cropping3D": _keep(LayerKind.SLICE),
    "SlicingOpLambda": _keep(LayerKind.SLICE),
    "Flatten": _keep(LayerKind.RESHAPE),
    "Reshape": _keep(LayerKind.RESHAPE),
    "Permute": _keep(LayerKind.TRANSPOSE),
    "RepeatVector": _keep(LayerKind.RESIZE),
    "UpSampling1D": _keep(LayerKind.RESIZE),
    "UpSampling2D": _keep(LayerKind.RESIZE),
    "UpSampling3D": _keep(LayerKind.RESIZE),
    "Resizing": _keep(LayerKind.RESIZE),
    "tf.pad by mirror": _keep(LayerKind.PAD),
    "tf.nn.depth_to_space": _keep(LayerKind.TRANSPOSE),
    "tf.nn.space_to_depth": _keep(LayerKind.TRANSPOSE),
    "tf.reduce_max": _keep(LayerKind.POOL),
    "tf.reduce_min": _keep(LayerKind.POOL),
    "Masking": _keep(LayerKind.DROPOUT),
    **{name: _keep(LayerKind.DROPOUT) for name in TRAINING_ONLY},
    # functions of one tensor
    "ReLU": LayerRole(RELU, LayerKind.ACTIVATION),
    "Activation": LayerRole(RELU, LayerKind.ACTIVATION),
    "LeakyReLU": _UNARY,
    "ELU": _UNARY,
    "ThresholdedReLU": _UNARY,
    "tf.math": _UNARY,
    "tf.nn.log_softmax": _UNARY,
    "PReLU": LayerRole(UNARY, LayerKind.LOOKUP, (WeightSpec("alpha", channel_axes=0),)),
    "tf.math.l2_normalize": LayerRole(UNARY, LayerKind.L2_NORMALIZE),
    "Softmax": LayerRole(UNARY, LayerKind.SOFTMAX, accepts=_last_axis),
    # in float between quantized tensors, weights on grids
    "LayerNormalization": LayerRole(IN_FLOAT, LayerKind.NORMALIZATION, (WeightSpec("gamma"),)),
    "GroupNormalization": LayerRole(IN_FLOAT, LayerKind.NORMALIZATION, (WeightSpec("gamma"),)),
    "Embedding": LayerRole(IN_FLOAT, LayerKind.EMBEDDING, (WeightSpec("embeddings"),)),
    "SimpleRNN": _recurrent(),
    "LSTM": LayerRole(IN_FLOAT, LayerKind.RECURRENT, finds_weights=True, one_format=True),
    "GRU": _recurrent(),
    "RNN": _recurrent(),
    "ConvLSTM2D": _recurrent(),
    "Bidirectional": _recurrent(),
    "TimeDistributed": LayerRole(IN_FLOAT, LayerKind.TIME_DISTRIBUTED, finds_weights=True),
    "MultiHeadAttention": LayerRole(IN_FLOAT, LayerKind.ATTENTION, finds_weights=True),
}
