"""Layers that read several tensors: sums, products, extremes, concatenation."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfxp.export.operators.fusing import fused
from tfxp.export.operators.writers import writes
from tfxp.transforms.layer_graph import Call, LayerSpec

_OPERATORS = {
    "Add": "ADD",
    "Subtract": "SUB",
    "Multiply": "MUL",
    "Maximum": "MAXIMUM",
    "Minimum": "MINIMUM",
}


@writes("Add", operators="ADD")
@writes("Subtract", operators="SUB")
def write_sum(builder: Any, number: int, call: Call, spec: LayerSpec) -> None:
    """The two tensors keep their formats; the operator brings them to the sum's."""
    _write_two(builder, number, call, spec, {"pot_scale_int16": False})


@writes("Multiply", operators="MUL")
def write_product(builder: Any, number: int, call: Call, spec: LayerSpec) -> None:
    """The product of codes, scaled once."""
    _write_two(builder, number, call, spec, {})


def _write_two(
    builder: Any, number: int, call: Call, spec: LayerSpec, options: dict[str, Any]
) -> None:
    inputs = [value.index for value in builder.read(call)]
    if len(inputs) == 1:
        inputs *= 2
    relu = builder.closing_relu(spec.name)
    options = {**options, "fused_activation_function": fused(relu)}
    output = builder.output(number, spec)
    builder.emit(_OPERATORS[spec.kind], inputs, output, options)
    builder.put(number, builder.finish(output, relu, True, spec.name))


@writes("Maximum", operators="QUANTIZE, MAXIMUM")
@writes("Minimum", operators="QUANTIZE, MINIMUM")
def write_extreme(builder: Any, number: int, call: Call, spec: LayerSpec) -> None:
    """Codes are compared, so both tensors are brought to one format first."""
    output = builder.output(number, spec)
    parts = _parts(builder, call, spec, output)
    builder.emit(_OPERATORS[spec.kind], [part.index for part in parts], output)
    _close(builder, number, spec, output)


@writes("Concatenate", operators="QUANTIZE, CONCATENATION")
def write_concatenation(builder: Any, number: int, call: Call, spec: LayerSpec) -> None:
    """Parts are brought to one format first."""
    output = builder.output(number, spec)
    parts = _parts(builder, call, spec, output)
    axis = spec.config["axis"] % len(builder.shape(output))
    options = {"axis": axis, "fused_activation_function": "NONE"}
    builder.emit("CONCATENATION", [part.index for part in parts], output, options)
    _close(builder, number, spec, output)


def _parts(builder: Any, call: Call, spec: LayerSpec, output: Any) -> list[Any]:
    name = f"{spec.name}_part"
    return [builder.requantized(value, output.fmt, name) for value in builder.read(call)]


def _close(builder: Any, number: int, spec: LayerSpec, output: Any) -> None:
    """Parts are inside the format already; only a ReLU is left to do."""
    relu = builder.closing_relu(spec.name)
    needed = relu is not None and output.fmt.qmin < 0
    limited = relu is not None and np.isfinite(relu)
    if needed or limited:
        output = builder.finish(output, relu, False, spec.name)
    builder.put(number, output)
