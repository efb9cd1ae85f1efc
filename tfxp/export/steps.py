"""A quantized network as steps in order: what to rebuild it by hand takes, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfxp.errors import ExportError
from tfxp.formats import FixedPointFormat, Format
from tfxp.keras_types import KerasModel
from tfxp.quantization.integer_layer import IntegerLayer
from tfxp.quantization.quantized_network import QuantizedNetwork
from tfxp.quantization.read_network import read_network
from tfxp.transforms.layer_graph import Call, LayerSpec, Ref
from tfxp.transforms.normalize.normalize import is_relu, is_softmax

_MACS = {"Conv2D": "conv2d", "DepthwiseConv2D": "depthwise_conv2d", "Dense": "dense"}
_SHAPING = ("Flatten", "Reshape")
_IDENTITIES = ("Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout")
_KEPT = ("fractional_bits", "qmin", "qmax", "bits", "signed", "zero_point")
_ROUNDINGS = ("half_even", "half_up", "half_away")


@dataclasses.dataclass(frozen=True)
class Step:
    """One operation on codes.

        code = clip(round(result), qmin, qmax),    value = code * scale,    scale = 2^-f

    `result` is the operation's value in steps of the output: with the codes x of the inputs and
    their fractional bits, for the kinds

        conv2d, depthwise_conv2d, dense   (sum x w + bias) 2^-shift, one shift a channel
        add                               sum x_i 2^-shift_i
        concatenate, max_pool2d, relu, reshape    x_i 2^-shift_i
        mean                              (sum x) 2^-shift / n

    Args:
        name: of the tensor it makes; layers keep their names.
        kind: the operation, "input" for what is fed.
        reads: names of tensors.
        shape: of the output without the batch, channels last.
        fractional_bits: f of the output.
        qmin, qmax: limits of its codes; those of a ReLU behind the operation are part of them.
        bits: of the format, whatever a ReLU leaves unused.
        signed: whether the format has a sign.
        rounding: "half_even", "half_up" or "half_away".
        zero_point: what code 0 is stored as in the `.tflite` file, int8 or int16.
        shifts: see above; positive ones divide.
        options: strides, padding, pool size or count, as Keras names them.
        weights: the integers of a layer with weights.
    """

    name: str
    kind: str
    reads: tuple[str, ...]
    shape: tuple[int, ...]
    fractional_bits: int
    qmin: int
    qmax: int
    bits: int
    signed: bool
    rounding: str
    zero_point: int
    shifts: tuple[int, ...] = ()
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    weights: IntegerLayer | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON form; the arrays of the weights stand elsewhere, under the layer's name."""
        names = [field.name for field in dataclasses.fields(self) if field.name != "weights"]
        return {name: getattr(self, name) for name in names}


def network_steps(qmodel: KerasModel) -> tuple[Step, ...]:
    """The steps of a quantized network in the order in which they can run.

    A softmax at the end is left out: the last step gives logits.

    Args:
        qmodel: what `quantize_model` returned, in fixed-point formats: Conv2D, DepthwiseConv2D,
            Dense, Add, Concatenate, MaxPooling2D, means of images, ReLU, Flatten and Reshape.

    Raises:
        ExportError: other layers or formats; the first is named.

    Example:
        >>> from tfxp.export.steps import network_steps
        >>> from tfxp.keras import keras, layers
        >>> model = keras.Sequential([layers.Dense(3, input_shape=(4,), name="d")])
        >>> q = tfxp.quantize_model(model, tfxp.PrecisionMap.uniform("Q0.3", "Q2.5"))
        >>> [(step.kind, step.shifts[:1]) for step in network_steps(q)]
        [('input', ()), ('dense', (3,))]
    """
    reader = _Reader(read_network(qmodel))
    for number, call, spec in reader.network.graph.in_order():
        reader.add(number, call, spec)
    return tuple(reader.steps.values())


