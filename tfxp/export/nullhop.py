"""Networks as text for NullHop, a machine that skips zeros; any Qm.f, and read back to prove it.

The layout is that of ADaPTION's exporter: the number of layers; per convolution nine lines
(compression of its input, kernel size, input channels, columns, rows, output channels, pooling,
ReLU, padding), then the blocks #KERNELS# (output channel, input channel, row, column), #BIASES#
and, behind the first layer, #PIXELS# (channel, row, column), one integer a line. There, integers
are values times 256. Here every layer may have formats of its own; further lines behind the nine
then say how many fractional bits its kernel, its bias, its output and (first layer) the pixels
have. Where all are 8, these lines are left out and the file is ADaPTION's.
"""

from __future__ import annotations

import dataclasses
import os
import re
from typing import Any

import numpy as np

from tfxp.errors import DataError, ExportError
from tfxp.files import write_text
from tfxp.formats import FixedPointFormat, encode, round_array
from tfxp.quantization.plan import QuantizationPlan
from tfxp.quantization.quantized_network import QuantizedNetwork
from tfxp.quantization.read_network import read_network
from tfxp.transforms.layer_graph import Ref
from tfxp.transforms.normalize.normalize import is_relu

_FIELDS = (
    ("compressed", "compression_enabled"),
    ("kernel_size", "kernel_size"),
    ("channels_in", "num input channels"),
    ("columns", "num_input_column"),
    ("rows", "num_input_rows"),
    ("channels_out", "num_output_channels"),
    ("pooling", "pooling_enabled"),
    ("relu", "relu_enabled"),
    ("padding", "padding"),
)
_BITS = (
    ("kernel_bits", "kernel_fractional_bits"),
    ("bias_bits", "bias_fractional_bits"),
    ("output_bits", "output_fractional_bits"),
    ("input_bits", "input_fractional_bits"),
)
_DEFAULT_BITS = 8


@dataclasses.dataclass(frozen=True)
class NullhopLayer:
    """One convolution of the file; the kernel is (out, in, row, column), all integers."""

    compressed: int
    kernel_size: int
    channels_in: int
    columns: int
    rows: int
    channels_out: int
    pooling: int
    relu: int
    padding: int
    kernels: np.ndarray
    biases: np.ndarray
    kernel_bits: int = _DEFAULT_BITS
    bias_bits: int = _DEFAULT_BITS
    output_bits: int = _DEFAULT_BITS
    input_bits: int = _DEFAULT_BITS


@dataclasses.dataclass(frozen=True)
class NullhopNetwork:
    """A file's content.

    Args:
        layers: convolutions in order.
        pixels: one sample (channel, row, column) as integers.
        names: layers of the Keras model, where the network comes from one.
    """

    layers: tuple[NullhopLayer, ...]
    pixels: np.ndarray
    names: tuple[str, ...] = ()


def nullhop_network(qmodel: Any, sample: np.ndarray) -> NullhopNetwork:
    """The convolutions of a quantized chain as NullHop takes them, up to the first other layer.

    Args:
        qmodel: what `quantize_model` returned; power-of-two formats.
        sample: one input (rows, columns, channels), real values.

    Raises:
        ExportError: a convolution is not what the machine computes (square kernel, stride 1, one
            group, padding "valid" or odd "same", a 2x2 max pool or none), or a format has no
            binary point; all are named.
    """
    return _converted(read_network(qmodel), sample)


def _converted(network: QuantizedNetwork, sample: np.ndarray) -> NullhopNetwork:
    chain = _chain(network.plan)
    complaints = [text for name in chain for text in _complaints(network, name)]
    if not chain or complaints:
        listed = "; ".join(complaints) or "no convolution behind the input"
        raise ExportError(
            f"model {network.graph.name!r}: got what NullHop does not compute: {listed}. Expected "
            "a chain of plain convolutions, ReLUs and 2x2 max pools in fixed point."
        )
    fmt = network.input_grids(chain[0])[0]
    assert isinstance(fmt, FixedPointFormat)  # else there was a complaint
    layers, input_bits = [], fmt.fractional_bits
    for place, name in enumerate(chain):
        layers.append(_layer(network, name, input_bits, compressed=int(place > 0)))
        input_bits = layers[-1].output_bits
    pixels = encode(np.asarray(sample), fmt).transpose(2, 0, 1)
    return NullhopNetwork(tuple(layers), pixels, tuple(chain))


