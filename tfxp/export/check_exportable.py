"""Everything that stands against an export, said before any work; and what will not be exact."""

from __future__ import annotations

import math

import numpy as np

from tfxp.errors import ExportError
from tfxp.export.graph_builder import storage_type
from tfxp.export.indices import mixed_indices
from tfxp.export.lstm_integers import lstm_complaints, lstm_notes
from tfxp.export.operators import no_operator, writer_of
from tfxp.export.operators.writers import UNKNOWN_SIZE
from tfxp.formats import FixedPointFormat, Format
from tfxp.precision import FLOAT
from tfxp.quantization.integer_layer import row_blocks
from tfxp.quantization.layer_formats import LayerFormats
from tfxp.quantization.layer_roles import role_of
from tfxp.quantization.plan import QuantizationPlan
from tfxp.quantization.quantized_network import EXACT_LIMIT, QuantizedNetwork
from tfxp.quantization.role import INTERPOLATE, MATMUL, MULTIPLY, UNARY, UNTOUCHED, Role
from tfxp.transforms.activation_functions import function_name
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec
from tfxp.transforms.normalize.activations import unary_of
from tfxp.transforms.normalize.masks import mask_readers

# XNNPACK's ADD works for input scales of 2^-10 to 2^8 output scales, else a builtin kernel does;
# its convolutions and dense layers for accumulator scales below 2^8 output scales.
_SMALLEST_ADD_RATIO = 2.0**-10
_LARGEST_RATIO = 2.0**8
# Products of 8-bit activations are added up in int32.
_WRAPS = 2**31
_EXACT_FACTORS = (1, 2, 4, 8, 16)
_EIGHT_BITS = {"elu": "ELU", "l2_normalize": "L2_NORMALIZATION"}
_SMALLEST_MUL_RATIO = 2.0**-16


def check_exportable(network: QuantizedNetwork) -> None:
    """Raise one error that lists everything that cannot be written as integers.

    Raises:
        ExportError: some tensors are float or too wide, or some layers have no integer form.
    """
    complaints = []
    storage = storage_type(network)
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
            depth, largest = _depth_and_product(network, name)
            totals[name] = (depth or 1) * largest
    return [
        f"{name}: sums may reach {total:,}, and LiteRT's wrap at 2^31; give its weights or its "
        "input fewer bits, or the layer fewer inputs"
        for name, total in totals.items()
        if total >= _WRAPS
    ]


def _largest_bias(network: QuantizedNetwork, name: str) -> int:
    bias = network.integers(name).bias
    return 0 if bias is None else int(np.abs(bias).max(initial=0))


def exactness_notes(network: QuantizedNetwork, pack_int4: bool = False) -> list[str]:
    """Which tensors may differ between Keras and the integer file, and why; empty if none."""
    notes = []
    plan, formats = network.plan, network.formats
    if storage_type(network) == "INT16":
        notes.append(
            "activations wider than 8 bits: LiteRT's int16 kernels round differently from Keras' "
            "simulation, and float32 sums are not exact; interpreter and LiteRT still agree"
        )
    for name in plan.macs:
        notes += _mac_notes(network, name)
    for name, point in plan.points.items():
        if point.role.sums:
            notes += _add_notes(network, name)
        elif point.role in (MULTIPLY, UNARY):
            notes += _ratio_notes(network, name)
        elif point.role == MATMUL:
            notes += _product_notes(network, name)
        notes += _scale_notes(formats[name], name)
        notes += _rounding_notes(formats[name], name, point.role)
    notes += _interpolation_notes(plan) + lstm_notes(network)
    packed = [name for name in plan.macs if pack_int4 and formats[name].weights[0].bits <= 4]
    if packed:
        notes.append(
            f"{', '.join(packed)}: LiteRT rounds twice beside packed INT4 weights; +-1 LSB"
        )
    if any(plan.role(name).role.is_absorbed for name in plan.graph.layers):
        notes.append(
            "kept BatchNormalization becomes float scales per channel: +-1 LSB at each such layer, "
            "which grows through the layers behind it"
        )
    if any(weights.bits > 8 for name in plan.macs for weights in formats[name].weights):
        notes.append(
            "weights wider than 8 bits: LiteRT refuses int16 kernels; tfxp's interpreter runs them"
        )
    return notes


def largest_sum(network: QuantizedNetwork, name: str) -> int:
    """Largest possible |accumulator| of a layer, biases included, in accumulator steps."""
    layer, grids = network.integers(name), network.integer_inputs(name)
    largest = max(max(abs(fmt.qmin), fmt.qmax) for fmt in grids)
    matrix = network.role(name).weights[0].as_matrix(layer.weights)
    blocks = (np.abs(matrix[rows].astype(np.int64)) for rows in row_blocks(matrix))
    sums = sum(block.sum(axis=0) for block in blocks) * largest
    if layer.bias is not None:
        sums = sums + np.abs(layer.bias)
    return int(sums.max())


def _mac_notes(network: QuantizedNetwork, name: str) -> list[str]:
    notes = []
    total = largest_sum(network, name)
    if total >= EXACT_LIMIT:
        notes.append(
            f"{name}: accumulators may reach {total}, past 2^24; Keras' float32 sums may be off by "
            "1 LSB there"
        )
    output = network.formats[name].activations
    assert output is not None
    steps = [fmt.scale for fmt in network.integer_inputs(name)]
    ratio = max(steps) * network.integers(name).weight_scale.max() / output.scale
    if ratio >= _LARGEST_RATIO:
        notes.append(
            f"{name}: one accumulator step is {ratio:g} output steps, 256 or more; LiteRT's "
            "default engine refuses that. Give the output a coarser format"
        )
    return notes


