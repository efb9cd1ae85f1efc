"""A quantized network as QONNX: ONNX in float32 with a Quant node for every format."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfxp.errors import DependencyError, ExportError
from tfxp.export.steps import Step, network_steps
from tfxp.files import check_writable, write_bytes
from tfxp.keras_types import KerasModel

if TYPE_CHECKING:
    from onnx import ModelProto

_DOMAIN = "qonnx.custom_op.general"
_OPSET = 13
_TO_CHANNELS_FIRST, _TO_CHANNELS_LAST = [0, 3, 1, 2], [0, 2, 3, 1]


def export_qonnx(qmodel: KerasModel, path: str | os.PathLike[str], *, batch: int = 1) -> None:
    """Write a quantized model as QONNX, for hardware flows such as FINN's and hls4ml's.

        Quant(x) = clip(round(x / scale), qmin, qmax) * scale

    Inputs are images as Keras has them, channels last; inside, channels come first. Where a step
    rounds half up, half a step is added, to the bias where there is one, and Quant rounds by
    FLOOR. All numbers are whole numbers
    of steps below 2^24, so that float32 computes them exactly.

    Args:
        qmodel: what `quantize_model` returned, of the layers that `network_steps` knows.
        path: file to write; whole or not at all.
        batch: number of samples of a run; QONNX's runtime takes fixed shapes.

    Raises:
        ExportError: other layers, or formats that are no fixed point.
        DependencyError: the package onnx is missing, which `pip install 'tfxp[qonnx]'` brings.
        OutputError: the path cannot be written.

    Example:
        >>> from tfxp.export import export_qonnx        # doctest: +SKIP
        >>> export_qonnx(qmodel, "network.onnx")        # doctest: +SKIP
    """
    check_writable(path)
    write_bytes(path, qonnx_model(network_steps(qmodel), batch).SerializeToString())


def qonnx_model(steps: tuple[Step, ...], batch: int = 1) -> ModelProto:
    """The ONNX model of a network's steps; arguments and errors as in `export_qonnx`."""
    try:
        import onnx
    except ImportError as error:
        raise DependencyError(
            "onnx: cannot be imported; expected it for QONNX. Run: pip install 'tfxp[qonnx]'"
        ) from error
    writer = _Writer(onnx, batch)
    for step in steps:
        writer.add(step)
    read = {name for step in steps for name in step.reads}
    ends = [step for step in steps if step.name not in read]
    return writer.close([step for step in steps if step.kind == "input"], ends)