def save_nullhop(path: str | os.PathLike[str], network: NullhopNetwork) -> None:
    """Write the text file, whole or not at all."""
    lines = [f"{len(network.layers)} # num layers "]
    for place, layer in enumerate(network.layers):
        lines += [f" {getattr(layer, name)} #{text}" for name, text in _FIELDS]
        bits = [(name, text) for name, text in _BITS if place == 0 or name != "input_bits"]
        if any(getattr(layer, name) != _DEFAULT_BITS for name, _ in bits):
            lines += [f" {getattr(layer, name)} #{text}" for name, text in bits]
        lines += ["#KERNELS#", *map(str, layer.kernels.ravel().tolist())]
        lines += ["#BIASES#", *map(str, layer.biases.ravel().tolist())]
        if place == 0:
            lines += ["#PIXELS#", *map(str, network.pixels.ravel().tolist())]
    write_text(path, "\n".join(lines) + "\n")


def load_nullhop(path: str | os.PathLike[str]) -> NullhopNetwork:
    """Read a file that `save_nullhop`, or ADaPTION, wrote.

    Raises:
        DataError: the file is missing or broken.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file if line.strip()]
        return _parse(lines)
    except (OSError, UnicodeDecodeError, ValueError, IndexError, KeyError) as error:
        raise DataError(f"NullHop file {os.fspath(path)!r}: {error!r}. Export it again.") from None


def run_nullhop(network: NullhopNetwork, rounding: str = "half_even") -> list[np.ndarray]:
    """Outputs of every layer (channel, row, column) as integers, computed as the machine would.

        acc = sum(kernel * input) + bias * 2^(f_kernel + f_input - f_bias)
        out = pool(relu(clip(round(acc * 2^(f_out - f_kernel - f_input)))))

    Args:
        network: what `load_nullhop` read.
        rounding: rounding mode of the output.

    References:
        ADaPTION's `LPConvolution`, `LPAct`, ReLU, pool, in this order; saturation is to 16 bits.
    """
    values, bits = network.pixels.astype(np.int64), network.layers[0].input_bits
    results = []
    for layer in network.layers:
        accumulators = _convolve(values, layer)
        shift = layer.kernel_bits + bits - layer.bias_bits
        scaled_bias = layer.biases.astype(np.float64) * 2.0**shift
        exact = accumulators + scaled_bias[:, None, None]
        exact = exact * 2.0 ** (layer.output_bits - layer.kernel_bits - bits)
        values = np.clip(round_array(exact, rounding), -(2**15), 2**15 - 1).astype(np.int64)
        values = np.maximum(values, 0) if layer.relu else values
        values = _pool(values) if layer.pooling else values
        bits = layer.output_bits
        results.append(values)
    return results


def check_nullhop(path: str | os.PathLike[str], qmodel: Any, sample: np.ndarray) -> dict[str, int]:
    """Layer -> values that differ between the file, read back and computed, and the Keras model.

    Formats that saturate before 16 bits do are applied by the model only; a difference of 0
    everywhere says that none did, and that every integer in the file is right.
    """
    from tfxp.export.trace_keras import KerasTracer

    loaded, tracer = load_nullhop(path), KerasTracer(qmodel)
    network, made = tracer.network, _converted(tracer.network, sample)
    trace = tracer.trace([np.asarray(sample, np.float32)[None]])
    rounding = network.formats[made.names[0]].code_rounding
    found = {}
    for name, layer, have in zip(
        made.names, loaded.layers, run_nullhop(loaded, rounding), strict=True
    ):
        wanted = _real(trace, name, network.plan)[0].transpose(2, 0, 1)
        codes = np.rint(wanted * 2.0**layer.output_bits).astype(np.int64)
        found[name] = int((codes != have).sum()) if codes.shape == have.shape else codes.size
    return found


def _real(trace: Any, name: str, plan: QuantizationPlan) -> np.ndarray:
    """A layer's output in the Keras run, behind its ReLU and its pool if it has them."""
    names = "|".join(re.escape(n) for n in (name, *_following(plan, name)) if n)
    pattern = re.compile(rf"({names})(_maximum|_minimum)*")
    shown = [t for n, t in trace.tensors.items() if pattern.fullmatch(n) and t.codes is not None]
    return shown[-1].real


def _chain(plan: QuantizationPlan) -> list[str]:
    """Convolutions from the input on, as long as only ReLUs and pools lie between them."""
    chain: list[str] = []
    ref = plan.graph.inputs[0]
    while (number := plan.graph.only_consumer(ref)) is not None:
        spec = plan.graph.layers[plan.graph.calls[number].layer]
        if spec.kind == "Conv2D":
            chain.append(spec.name)
        elif is_relu(spec) is None and spec.kind not in ("MaxPooling2D", "Dropout"):
            break
        ref = Ref(number)
    return chain


def _following(plan: QuantizationPlan, name: str) -> tuple[str, str]:
    """The ReLU and the pool behind a convolution; empty where there is none."""
    relu, pool, ref = "", "", Ref(plan.graph.uses(name)[0])
    while (number := plan.graph.only_consumer(ref)) is not None:
        spec = plan.graph.layers[plan.graph.calls[number].layer]
        if spec.kind == "MaxPooling2D" and not pool:
            pool = spec.name
        elif is_relu(spec) is not None and not pool:
            relu = spec.name
        elif spec.kind != "Dropout":
            break
        ref = Ref(number)
    return relu, pool


