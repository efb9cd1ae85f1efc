"""The integers of a quantized model: codes, formats and scales of every kernel and bias."""

from __future__ import annotations

import json
import os
import re

import numpy as np

from tfxp.errors import ExportError
from tfxp.export.steps import Step, network_steps
from tfxp.files import write_bytes, write_text
from tfxp.formats import FixedPointFormat
from tfxp.keras_types import KerasModel
from tfxp.quantization.integer_layer import IntegerLayer
from tfxp.quantization.read_network import read_network


def integer_weights(qmodel: KerasModel) -> dict[str, IntegerLayer]:
    """Layer name -> integer codes with their formats and scales.

        kernel = weights * weight_scale,    bias = bias codes * bias_scale

    Args:
        qmodel: what `quantize_model` returned.

    Raises:
        ExportError: a kernel is float.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> model = keras.Sequential([layers.Dense(3, input_shape=(4,), name="d")])
        >>> q = tfxp.quantize_model(model, tfxp.PrecisionMap.uniform("Q0.3", "Q2.5"))
        >>> str(integer_weights(q)["d"].weight_formats[0])
        'Q0.3'
    """
    network = read_network(qmodel)
    layers = network.plan.macs
    floats = [name for name in layers if not network.formats[name].weights]
    if floats:
        raise ExportError(
            f"weights of {', '.join(floats)}: got float; expected integer formats. "
            "Give these layers a precision."
        )
    return {name: network.integers(name) for name in layers}


def steps_or_reason(qmodel: KerasModel) -> tuple[tuple[Step, ...], str]:
    """The steps of a network for `save_npz` and `save_c_header`, or none and the reason.

    Args:
        qmodel: a quantized model.
    """
    try:
        return network_steps(qmodel), ""
    except ExportError as error:
        return (), str(error)


def save_npz(
    path: str | os.PathLike[str], layers: dict[str, IntegerLayer], steps: tuple[Step, ...] = ()
) -> None:
    """Write a network's integers to one `.npz`, whole or not at all.

    `layer/weights`, `layer/weight_scale`, `layer/bias`, `layer/bias_scale`; a JSON of the weights'
    formats under `formats`; and one of the steps in order under `steps`: operation, inputs, shape,
    format, shifts, rounding and zero point of every tensor, as `tfxp.export.steps.Step` has them.

    Args:
        path: file to write.
        layers: of `integer_weights`.
        steps: of the network, in order.
    """
    import io

    arrays: dict[str, np.ndarray] = {}
    for name, layer in layers.items():
        for field in ("weights", "weight_scale", "bias", "bias_scale"):
            value = getattr(layer, field)
            if value is not None:
                arrays[f"{name}/{field}"] = value
    formats = {name: [str(fmt) for fmt in layer.weight_formats] for name, layer in layers.items()}
    arrays["formats"] = np.array(json.dumps(formats))
    arrays["steps"] = np.array(json.dumps([step.to_dict() for step in steps]))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes(path, buffer.getvalue())


def c_header(
    layers: dict[str, IntegerLayer],
    guard: str = "TFXP_WEIGHTS_H",
    steps: tuple[Step, ...] = (),
) -> str:
    """A C99 header with one array per kernel and bias, its shape and format in a comment.

    Kernels keep Keras' axis order: (height, width, in, out) for convolutions, (in, out) for dense
    layers. Fixed-point formats also give the number of fractional bits as a macro. The steps of
    the network come last, in order, with the macros _FRACTIONAL_BITS, _QMIN, _QMAX, _ZERO_POINT
    and the array _shifts of each tensor.

    Args:
        layers: of `integer_weights`.
        guard: name of the include guard.
        steps: of the network, in order.
    """
    lines = ["/* Integer weights written by tfxp. value = code * scale */", f"#ifndef {guard}"]
    lines += [f"#define {guard}", "", "#include <stdint.h>", ""]
    taken: set[str] = set()
    for name, layer in layers.items():
        ident = _identifier(name, taken)
        lines += _c_array(f"{ident}_weights", layer.weights, layer.weight_scale)
        lines.insert(-2, f"/* format {', '.join(dict.fromkeys(map(str, layer.weight_formats)))} */")
        fixed = [fmt for fmt in layer.weight_formats if isinstance(fmt, FixedPointFormat)]
        fractional = [fmt.fractional_bits for fmt in fixed]
        if len(fractional) == 1:
            lines.insert(-2, f"#define {ident.upper()}_WEIGHTS_FRACTIONAL_BITS ({fractional[0]})")
        if layer.bias is not None and layer.bias_scale is not None:
            wide = np.abs(layer.bias).max(initial=0) > 2**31 - 1
            codes = layer.bias.astype(np.int64 if wide else np.int32)
            lines += _c_array(f"{ident}_bias", codes, layer.bias_scale)
    for number, step in enumerate(steps):
        lines += _step_lines(number, step, _identifier(f"{step.name}_output", taken))
    return "\n".join([*lines, f"#endif /* {guard} */", ""])


def _step_lines(number: int, step: Step, ident: str) -> list[str]:
    """A step's comment, macros and shifts."""
    options = "".join(f", {key} {value}" for key, value in step.options.items())
    shape, reads = " x ".join(map(str, step.shape)), ", ".join(step.reads)
    lines = [
        f"/* step {number}: {step.name} = {step.kind}({reads}), shape {shape}, round "
        f"{step.rounding}{options} */"
    ]
    for field in ("fractional_bits", "qmin", "qmax", "zero_point"):
        lines.append(f"#define {ident.upper()}_{field.upper()} ({getattr(step, field)})")
    if step.shifts:
        listed = ", ".join(map(str, step.shifts))
        lines.append(f"static const int8_t {ident}_shifts[{len(step.shifts)}] = {{{listed}}};")
    return [*lines, ""]


def save_c_header(
    path: str | os.PathLike[str], layers: dict[str, IntegerLayer], steps: tuple[Step, ...] = ()
) -> None:
    """Write `c_header` to a file, whole or not at all.

    Args:
        path: file to write; its name becomes the include guard.
        layers: of `integer_weights`.
        steps: of the network, in order.
    """
    guard = re.sub(r"\W", "_", os.path.basename(os.fspath(path))).upper()
    write_text(path, c_header(layers, guard, steps))


def _identifier(name: str, taken: set[str]) -> str:
    """A C identifier of its own for a layer; neither its arrays nor its macros meet others'."""
    base = re.sub(r"\W", "_", name, flags=re.ASCII)
    base = f"layer_{base}" if base[:1].isdigit() else base
    ident, number = base, 1
    while ident.upper() in taken:
        ident, number = f"{base}_{number}", number + 1
    taken.add(ident.upper())
    return ident


def _c_array(name: str, codes: np.ndarray, scale: np.ndarray) -> list[str]:
    flat = ", ".join(str(int(code)) for code in codes.ravel())
    wrapped = re.sub(r"(.{1,92})(?:, |$)", r"    \1,\n", flat).rstrip(",\n")
    scales = sorted({float(value) for value in np.atleast_1d(scale)})
    shown = f"scale {scales[0]!r}" if len(scales) == 1 else f"{len(np.atleast_1d(scale))} scales"
    shape = " x ".join(map(str, codes.shape))
    return [
        f"/* shape {shape}, {shown} */",
        f"static const int{codes.dtype.itemsize * 8}_t {name}[{codes.size}] = {{\n{wrapped}}};",
        "",
    ]
