"""The table of layers that tfxp quantizes: class name -> role. A new layer is a new line here.

What is not listed and not registered with `tfxp.register_layer` is refused by name. Separable
convolutions, Rescaling, Normalization, Average, swish, hard_sigmoid and functions of tensors are
rewritten into listed layers before the table is asked: `tfxp.transforms.normalize.normalize`.
"""

from __future__ import annotations

from tfxp.quantization.layer_role import LayerRole
from tfxp.quantization.weight_spec import WeightSpec
from tfxp.transforms.layer_graph import LayerSpec
from tfxp.transforms.normalize.normalize import is_relu


def _channels_last(spec: LayerSpec) -> str | None:
    if spec.config.get("data_format", "channels_last") not in (None, "channels_last"):
        return "data_format channels_first; expected channels_last"
    return None


def _plain_relu(spec: LayerSpec) -> str | None:
    if spec.kind == "ReLU" and is_relu(spec) is None:
        return "a ReLU with a threshold, or with a slope and a limit; expected one of the three"
    return None


def _last_axis(spec: LayerSpec) -> str | None:
    axis = spec.config.get("axis", -1)
    if axis == -1 or (isinstance(axis, list | tuple) and list(axis) == [-1]):
        return None
    return f"axis {axis}; expected -1"


def _inside_samples(spec: LayerSpec) -> str | None:
    return "axis 0; expected an axis of the sample" if spec.config["axis"] == 0 else None


def _linear(kind: str, kernel: WeightSpec) -> LayerRole:
    return LayerRole("mac", kind, (kernel,), "bias", _channels_last)


def _keep(kind: str) -> LayerRole:
    return LayerRole("keep", kind, accepts=_channels_last)


def _recurrent() -> LayerRole:
    return LayerRole("float", "recurrent", finds_weights=True)


_KERNEL = WeightSpec("kernel")
_DEPTHWISE = WeightSpec("depthwise_kernel", channel_axes=2)
_TRANSPOSED = WeightSpec("kernel", trailing=1)
# Operators that add or multiply know one scale for the whole constant.
_CONSTANT = WeightSpec("constant", channel_axes=0)
_UNARY = LayerRole("unary", "lookup")
# A softmax that no layer reads.
FINAL_SOFTMAX = LayerRole("softmax", "softmax")

LAYERS: dict[str, LayerRole] = {
    "InputLayer": LayerRole("input", "input"),
    # multiply and add up
    "Conv1D": _linear("conv", _KERNEL),
    "Conv2D": _linear("conv", _KERNEL),
    "Conv3D": _linear("conv", _KERNEL),
    "Conv1DTranspose": _linear("conv", _TRANSPOSED),
    "Conv2DTranspose": _linear("conv", _TRANSPOSED),
    "Conv3DTranspose": _linear("conv", _TRANSPOSED),
    "DepthwiseConv1D": _linear("depthwise_conv", _DEPTHWISE),
    "DepthwiseConv2D": _linear("depthwise_conv", _DEPTHWISE),
    "Dense": LayerRole("mac", "dense", (_KERNEL,), "bias"),
    "BatchNormalization": LayerRole("batch_norm", "batch_norm"),
    # several tensors
    "Add": LayerRole("add", "add"),
    "Subtract": LayerRole("add", "add"),
    "Multiply": LayerRole("multiply", "multiply"),
    "AddConstant": LayerRole("add", "add", (_CONSTANT,)),
    "SubtractFromConstant": LayerRole("add", "add", (_CONSTANT,)),
    "MultiplyConstant": LayerRole("multiply", "multiply", (_CONSTANT,)),
    "tf.matmul": LayerRole("matmul", "matmul"),
    "tf.pad": LayerRole("concatenate", "pad"),
    "Maximum": LayerRole("concatenate", "maximum"),
    "Minimum": LayerRole("concatenate", "minimum"),
    "Concatenate": LayerRole("concatenate", "concatenate", accepts=_inside_samples),
    # pools and means
    "GlobalAveragePooling1D": LayerRole("mean", "mean", accepts=_channels_last),
    "GlobalAveragePooling2D": LayerRole("mean", "mean", accepts=_channels_last),
    "tf.reduce_mean": LayerRole("mean", "mean"),
    "AveragePooling1D": LayerRole("average_pool", "pool", accepts=_channels_last),
    "AveragePooling2D": LayerRole("average_pool", "pool", accepts=_channels_last),
    "MaxPooling1D": _keep("pool"),
    "MaxPooling2D": _keep("pool"),
    "MaxPooling3D": _keep("pool"),
    "GlobalMaxPooling1D": _keep("pool"),
    "GlobalMaxPooling2D": _keep("pool"),
    "GlobalMaxPooling3D": _keep("pool"),
    "AveragePooling3D": LayerRole("float", "mean", accepts=_channels_last),
    "GlobalAveragePooling3D": LayerRole("float", "mean", accepts=_channels_last),
    # move values about
    "ZeroPadding1D": _keep("pad"),
    "ZeroPadding2D": _keep("pad"),
    "ZeroPadding3D": _keep("pad"),
    "Cropping1D": _keep("slice"),
    "Cropping2D": _keep("slice"),
    "Cropping3D": _keep("slice"),
    "SlicingOpLambda": _keep("slice"),
    "Flatten": _keep("reshape"),
    "Reshape": _keep("reshape"),
    "Permute": _keep("transpose"),
    "RepeatVector": _keep("resize"),
    "UpSampling1D": _keep("resize"),
    "UpSampling2D": _keep("resize"),
    "UpSampling3D": _keep("resize"),
    "Resizing": _keep("resize"),
    "Dropout": _keep("dropout"),
    "SpatialDropout1D": _keep("dropout"),
    "SpatialDropout2D": _keep("dropout"),
    "SpatialDropout3D": _keep("dropout"),
    "AlphaDropout": _keep("dropout"),
    "GaussianDropout": _keep("dropout"),
    "GaussianNoise": _keep("dropout"),
    "ActivityRegularization": _keep("dropout"),
    "Masking": _keep("dropout"),
    # functions of one tensor
    "ReLU": LayerRole("relu", "activation", accepts=_plain_relu),
    "Activation": LayerRole("relu", "activation"),
    "LeakyReLU": _UNARY,
    "ELU": _UNARY,
    "PReLU": LayerRole("unary", "lookup", (WeightSpec("alpha", channel_axes=0),)),
    "tf.math.l2_normalize": _UNARY,
    "Softmax": LayerRole("unary", "softmax", accepts=_last_axis),
    # in float between quantized tensors, weights on grids
    "LayerNormalization": LayerRole("float", "normalization", (WeightSpec("gamma"),)),
    "Embedding": LayerRole("float", "embedding", (WeightSpec("embeddings"),)),
    "SimpleRNN": _recurrent(),
    "LSTM": LayerRole("float", "recurrent", finds_weights=True, one_format=True),
    "GRU": _recurrent(),
    "RNN": _recurrent(),
    "ConvLSTM2D": _recurrent(),
    "Bidirectional": _recurrent(),
    "TimeDistributed": LayerRole("float", "time_distributed", finds_weights=True),
    "MultiHeadAttention": LayerRole("float", "attention", finds_weights=True),
}
