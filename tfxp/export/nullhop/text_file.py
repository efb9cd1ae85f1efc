"""NullHop's text file, written and read."""

from __future__ import annotations

import os

import numpy as np

from tfxp.errors import DataError
from tfxp.export.nullhop.network import DEFAULT_BITS, NullhopLayer, NullhopNetwork
from tfxp.files import write_text

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


def save_nullhop(path: str | os.PathLike[str], network: NullhopNetwork) -> None:
    """Write the text file, whole or not at all.

    Args:
        path: the file.
        network: its layers in order.
    """
    lines = [f"{len(network.layers)} # num layers "]
    for place, layer in enumerate(network.layers):
        lines += [f" {getattr(layer, name)} #{text}" for name, text in _FIELDS]
        bits = [(name, text) for name, text in _BITS if place == 0 or name != "input_bits"]
        if any(getattr(layer, name) != DEFAULT_BITS for name, _ in bits):
            lines += [f" {getattr(layer, name)} #{text}" for name, text in bits]
        lines += ["#KERNELS#", *map(str, layer.kernels.ravel().tolist())]
        lines += ["#BIASES#", *map(str, layer.biases.ravel().tolist())]
        if place == 0:
            lines += ["#PIXELS#", *map(str, network.pixels.ravel().tolist())]
    write_text(path, "\n".join(lines) + "\n")


def load_nullhop(path: str | os.PathLike[str]) -> NullhopNetwork:
    """Read a file that `save_nullhop`, or ADaPTION, wrote.

    Args:
        path: the file.

    Raises:
        DataError: the file is missing or broken.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file if line.strip()]
        return _parse(lines)
    except (OSError, UnicodeDecodeError, ValueError, IndexError, KeyError) as error:
        raise DataError(f"NullHop file {os.fspath(path)!r}: {error!r}. Export it again.") from None


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
    bits = DEFAULT_BITS
    for place in range(number()):
        fields = {name: number() for name, _ in _FIELDS}
        more = dict.fromkeys((name for name, _ in _BITS), DEFAULT_BITS) | {"input_bits": bits}
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
