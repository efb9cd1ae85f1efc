"""Everything that stands against an export, said before any work."""

from __future__ import annotations

import numpy as np

from tfxp.errors import ExportError
from tfxp.export.indices import mixed_indices
from tfxp.export.largest_sums import depth_and_product, largest_mean_sum, largest_sum
from tfxp.export.lstm_integers import lstm_complaints
from tfxp.export.operators import no_operator, writer_of
from tfxp.export.operators.writers import UNKNOWN_SIZE
from tfxp.quantization.layer_roles import role_of
from tfxp.quantization.plan import QuantizationPlan
from tfxp.quantization.quantized_network import QuantizedNetwork
from tfxp.quantization.role import (
    MATMUL,
    MEAN,
    UNTOUCHED,
)
from tfxp.transforms.activation_functions import function_name
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec
from tfxp.transforms.normalize.activations import TABULATED, is_tabulated, unary_of
from tfxp.transforms.normalize.masks import mask_readers

# Products of 8-bit activations are added up in int32.
_WRAPS = 2**31
_EIGHT_BITS = {
    **{name: operator for name, operator in TABULATED.items() if name not in ("sigmoid", "tanh")},
    "l2_normalize": "L2_NORMALIZATION",
}


def check_exportable(network: QuantizedNetwork) -> None:
    """Raise one error that lists everything that cannot be written as integers.

    Raises:
        ExportError: some tensors are float or too wide, or some layers have no integer form.
    """
    complaints = []
    storage = network.storage
    for name, layer in network.formats.items():
        role = network.role(name)
        if layer.activations is None:
            complaints.append(f"{name}: activations are float; give them a precision")
        elif layer.activations.bits > 16:
            complaints.append(
                f"{name}: activations have {layer.activations.bits} bits; at most 16 can be stored"
            )
        elif storage == "INT16" and layer.activations.qmax > 2**15 - 1:
            complaints.append(
                f"{name}: activations are {layer.activations}; int16 storage has no zero point, "
                "use a signed format or at most 15 bits"
            )
        adds_up = role.role.adds_up
        if adds_up and not layer.weights:
            complaints.append(f"{name}: weights are float; give them a precision")
        elif adds_up and layer.weights[0].bits > 16:
            complaints.append(
                f"{name}: weights have {layer.weights[0].bits} bits; at most 16 can be stored"
            )
        elif adds_up and storage == "INT8" and _largest_bias(network, name) >= 2**31:
            complaints.append(
                f"{name}: the bias needs more than 32 bits at the accumulator's scale; give its "
                "input or kernel a coarser format"
            )
    complaints += _without_operator(network.plan) + _unary_complaints(network, storage)
    complaints += _constant_complaints(network, storage)
    if not complaints:  # sums are known once every tensor has a format
        complaints += _overflow_complaints(network, storage)
    complaints += lstm_complaints(network, storage) + mixed_indices(network.plan)
    if complaints:
        listed = "\n".join(f"  - {text}" for text in complaints)
        raise ExportError(f"model {network.graph.name!r}: cannot be exported:\n{listed}")


def _without_operator(plan: QuantizationPlan) -> list[str]:
    """Layers that LiteRT has no integer operator for, each with the reason."""
    found = []
    masked = mask_readers(plan.graph)
    for _, call, spec in plan.graph.in_order():
        if role_of(spec).role == UNTOUCHED:
            found.append(f"{spec.name} ({spec.kind}): {_why_untouched(spec)}")
            continue
        writer = writer_of(spec)
        if role_of(spec).write is not None:
            continue
        reason = writer.refuses(spec, call) if writer else no_operator(spec)
        if reason is None and spec.name in masked and not role_of(spec).role.is_final:
            reason = f"leaves out what {masked[spec.name]} masks; LiteRT's operator has no mask"
        inner = function_name(spec.config.get("activation"))
        if reason is None and role_of(spec).role.adds_up and inner != "linear":
            reason = f"the activation {inner!r} is inside the layer; quantize the float model anew"
        if reason == UNKNOWN_SIZE:
            reason += _ways_to_a_size(plan.graph)
        if reason:
            found.append(f"{spec.name} ({spec.kind}): {reason}")
    return list(dict.fromkeys(found))