class _Writer:
    """Nodes and constants of an ONNX graph while it is written."""

    def __init__(self, onnx: Any, batch: int) -> None:
        self._onnx, self._helper, self._batch = onnx, onnx.helper, batch
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._steps: dict[str, Step] = {}

    def add(self, step: Step) -> None:
        """Write a step: its operation, a ReLU's limits, and a Quant node."""
        self._steps[step.name] = step
        if step.kind == "input":
            value = self._first(f"{step.name}_fed", len(step.shape), step.name)
        else:
            value = getattr(self, f"_{step.kind}")(step)
        if step.qmin == 0 and step.signed:
            value = self._node("Relu", [value], f"{step.name}_relu")
        if step.qmax < 2 ** (step.bits - step.signed) - 1:
            top = self._constant(f"{step.name}_top", step.qmax * 2.0**-step.fractional_bits)
            value = self._node("Min", [value, top], f"{step.name}_limited")
        if step.kind in ("max_pool2d", "reshape"):  # codes stay what they are
            self._node("Identity", [value], step.name)
            return
        scale = 2.0**-step.fractional_bits
        if step.rounding == "half_up":
            if step.weights is None:
                half = self._constant(f"{step.name}_half", scale / 2)
                value = self._node("Add", [value, half], f"{step.name}_up")
        elif step.rounding != "half_even":
            raise ExportError(
                f"layer {step.name!r}: rounds by {step.rounding}, as 16-bit activations do; "
                "expected half_even or half_up. Give activations at most 8 bits."
            )
        mode = "FLOOR" if step.rounding == "half_up" else "ROUND"
        self._quant(value, step.name, np.float32(scale), step.bits, step.signed, mode)

    def close(self, inputs: list[Step], ends: list[Step]) -> Any:
        """The model, once every step is written."""
        helper, kind = self._helper, self._onnx.TensorProto.FLOAT
        fed = [
            helper.make_tensor_value_info(f"{s.name}_fed", kind, [self._batch, *s.shape])
            for s in inputs
        ]
        outputs = []
        for step in ends:
            name = self._last(step.name, len(step.shape), f"{step.name}_out")
            shape = [self._batch, *step.shape]
            outputs.append(helper.make_tensor_value_info(name, kind, shape))
        values = list(self._constants.values())
        graph = helper.make_graph(self._nodes, "tfxp", fed, outputs, values)
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_DOMAIN, 1)]
        model = helper.make_model(graph, producer_name="tfxp", opset_imports=opsets)
        model.ir_version = 8
        return model

    def _conv2d(self, step: Step) -> str:
        return self._convolution(step, (3, 2, 0, 1), 1)

    def _depthwise_conv2d(self, step: Step) -> str:
        assert step.weights is not None
        return self._convolution(step, None, step.weights.weights.shape[2])

    def _convolution(self, step: Step, order: tuple[int, ...] | None, groups: int) -> str:
        kernel = self._kernel(step)
        if order is None:  # (height, width, in, multiplier) to (in * multiplier, 1, height, width)
            height, width, *channels = kernel.shape
            kernel = kernel.reshape(height, width, int(np.prod(channels)))
            kernel = np.moveaxis(kernel, 2, 0)[:, None]
        else:
            kernel = kernel.transpose(order)
        size, source = kernel.shape[2:], self._steps[step.reads[0]]
        inputs = [source.name, self._weights(step, kernel)]
        return self._node(
            "Conv", [*inputs, *self._bias(step)], f"{step.name}_sum", kernel_shape=list(size),
            strides=step.options["strides"], group=groups, pads=_pads(step, source, size),
            dilations=[1, 1],  # QONNX's change to channels last wants it said
        )  # fmt: skip

    def _dense(self, step: Step) -> str:
        source = self._steps[step.reads[0]]
        if len(source.shape) != 1:
            raise ExportError(f"layer {step.name!r}: got an input of rank above 2; expected 2.")
        weights = self._weights(step, self._kernel(step))
        value = self._node("MatMul", [source.name, weights], f"{step.name}_product")
        for bias in self._bias(step):
            value = self._node("Add", [value, bias], f"{step.name}_sum")
        return value

    def _add(self, step: Step) -> str:
        value = step.reads[0]
        for number, other in enumerate(step.reads[1:]):
            value = self._node("Add", [value, other], f"{step.name}_sum_{number}")
        return value

    def _concatenate(self, step: Step) -> str:
        return self._node("Concat", list(step.reads), f"{step.name}_joined", axis=1)

    def _relu(self, step: Step) -> str:
        return step.reads[0]

    def _mean(self, step: Step) -> str:
        source = self._steps[step.reads[0]]
        axes = self._constant(f"{step.name}_axes", np.array([2, 3], np.int64))
        keep = int(step.options["keepdims"])
        sums = self._node("ReduceSum", [source.name, axes], f"{step.name}_sum", keepdims=keep)
        count = self._constant(f"{step.name}_count", float(np.prod(source.shape[:2])))
        return self._node("Div", [sums, count], f"{step.name}_mean")

    def _max_pool2d(self, step: Step) -> str:
        source, size = self._steps[step.reads[0]], step.options["pool_size"]
        return self._node(
            "MaxPool", [source.name], f"{step.name}_max", kernel_shape=size,
            strides=step.options["strides"], pads=_pads(step, source, size),
        )  # fmt: skip

    def _reshape(self, step: Step) -> str:
        source = self._steps[step.reads[0]]
        value = self._last(source.name, len(source.shape), f"{step.name}_last")
        shape = self._constant(f"{step.name}_shape", np.array([self._batch, *step.shape], np.int64))
        value = self._node("Reshape", [value, shape], f"{step.name}_shaped")
        return self._first(value, len(step.shape), f"{step.name}_first")

    def _first(self, value: str, sizes: int, name: str) -> str:
        """Channels first; Keras' images have them last."""
        if sizes != 3:
            return value
        return self._node("Transpose", [value], f"{name}_nchw", perm=_TO_CHANNELS_FIRST)

    def _last(self, value: str, sizes: int, name: str) -> str:
        if sizes != 3:
            return value
        return self._node("Transpose", [value], f"{name}_nhwc", perm=_TO_CHANNELS_LAST)

    def _kernel(self, step: Step) -> np.ndarray:
        assert step.weights is not None
        channels = step.weights.weight_scale
        kernel = step.weights.weights.astype(np.float64)
        if step.kind == "depthwise_conv2d":
            channels = np.broadcast_to(channels, step.weights.channels).reshape(kernel.shape[2:])
        return (kernel * channels).astype(np.float32)

    def _weights(self, step: Step, kernel: np.ndarray) -> str:
        """The kernel behind a Quant node, which says its bits."""
        assert step.weights is not None
        name, formats = f"{step.name}_kernel", step.weights.weight_formats
        scale = np.asarray(step.weights.weight_scale, np.float32)
        if scale.size > 1 and step.kind != "dense":
            scale = scale.reshape(-1, 1, 1, 1)
        bits, signed = max(fmt.bits for fmt in formats), any(fmt.qmin < 0 for fmt in formats)
        return self._quant(self._constant(f"{name}_real", kernel), name, scale, bits, signed)

    def _bias(self, step: Step) -> list[str]:
        """The bias, with the half step that rounding by FLOOR wants; a ReLU behind it is no harm.

        floor(max(v, 0) / s + 1/2) = max(floor(v / s + 1/2), 0), and so for a limit on the grid.
        """
        assert step.weights is not None
        values: Any = 2.0 ** -(step.fractional_bits + 1) if step.rounding == "half_up" else 0.0
        if step.weights.bias is not None and step.weights.bias_scale is not None:
            values = values + step.weights.bias * step.weights.bias_scale
        elif values:
            values = np.full(step.shape[-1], values)
        else:
            return []
        return [self._constant(f"{step.name}_bias", values)]

    def _quant(self, value: str, name: str, scale: float | np.ndarray, bits: int, signed: bool,
               mode: str = "ROUND") -> str:  # fmt: skip
        numbers = [
            self._constant(f"{name}_{part}", number)
            for part, number in (("scale", scale), ("zero", 0.0), ("bits", float(bits)))
        ]
        return self._node(
            "Quant", [value, *numbers], name, domain=_DOMAIN, signed=int(signed), narrow=0,
            rounding_mode=mode,
        )  # fmt: skip

    def _constant(self, name: str, value: object) -> str:
        array = np.asarray(value)
        array = array if array.dtype == np.int64 else array.astype(np.float32)
        self._constants[name] = self._onnx.numpy_helper.from_array(array, name)
        return name

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        node = self._helper.make_node(kind, inputs, [output], name=f"{output}_node", **attributes)
        self._nodes.append(node)
        return output


def _pads(step: Step, source: Step, size: Sequence[int]) -> list[int]:
    """Elements before and behind each axis, as TensorFlow's "same" has them."""
    if step.options["padding"] == "valid":
        return [0, 0, 0, 0]
    before, behind = [], []
    steps = step.options["strides"]
    for length, window, stride in zip(source.shape[:2], size, steps, strict=True):
        out = -(-length // stride)
        total = max((out - 1) * stride + int(window) - length, 0)
        before.append(total // 2)
        behind.append(total - total // 2)
    return before + behind
