"""The convolutions of a quantized chain as NullHop takes them."""

from __future__ import annotations

import numpy as np

from tfxp.errors import ExportError
from tfxp.export.nullhop.network import NullhopLayer, NullhopNetwork
from tfxp.formats import FixedPointFormat, encode
from tfxp.keras_types import KerasModel
from tfxp.quantization.plan import QuantizationPlan
from tfxp.quantization.quantized_network import QuantizedNetwork
from tfxp.quantization.read_network import read_network
from tfxp.transforms.layer_graph import Ref
from tfxp.transforms.normalize.normalize import is_relu


def nullhop_network(qmodel: KerasModel, sample: np.ndarray) -> NullhopNetwork:
    """The convolutions of a quantized chain as NullHop takes them, up to the first other layer.

    Args:
        qmodel: what `quantize_model` returned; power-of-two formats.
        sample: one input (rows, columns, channels), real values.

    Raises:
        ExportError: a convolution is not what the machine computes (square kernel, stride 1, one
            group, padding "valid" or odd "same", a 2x2 max pool or none), or a format has no
            binary point; all are named.
    """
    return convert(read_network(qmodel), sample)


def convert(network: QuantizedNetwork, sample: np.ndarray) -> NullhopNetwork:
    """The same from a network that was read already."""
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


def following(plan: QuantizationPlan, name: str) -> tuple[str, str]:
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
    if None in network.graph.input_shape(network.graph.uses(name)[0])[1:]:
        found.append(f"{name}: an input of unknown size")
    pool = following(network.plan, name)[1]
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
    relu, pool = following(network.plan, name)
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