def _operand_scales(network: QuantizedNetwork, name: str) -> list[float]:
    """Steps of what an operator adds or multiplies, a constant included."""
    constant = network.formats[name].weights if name in network.plan.constants else ()
    return [fmt.scale for fmt in (*network.integer_inputs(name), *constant)]


def _add_notes(network: QuantizedNetwork, name: str) -> list[str]:
    output = network.formats[name].activations
    assert output is not None
    notes = []
    for ratio in {step / output.scale for step in _operand_scales(network, name)}:
        if ratio < _SMALLEST_ADD_RATIO:
            notes.append(
                f"{name}: one input step is {ratio:g} output steps, under 2^-10; LiteRT's builtin "
                "ADD rounds ties away from zero, +-1 LSB"
            )
        elif ratio >= _LARGEST_RATIO:
            notes.append(
                f"{name}: one input step is {ratio:g} output steps, 256 or more; LiteRT's builtin "
                "ADD overflows there. Give the output a coarser format"
            )
    return notes


def _ratio_notes(network: QuantizedNetwork, name: str) -> list[str]:
    """Products and leaky ReLUs that LiteRT's default engine leaves to its builtin kernels."""
    spec, output = network.graph.layers[name], network.formats[name].activations
    assert output is not None
    steps = _operand_scales(network, name)
    ratio = float(np.prod(steps if len(steps) == 2 else steps * 2)) / output.scale
    product = spec.kind in ("Multiply", "MultiplyConstant")
    if product and not _SMALLEST_MUL_RATIO <= ratio < _LARGEST_RATIO:
        return [
            f"{name}: one step of the product is {ratio:g} output steps; LiteRT's builtin MUL "
            "rounds twice outside 2^-16 to 2^8, +-1 LSB. Give the output another format"
        ]
    unary = unary_of(spec)
    if unary is None or unary.function != "leaky_relu":
        return []
    ratio = max(steps) / output.scale
    slope = abs(ratio * unary.alpha)
    if 2.0**-8 <= ratio <= 128 and 2.0**-8 <= slope <= 128:
        return []
    return [
        f"{name}: one input step is {ratio:g} output steps; LiteRT's builtin LEAKY_RELU rounds "
        "twice there, +-1 LSB"
    ]


def _depth_and_product(network: QuantizedNetwork, name: str) -> tuple[int | None, int]:
    """Terms of every sum in a product of matrices, None if free, and the largest of them."""
    grids = network.integer_inputs(name)
    largest = math.prod(max(-fmt.qmin, fmt.qmax) for fmt in grids)
    call = network.graph.calls[network.graph.uses(name)[0]]
    shape = network.graph.shape_of(call.refs()[0])
    return shape[-2 if call.kwargs.get("transpose_a") else -1], largest


def _product_notes(network: QuantizedNetwork, name: str) -> list[str]:
    """Products of matrices whose sums may leave float32's whole numbers."""
    depth, largest = _depth_and_product(network, name)
    terms = EXACT_LIMIT // largest
    if depth is not None and depth <= terms:
        return []
    return [
        f"{name}: sums of {depth or 'any number of'} products, past 2^24 beyond {terms}; Keras' "
        "float32 sums may be off by 1 LSB there"
    ]


def _interpolation_notes(plan: QuantizationPlan) -> list[str]:
    """Enlargements whose weights RESIZE_BILINEAR has to round to 11 bits."""
    notes = []
    for number, call, spec in plan.graph.in_order():
        if role_of(spec).role != INTERPOLATE:
            continue
        before = plan.graph.input_shape(number)
        factors = [
            after / size
            for size, after in zip(before[1:3], call.output_shapes[0][1:3], strict=True)
            if size and after
        ]
        if not all(factor in _EXACT_FACTORS for factor in factors):
            notes.append(
                f"{spec.name}: bilinear enlargement by {', '.join(f'{f:g}' for f in factors)}, not "
                "by powers of two; RESIZE_BILINEAR's weights have 11 bits, +-1 LSB"
            )
    return notes


def _scale_notes(formats: LayerFormats, name: str) -> list[str]:
    fmt, weights = formats.activations, formats.weights
    notes = []
    if fmt is not None and not _has_power_of_two(fmt):
        notes.append(f"{name}: scale {fmt.scale:.6g} of {fmt} is no power of two; +-1 LSB")
    if weights and not _has_power_of_two(weights[0]):
        notes.append(f"{name}: kernel scale of {weights[0]} is no power of two; +-1 LSB")
    if formats.rule.bias == FLOAT:
        notes.append(f"{name}: bias trained in float, rounded to accumulator steps; +-1 LSB")
    return notes


def _has_power_of_two(fmt: Format) -> bool:
    """Whether the scale is a power of two; that of binary weights is a mean."""
    if getattr(fmt, "is_binary", False):
        return False
    return isinstance(fmt, FixedPointFormat) or fmt.qmax == 1


def _rounding_notes(formats: LayerFormats, name: str, role: Role) -> list[str]:
    rounding = formats.rule.rounding
    if rounding in (None, "engine", role.rounding):
        return []
    return [
        f"{name}: trained with {rounding} rounding, the file's operator rounds its own way; +-1 LSB"
    ]