def _complaints(network: QuantizedNetwork, name: str) -> list[str]:
    spec, formats, found = network.graph.layers[name], network.formats[name], []
    config, size = spec.config, spec.config["kernel_size"]
    if size[0] != size[1] or tuple(config["strides"]) != (1, 1) or config.get("groups", 1) != 1:
        found.append(f"{name}: kernel {size}, strides {config['strides']}")
    if tuple(config["dilation_rate"]) != (1, 1):
        found.append(f"{name}: dilation {config['dilation_rate']}")
    if config["padding"] == "same" and size[0] % 2 == 0:
        found.append(f"{name}: even kernel with padding 'same'")
    pool = _following(network.plan, name)[1]
    if pool:
        config = network.graph.layers[pool].config
        if (tuple(config["pool_size"]), tuple(config["strides"])) != ((2, 2), (2, 2)):
            found.append(f"{pool}: pool {config['pool_size']}")
    grids = [formats.activations, *formats.weights, *network.input_grids(name)]
    if len(formats.weights) != 1 or not all(isinstance(g, FixedPointFormat) for g in grids):
        found.append(f"{name}: formats {', '.join(map(str, grids))}")
    return found


def _layer(network: QuantizedNetwork, name: str, input_bits: int, compressed: int) -> NullhopLayer:
    graph, integers = network.graph, network.integers(name)
    spec, shape = graph.layers[name], graph.input_shape(graph.uses(name)[0])
    kernel, output = network.formats[name].weights[0], network.formats[name].activations
    assert isinstance(kernel, FixedPointFormat) and isinstance(output, FixedPointFormat)
    size = spec.config["kernel_size"][0]
    relu, pool = _following(network.plan, name)
    bias = integers.bias if integers.bias is not None else np.zeros(integers.channels, np.int64)
    return NullhopLayer(
        compressed,
        size,
        int(shape[3] or 1),
        int(shape[2] or 1),
        int(shape[1] or 1),
        integers.channels,
        int(bool(pool)),
        int(bool(relu)),
        (size - 1) // 2 if spec.config["padding"] == "same" else 0,
        integers.weights.transpose(3, 2, 0, 1).astype(np.int64),
        bias,
        kernel.fractional_bits,
        kernel.fractional_bits + input_bits,
        output.fractional_bits,
        input_bits,
    )


def _parse(lines: list[str]) -> NullhopNetwork:
    def number() -> int:
        return int(lines.pop(0).split("#")[0])

    def block(marker: str, count: int) -> np.ndarray:
        if lines.pop(0) != marker:
            raise ValueError(f"expected {marker}")
        values = [int(line) for line in lines[:count]]
        if len(values) != count:
            raise ValueError(f"{marker} of {len(values)} numbers; expected {count}")
        del lines[:count]
        return np.array(values, np.int64)

    layers: list[NullhopLayer] = []
    pixels: np.ndarray = np.zeros(0, np.int64)
    bits = _DEFAULT_BITS
    for place in range(number()):
        fields = {name: number() for name, _ in _FIELDS}
        more = dict.fromkeys((name for name, _ in _BITS), _DEFAULT_BITS) | {"input_bits": bits}
        names = {text: name for name, text in _BITS}
        while not lines[0].startswith("#"):
            value, _, text = lines.pop(0).partition("#")
            more[names[text.strip()]] = int(value)
        size = fields["channels_out"], fields["channels_in"], *[fields["kernel_size"]] * 2
        kernels = block("#KERNELS#", int(np.prod(size))).reshape(size)
        biases = block("#BIASES#", fields["channels_out"])
        layers.append(NullhopLayer(**fields, kernels=kernels, biases=biases, **more))
        if place == 0:
            shape = fields["channels_in"], fields["rows"], fields["columns"]
            pixels = block("#PIXELS#", int(np.prod(shape))).reshape(shape)
        bits = more["output_bits"]
    return NullhopNetwork(tuple(layers), pixels)


def _convolve(values: np.ndarray, layer: NullhopLayer) -> np.ndarray:
    """Integer convolution (channel, row, column), stride 1."""
    pad, size = layer.padding, layer.kernel_size
    padded = np.pad(values, ((0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
    return np.einsum("crxkl,ockl->orx", windows, layer.kernels.astype(np.int64), optimize=False)


def _pool(values: np.ndarray) -> np.ndarray:
    rows, columns = values.shape[1] // 2 * 2, values.shape[2] // 2 * 2
    cut = values[:, :rows, :columns]
    return cut.reshape(len(cut), rows // 2, 2, columns // 2, 2).max(axis=(2, 4))
