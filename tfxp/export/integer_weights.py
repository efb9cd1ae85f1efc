"""The integers of a quantized model: codes, formats and scales of every kernel and bias."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterator

import numpy as np

from tfxp.errors import ExportError
from tfxp.files import write_bytes, write_text
from tfxp.formats import FixedPointFormat, Format, encode
from tfxp.keras_types import KerasModel
from tfxp.quantization.network_formats import LayerFormats, NetworkFormats
from tfxp.quantization.plan import QuantizationPlan
from tfxp.quantization.precision_variables import accumulator_scale, network_formats
from tfxp.quantization.quantize_model import plan_of
from tfxp.quantization.weight_spec import WeightSpec

# float32 holds integers exactly up to here; Keras adds products in float32.
EXACT_LIMIT = 2**24
_BLOCK = 2**20


@dataclasses.dataclass(frozen=True)
class IntegerLayer:
    """Integers of one layer, in Keras' axis order.

    Args:
        name: layer name.
        weights: kernel codes, int8 or wider.
        weight_formats: one format, or one per output channel.
        weight_scale: value of one kernel code, float64, one number or one per output channel.
        bias: bias codes at the accumulator's scale, int64; None without a bias.
        bias_scale: value of one bias code, float64 per output channel.
        channels: number of output channels.
    """

    name: str
    weights: np.ndarray
    weight_formats: tuple[Format, ...]
    weight_scale: np.ndarray
    bias: np.ndarray | None
    bias_scale: np.ndarray | None
    channels: int

    @property
    def zero_fraction(self) -> float:
        """Share of zero codes in the kernel."""
        return float((self.weights == 0).mean())


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
    plan = plan_of(qmodel)
    formats = network_formats(qmodel, plan)
    floats = [name for name in plan.macs if not formats[name].weights]
    if floats:
        raise ExportError(
            f"weights of {', '.join(floats)}: got float; expected integer formats. "
            "Give these layers a precision."
        )
    return {name: integer_layer(plan, formats, name) for name in plan.macs}


class IntegerLayers(dict[str, IntegerLayer]):
    """The integers of a network's layers, encoded when first asked for."""

    def __init__(self, plan: QuantizationPlan, formats: NetworkFormats) -> None:
        super().__init__()
        self._plan, self._formats = plan, formats

    def __missing__(self, name: str) -> IntegerLayer:
        self[name] = integer_layer(self._plan, self._formats, name)
        return self[name]


def integer_layer(plan: QuantizationPlan, formats: NetworkFormats, name: str) -> IntegerLayer:
    """The integers of one layer."""
    spec, role = plan.graph.layers[name], plan.role(name)
    arrays = spec.arrays()
    kernel = arrays[role.weights[0].attribute]
    codes, scale = _encode_kernel(kernel, role.weights[0], formats[name])
    count = int(np.prod(role.weights[0].channels(kernel.shape)))
    bias = arrays.get(str(role.bias))
    grids = [formats[owner].activations for owner in plan.input_owners(name)]
    if bias is None or not grids or any(grid is None for grid in grids):
        return IntegerLayer(name, codes, formats[name].weights, scale, None, None, count)
    step = accumulator_scale(name, plan, formats) * _binary_factor(scale, formats[name].weights)
    step = np.broadcast_to(step, bias.shape).astype(np.float64)
    bias_codes = np.rint(bias.astype(np.float32) / step.astype(np.float32)).astype(np.int64)
    return IntegerLayer(name, codes, formats[name].weights, scale, bias_codes, step, count)


def _encode_kernel(
    kernel: np.ndarray, weight: WeightSpec, layer: LayerFormats
) -> tuple[np.ndarray, np.ndarray]:
    formats, rounding = layer.weights, layer.rule.rounding
    if rounding in (None, "engine", "stochastic"):  # stochastic belongs to training
        rounding = "half_even"
    if getattr(formats[0], "is_binary", False):
        sizes = weight.as_matrix(np.abs(kernel))
        means = sizes.mean(0 if layer.rule.per_channel else None, dtype=np.float64)
        return encode(kernel, formats[0]).astype(np.int8), np.atleast_1d(means)
    matrix, bits = weight.as_matrix(kernel), formats[0].bits
    codes = np.empty(matrix.shape, np.int8 if bits <= 8 else np.int16 if bits <= 16 else np.int32)
    for rows in row_blocks(matrix):  # encoding takes several times the memory of what it encodes
        if len(formats) == 1:
            codes[rows] = encode(matrix[rows], formats[0], rounding)
            continue
        for column, fmt in enumerate(formats):
            codes[rows, column] = encode(matrix[rows, column], fmt, rounding)
    return weight.from_matrix(codes, kernel.shape), np.array([fmt.scale for fmt in formats])


def row_blocks(matrix: np.ndarray) -> Iterator[slice]:
    """Slices of rows with about a million elements each."""
    step = max(_BLOCK // max(matrix.shape[1], 1), 1)
    for start in range(0, len(matrix), step):
        yield slice(start, start + step)


def _binary_factor(scale: np.ndarray, formats: tuple[Format, ...]) -> np.ndarray | float:
    """Binary kernels carry their scale in the tensor, not in the format."""
    return scale if getattr(formats[0], "is_binary", False) else 1.0


def save_npz(path: str | os.PathLike[str], layers: dict[str, IntegerLayer]) -> None:
    """Write `layer/weights`, `layer/weight_scale`, `layer/bias`, `layer/bias_scale` and a JSON of
    formats under `formats` to one `.npz`, whole or not at all."""
    import io

    arrays: dict[str, np.ndarray] = {}
    for name, layer in layers.items():
        for field in ("weights", "weight_scale", "bias", "bias_scale"):
            value = getattr(layer, field)
            if value is not None:
                arrays[f"{name}/{field}"] = value
    formats = {name: [str(fmt) for fmt in layer.weight_formats] for name, layer in layers.items()}
    arrays["formats"] = np.array(json.dumps(formats))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes(path, buffer.getvalue())


def c_header(layers: dict[str, IntegerLayer], guard: str = "TFXP_WEIGHTS_H") -> str:
    """A C99 header with one array per kernel and bias, its shape and format in a comment.

    Kernels keep Keras' axis order: (height, width, in, out) for convolutions, (in, out) for dense
    layers. Fixed-point formats also give the number of fractional bits as a macro.
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
    return "\n".join([*lines, f"#endif /* {guard} */", ""])


def save_c_header(path: str | os.PathLike[str], layers: dict[str, IntegerLayer]) -> None:
    """Write `c_header` to a file, whole or not at all."""
    guard = re.sub(r"\W", "_", os.path.basename(os.fspath(path))).upper()
    write_text(path, c_header(layers, guard))


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