class _Reader:
    """Collects steps; what closes or leaves a tensor as it is has none of its own."""

    def __init__(self, network: QuantizedNetwork) -> None:
        self.network = network
        self.steps: dict[str, Step] = {}
        self._made: dict[Ref, str] = {}

    def add(self, number: int, call: Call, spec: LayerSpec) -> None:
        """Add the step of a call."""
        reads = [self._made[ref] for ref in call.refs()]
        closed = self._closed(spec)
        if closed or spec.kind in _IDENTITIES or is_softmax(spec):
            self._made[Ref(number)] = reads[0]
            return
        shape: Any = call.output_shapes[0] if call.refs() else spec.config["batch_input_shape"]
        if None in shape[1:]:
            self._refuse(spec, f"has an output of the free shape {tuple(shape[1:])}")
        step = self._step(spec, reads, tuple(int(size) for size in shape[1:]))
        if step.name in self.steps:
            self._refuse(spec, "is called more than once")
        self.steps[step.name] = step
        self._made[Ref(number)] = step.name

    def _closed(self, spec: LayerSpec) -> bool:
        """Whether a ReLU is part of the step before it."""
        points = self.network.plan.points.values()
        return any(point.layer == spec.name != point.owner for point in points)

    def _step(self, spec: LayerSpec, reads: list[str], shape: tuple[int, ...]) -> Step:
        kind, options = self._kind(spec)
        sources = [self.steps[name] for name in reads]
        points = self.network.plan.points
        point = points.get(spec.name)
        fmt = self._format(spec) if point else None
        output: dict[str, Any]
        if fmt is None:
            output = {key: getattr(sources[0], key) for key in _KEPT}
        else:
            output = {
                "fractional_bits": fmt.fractional_bits,
                "qmin": fmt.qmin,
                "qmax": fmt.qmax,
                "bits": fmt.bits,
                "signed": fmt.qmin < 0,
                "zero_point": self.network.zero_point(fmt),
            }
        closing = point.layer if point and point.layer != spec.name else spec.name
        self._limit(output, is_relu(self.network.graph.layers[closing]))
        f = output["fractional_bits"]
        shifts = tuple(source.fractional_bits - f for source in sources)
        weights = None
        if kind in _MACS.values():
            weights = self.network.integers(spec.name)
            bits = [self._fixed(spec, one).fractional_bits for one in weights.weight_formats]
            bits = bits * weights.channels if len(bits) == 1 else bits
            shifts = tuple(shifts[0] + one for one in bits)
        rounding = self._rounding(spec, closing)
        return Step(
            spec.name, kind, tuple(reads), shape, **output,
            rounding=rounding, shifts=shifts, options=options, weights=weights,
        )  # fmt: skip

    def _kind(self, spec: LayerSpec) -> tuple[str, dict[str, Any]]:
        config = spec.config
        if spec.kind == "InputLayer":
            return "input", {}
        if spec.kind in _MACS:
            if config.get("groups", 1) != 1 or set(config.get("dilation_rate", (1,))) != {1}:
                self._refuse(spec, "has groups or dilation")
            names = ["strides", "padding"] if spec.kind != "Dense" else []
            return _MACS[spec.kind], {name: _plain(config[name]) for name in names}
        if spec.kind == "MaxPooling2D":
            names = ["pool_size", "strides", "padding"]
            return "max_pool2d", {name: _plain(config[name]) for name in names}
        if spec.kind == "GlobalAveragePooling2D":
            return "mean", {"keepdims": bool(config.get("keepdims"))}
        if spec.kind in ("Add", "Concatenate"):
            return spec.kind.lower(), {}
        if spec.kind in _SHAPING:
            return "reshape", {}
        if is_relu(spec) is not None:
            return "relu", {}
        return self._refuse(spec, "has no step")

    def _rounding(self, spec: LayerSpec, closing: str) -> str:
        """How the step rounds: half up where the sum carries half a step for it."""
        layer = self.network.layers.get(closing)
        if spec.kind == "GlobalAveragePooling2D":
            half_up = layer.output_variables.get("half_up") if layer is not None else None
            if half_up is None or float(half_up) == 0:
                self._refuse(spec, "is a mean that rounds as LiteRT's default engine does")
            return "half_up"
        if spec.kind in _MACS and self.network.half_step(spec.name) is not None:
            return "half_up"
        quantizer = None
        if spec.kind == "InputLayer":
            found = self.network.input_quantizers.get(spec.name)
            quantizer = None if found is None else found.quantizer
        elif hasattr(layer, "quantize_config"):
            quantizer = layer.quantize_config.output_quantizer  # type: ignore[union-attr]
        if quantizer is None:
            return "half_even"  # codes are moved as they are
        wide = getattr(quantizer, "wide_rounding", None)
        rounding = wide if wide and self.network.storage == "INT16" else quantizer.rounding
        if rounding not in _ROUNDINGS:
            self._refuse(spec, f"rounds by {rounding}")
        return str(rounding)

    def _limit(self, output: dict[str, Any], relu: float | None) -> None:
        if relu is None:
            return
        output["qmin"] = max(0, output["qmin"])
        if np.isfinite(relu):
            limit = np.rint(np.float32(relu) * np.float32(2.0 ** output["fractional_bits"]))
            output["qmax"] = min(output["qmax"], int(limit))

    def _format(self, spec: LayerSpec) -> FixedPointFormat:
        return self._fixed(spec, self.network.formats[spec.name].activations)

    def _fixed(self, spec: LayerSpec, fmt: Format | None) -> FixedPointFormat:
        if not isinstance(fmt, FixedPointFormat):
            found = "float" if fmt is None else str(fmt)
            return self._refuse(spec, f"has the format {found}, which is no fixed point")
        return fmt

    def _refuse(self, spec: LayerSpec, what: str) -> Any:
        raise ExportError(
            f"layer {spec.name!r} ({spec.kind}): {what}; expected networks of fixed-point Conv2D, "
            "DepthwiseConv2D, Dense, Add, Concatenate, MaxPooling2D, GlobalAveragePooling2D, ReLU, "
            "Flatten and Reshape. Export to .tflite or C, which know more."
        )


def _plain(value: str | int | Sequence[int]) -> Any:
    return value if isinstance(value, str) else [int(one) for one in np.atleast_1d(value)]
