"""What is known of a network before its precision is chosen: sizes, work and distributions."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from tfxp.errors import DataError
from tfxp.files import read_json, write_text
from tfxp.formats import TensorStats
from tfxp.precision.layer_kind import LayerKind
from tfxp.precision.selectors import (
    Node,
    format_owners,
    owns_by_kind,
    select,
    without_index_formats,
)

SCHEMA = 1
_TENSORS = ("weights", "bias", "activations", "pre_activations")


@dataclasses.dataclass(frozen=True)
class LayerStats:
    """One layer of a network: its work per sample, its sizes, and what was measured of it.

    Args:
        name: the layer's name.
        kind: its operation, a `LayerKind` or its spelling ("conv", "dense", "pool").
        inputs: names of the layers whose outputs it reads, in order.
        output_shape: shape of one sample's output.
        weight_shape: shape of the kernel, empty if there is none.
        macs: multiply-accumulates per sample, padding taps included.
        bias_count: number of biases.
        weights: distribution of the kernel, if measured.
        bias: distribution of the bias, if measured.
        activations: distribution of the output after its activation function, if measured.
        pre_activations: distribution before the activation function, if measured.
        sqnr: of a quantized network, "weights" and "activations" against the float twin, in dB;
            the latter is the noise that has built up so far.
        owns_format: whether its output has a format of its own, by a rule of the precision map,
            and not that of its first input; None until a `ModelStats` tells it from the kind.
        is_float: whether its output has no format at all: it is left alone in a network that is
            quantized in parts.
        calls: how often it is called for one sample. `macs` and `inputs` are those of all calls,
            `output_shape` is that of one.
    """

    name: str
    kind: LayerKind | str
    inputs: tuple[str, ...] = ()
    output_shape: tuple[int, ...] = ()
    weight_shape: tuple[int, ...] = ()
    macs: int = 0
    bias_count: int = 0
    weights: TensorStats | None = None
    bias: TensorStats | None = None
    activations: TensorStats | None = None
    pre_activations: TensorStats | None = None
    sqnr: Mapping[str, float] = dataclasses.field(default_factory=dict)
    owns_format: bool | None = None
    is_float: bool = False
    calls: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", LayerKind(self.kind))

    @property
    def weight_count(self) -> int:
        """Number of weights in the kernel, biases not counted."""
        return _product(self.weight_shape) if self.weight_shape else 0

    @property
    def output_count(self) -> int:
        """Number of elements in one sample's output."""
        return _product(self.output_shape)

    @property
    def computed_count(self) -> int:
        """Number of elements that all calls for one sample put out."""
        return self.output_count * self.calls

    def again(self, call: LayerStats) -> LayerStats:
        """The same layer with one call more."""
        inputs = tuple(dict.fromkeys(self.inputs + call.inputs))
        macs, calls = self.macs + call.macs, self.calls + call.calls
        return dataclasses.replace(self, inputs=inputs, macs=macs, calls=calls)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        result: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, TensorStats):
                value = value.to_dict()
            result[field.name] = value
        # JSON has no infinity, the SQNR of what lost nothing.
        result["sqnr"] = {k: v if math.isfinite(v) else None for k, v in self.sqnr.items()}
        return result

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LayerStats:
        """From its JSON form."""
        values = dict(data)
        for name in ("inputs", "output_shape", "weight_shape"):
            values[name] = tuple(values.get(name, ()))
        for name in _TENSORS:
            if values.get(name) is not None:
                values[name] = TensorStats.from_dict(values[name])
        sqnr = values.get("sqnr", {})
        values["sqnr"] = {k: math.inf if v is None else float(v) for k, v in sqnr.items()}
        return cls(**values)