def _ways_to_a_size(graph: LayerGraph) -> str:
    """How to build a network with the sizes that its inputs leave open."""
    found = []
    for ref in graph.inputs:
        shape = graph.shape_of(ref)[1:]
        if None in shape:
            sizes = ", ".join("..." if size is None else str(size) for size in shape)
            found.append(f"{graph.spec_of(ref).name!r} a number for each ... of ({sizes},)")
    if not found:
        return ""
    return f"; build the float model anew, give input {', '.join(found)}, and copy its weights"


def _why_untouched(spec: LayerSpec) -> str:
    """Why a layer of a network that is quantized in parts stayed float."""
    if "quantize_config" not in spec.config:
        return "is not quantized; annotate it"
    config = (spec.config["quantize_config"] or {}).get("class_name", "None")
    return (
        f"is quantized by {config.split('>')[-1]}, whose quantizers have no integer form here; "
        "give the config quantizers of tfxp, or annotate the layer without one"
    )


def _unary_complaints(network: QuantizedNetwork, storage: str) -> list[str]:
    """Activation functions whose operators exist for other types only, or want slopes of 8 bits."""
    found = []
    for name in network.plan.points:
        unary, weights = unary_of(network.graph.layers[name]), network.formats[name].weights
        if unary is None:
            continue
        if unary.function in _EIGHT_BITS and storage == "INT16":
            operator = _EIGHT_BITS[unary.function]
            found.append(
                f"{name}: LiteRT's {operator} takes 8 bits; give all activations 8 bits or fewer"
            )
        if is_tabulated(network.graph.layers[name]) and storage == "INT16":
            found.append(
                f"{name}: the table of its function has 256 codes; give all activations 8 bits or "
                "fewer"
            )
        if unary.function == "prelu" and (not weights or weights[0].bits > 8):
            found.append(f"{name}: slopes are not of at most 8 bits; give its weights a precision")
        if unary.function == "prelu" and len(network.graph.uses(name)) > 1:
            found.append(f"{name}: slopes shared by several calls; give each call a layer")
    return found


def _constant_complaints(network: QuantizedNetwork, storage: str) -> list[str]:
    """Constants beside activations, which share their operators' type."""
    found, most = [], 8 if storage == "INT8" else 16
    for name in network.plan.constants:
        weights = network.formats[name].weights
        if not weights:
            found.append(f"{name}: its constant is float; give its weights a precision")
        elif weights[0].bits > most:
            found.append(
                f"{name}: its constant has {weights[0].bits} bits beside activations that are "
                f"stored in {most}; give its weights at most {most} bits"
            )
    return found


def _overflow_complaints(network: QuantizedNetwork, storage: str) -> list[str]:
    """Layers whose sums could leave 32 bits, in which LiteRT adds up beside 8-bit activations."""
    if storage != "INT8":
        return []
    totals = {name: largest_sum(network, name) for name in network.plan.macs}
    for name, point in network.plan.points.items():
        if point.role == MATMUL:
            depth, largest = depth_and_product(network, name)
            totals[name] = (depth or 1) * largest
        elif point.role == MEAN:
            totals[name] = largest_mean_sum(network, name)
    return [
        f"{name}: sums may reach {total:,}, and LiteRT's wrap at 2^31; give its weights or its "
        "input fewer bits, or the layer fewer inputs"
        for name, total in totals.items()
        if total >= _WRAPS
    ]


def _largest_bias(network: QuantizedNetwork, name: str) -> int:
    bias = network.integers(name).bias
    return 0 if bias is None else int(np.abs(bias).max(initial=0))