@dataclasses.dataclass(frozen=True)
class ModelStats:
    """Every layer of a network in topological order, as the assigners and cost models see it.

    Args:
        layers: layer name -> its figures.
        outputs: names of the layers whose outputs the network returns.
        samples: how many samples were measured; 0 if the network was only counted.
        aliases: layers that were folded away -> the layer they went into.
        selected: selector of a precision map -> names of the layers it stands for; told from the
            layers' kinds where it is not given, as it is for files and networks only counted.

    Example:
        >>> from tfxp.models import count_network
        >>> stats = count_network("sakr_convnet")
        >>> list(stats.layers)[-1], stats.samples
        ('dense2', 0)
    """

    layers: Mapping[str, LayerStats]
    outputs: tuple[str, ...] = ()
    samples: int = 0
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
    selected: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        nodes = without_index_formats(_nodes(self.layers))
        layers = {
            name: layer
            if layer.owns_format is not None
            else dataclasses.replace(layer, owns_format=nodes[name].owns_format)
            for name, layer in self.layers.items()
        }
        object.__setattr__(self, "layers", layers)
        if not self.selected:
            outputs = [name for name in self.outputs if name in nodes]
            object.__setattr__(self, "selected", select(nodes, outputs))

    def __getitem__(self, name: str) -> LayerStats:
        return self.layers[name]

    @property
    def output_sqnr(self) -> dict[str, float]:
        """SQNR of the network's outputs before a final softmax, in dB; empty for a float network.

        Names are those of the layers that compute them.
        """
        result = {}
        for name in self.outputs:
            layer = self.layers.get(self.aliases.get(name, name))
            while layer is not None and "activations" not in layer.sqnr:  # a Reshape has none
                layer = self.layers.get(layer.inputs[0]) if layer.inputs else None
            if layer is not None:
                result[layer.name] = layer.sqnr["activations"]
        return result

    @functools.cached_property
    def format_owners(self) -> dict[str, str]:
        """Layer -> the layer whose format its output has; what has none is its own."""
        return format_owners(_nodes(self.layers))

    @property
    def macs(self) -> int:
        """Multiply-accumulates per sample."""
        return sum(layer.macs for layer in self.layers.values())

    @property
    def weight_count(self) -> int:
        """Weights of all kernels, biases not counted."""
        return sum(layer.weight_count for layer in self.layers.values())

    def to_dict(self) -> dict[str, Any]:
        """JSON form; `from_dict` is the inverse."""
        return {
            "schema": SCHEMA,
            "samples": self.samples,
            "outputs": list(self.outputs),
            "aliases": dict(self.aliases),
            "selected": {key: list(names) for key, names in self.selected.items()},
            "layers": [layer.to_dict() for layer in self.layers.values()],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelStats:
        """From its JSON form.

        Raises:
            DataError: a field is missing or broken, or the schema is another one.
        """
        try:
            if data["schema"] != SCHEMA:
                raise DataError(
                    f"schema of model statistics: got {data['schema']!r}; expected {SCHEMA}."
                )
            layers = [LayerStats.from_dict(layer) for layer in data["layers"]]
            return cls(
                {layer.name: layer for layer in layers},
                tuple(data["outputs"]),
                int(data["samples"]),
                dict(data["aliases"]),
                {key: list(names) for key, names in data.get("selected", {}).items()},
            )
        except DataError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"model statistics: {error!r}. Measure the model again.") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a JSON file, whole or not at all."""
        write_text(path, json.dumps(self.to_dict()) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ModelStats:
        """Read a JSON file.

        Raises:
            DataError: the file is missing, is no JSON, or holds no model statistics.
        """
        return cls.from_dict(read_json(path, "model statistics", DataError))


def _nodes(layers: Mapping[str, LayerStats]) -> dict[str, Node[str]]:
    """The layers as nodes; statistics that do not say whose the formats are go by kinds."""
    read = {name for layer in layers.values() for name in layer.inputs}
    measured = any(layer.activations for layer in layers.values())
    nodes = {}
    for name, layer in layers.items():
        kind, owns = LayerKind(layer.kind), layer.owns_format
        if owns is None and kind == LayerKind.INPUT:
            owns = not measured or layer.activations is not None  # indices are not measured
        elif owns is None:
            padded = kind == LayerKind.PAD and layer.activations is not None  # with a value
            owns = owns_by_kind(kind, name in read) or padded or not layer.inputs
        nodes[name] = Node(name, kind, layer.inputs, bool(layer.weight_count), owns, layer.is_float)
    return nodes


def _product(shape: tuple[int, ...]) -> int:
    result = 1
    for size in shape:
        result *= size
    return result
