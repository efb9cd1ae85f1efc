"""Which tensors may differ between Keras and the integer file, and why."""

from __future__ import annotations

import math

import numpy as np

from tfxp.export.largest_sums import depth_and_product, largest_mean_sum, largest_sum
from tfxp.export.lstm_integers import lstm_notes
from tfxp.export.note import Note
from tfxp.formats import has_power_of_two
from tfxp.precision import FLOAT
from tfxp.quantization.layer_formats import LayerFormats
from tfxp.quantization.layer_roles import role_of
from tfxp.quantization.plan import QuantizationPlan
from tfxp.quantization.quantized_network import EXACT_LIMIT, QuantizedNetwork
from tfxp.quantization.role import (
    CONCATENATE,
    INTERPOLATE,
    MATMUL,
    MEAN,
    MULTIPLY,
    UNARY,
    Role,
)
from tfxp.quantizers import ActivationQuantizer, MeanQuantizer
from tfxp.transforms.normalize.activations import is_tabulated, unary_of

# XNNPACK's ADD works for input scales of 2^-10 to 2^8 output scales, else a builtin kernel does;
# its convolutions and dense layers for accumulator scales below 2^8 output scales.
_SMALLEST_ADD_RATIO = 2.0**-10
_LARGEST_RATIO = 2.0**8
_EXACT_FACTORS = (1, 2, 4, 8, 16)
_SMALLEST_MUL_RATIO = 2.0**-16
_GROWS = "which grows through the layers behind it"


def exactness_notes(network: QuantizedNetwork, pack_int4: bool = False) -> list[Note]:
    """Which tensors may differ between Keras and the integer file, and why; empty if none."""
    notes = []
    plan, formats = network.plan, network.formats
    if network.storage == "INT16":
        notes += _wide_notes(network)
    notes += _version_notes(network)
    for name in plan.macs:
        notes += _mac_notes(network, name)
    for name, point in plan.points.items():
        if point.role.sums:
            notes += _add_notes(network, name)
        elif point.role in (MULTIPLY, UNARY):
            notes += _ratio_notes(network, name)
        elif point.role == MATMUL:
            notes += _product_notes(network, name)
        elif point.role == MEAN:
            notes += _mean_notes(network, name)
        notes += _scale_notes(formats[name], name)
        notes += _rounding_notes(network, name, point.role)
    notes += _interpolation_notes(plan) + lstm_notes(network)
    packed = [name for name in plan.macs if pack_int4 and formats[name].weights[0].bits <= 4]
    if packed:
        text = "LiteRT rounds twice beside packed INT4 weights; +-1 LSB at each such layer"
        notes.append(Note(tuple(packed), f"{text}, {_GROWS}"))
    absorbed = [name for name in plan.graph.layers if plan.role(name).role.is_absorbed]
    if absorbed:
        text = "kept BatchNormalization becomes float scales per channel: +-1 LSB at each such"
        notes.append(Note(tuple(absorbed), f"{text} layer, {_GROWS}"))
    wide = [name for name in plan.macs if any(fmt.bits > 8 for fmt in formats[name].weights)]
    if wide and network.storage == "INT8":
        text = "tfxp's interpreter rounds halves up beside weights of more than 8 bits; +-1 LSB"
        notes.append(Note(tuple(wide), f"{text}, {_GROWS}"))
    return notes


def _wide_notes(network: QuantizedNetwork) -> list[Note]:
    """Operators that round twice beside 16-bit activations, which Keras does not repeat."""
    twice = [
        name
        for name, point in network.plan.points.items()
        if point.role in (MEAN, MULTIPLY, MATMUL, UNARY, CONCATENATE)
    ]
    if not twice:
        return []
    text = "LiteRT rounds twice beside activations wider than 8 bits, +-1 LSB at each such layer"
    return [Note(tuple(twice), f"{text}, {_GROWS}; interpreter and LiteRT agree")]


def _version_notes(network: QuantizedNetwork) -> list[Note]:
    """Layers of models that version 0.1 saved, whose quantizers lack what the operators need."""
    lacking = []
    for name, wrapper in network.wrappers.items():
        quantizer = wrapper.quantize_config.output_quantizer
        if isinstance(quantizer, MeanQuantizer) and not quantizer.zero_points:
            lacking.append(name)
        if isinstance(quantizer, ActivationQuantizer):
            role, unary = network.role(wrapper.owner), unary_of(network.graph.layers[wrapper.owner])
            if unary is not None and unary.is_integer:
                lacking.append(name)
            if network.storage != "INT16":
                continue
            if role.wide_rounding is not None and quantizer.wide_rounding is None:
                lacking.append(name)
    if not lacking:
        return []
    text = "saved by version 0.1 with a rounding that is not the operator's, +-1 LSB at each such"
    return [Note(tuple(lacking), f"{text} layer, {_GROWS}; quantize the float model again")]


def _mac_notes(network: QuantizedNetwork, name: str) -> list[Note]:
    total, output = largest_sum(network, name), network.formats[name].activations
    if total < EXACT_LIMIT:
        return []
    assert output is not None
    steps = [fmt.scale for fmt in network.integer_inputs(name)]
    ratio = max(steps) * network.integers(name).weight_scale.max() / output.scale
    lsb = 1 + math.ceil(total / EXACT_LIMIT * ratio)  # one accumulator step in 2^24, and a tie
    return [
        Note(
            (name,),
            f"accumulators may reach {total}, past 2^24; Keras' float32 sums may be off by "
            f"{lsb} LSB there",
            lsb,
        )
    ]


def _operand_scales(network: QuantizedNetwork, name: str) -> list[float]:
    """Steps of what an operator adds or multiplies, a constant included."""
    constant = network.formats[name].weights if name in network.plan.constants else ()
    return [fmt.scale for fmt in (*network.integer_inputs(name), *constant)]


def _add_notes(network: QuantizedNetwork, name: str) -> list[Note]:
    output = network.formats[name].activations
    assert output is not None
    notes = []
    for ratio in {step / output.scale for step in _operand_scales(network, name)}:
        if ratio < _SMALLEST_ADD_RATIO:
            text = "under 2^-10; LiteRT's builtin ADD rounds ties away from zero, +-1 LSB"
            notes.append(Note((name,), f"one input step is {ratio:g} output steps, {text}"))
        elif ratio >= _LARGEST_RATIO:
            text = "256 or more; LiteRT's builtin ADD overflows. Give the output a coarser format"
            notes.append(Note((name,), f"one input step is {ratio:g} output steps, {text}", None))
    return notes


def _ratio_notes(network: QuantizedNetwork, name: str) -> list[Note]:
    """Products and leaky ReLUs that LiteRT's default engine leaves to its builtin kernels."""
    spec, output = network.graph.layers[name], network.formats[name].activations
    assert output is not None
    steps = _operand_scales(network, name)
    ratio = float(np.prod(steps if len(steps) == 2 else steps * 2)) / output.scale
    product = spec.kind in ("Multiply", "MultiplyConstant")
    if product and not _SMALLEST_MUL_RATIO <= ratio < _LARGEST_RATIO:
        text = (
            f"one step of the product is {ratio:g} output steps; LiteRT's builtin MUL rounds twice "
            "outside 2^-16 to 2^8, +-1 LSB. Give the output another format"
        )
        return [Note((name,), text)]
    unary = unary_of(spec)
    if unary is None or unary.function != "leaky_relu":
        return []
    ratio = max(steps) / output.scale
    slope = abs(ratio * unary.alpha)
    if 2.0**-8 <= ratio <= 128 and 2.0**-8 <= slope <= 128:
        return []
    text = "LiteRT's builtin LEAKY_RELU rounds twice there, +-1 LSB"
    return [Note((name,), f"one input step is {ratio:g} output steps; {text}")]


def _product_notes(network: QuantizedNetwork, name: str) -> list[Note]:
    """Products of matrices whose sums may leave float32's whole numbers."""
    depth, largest = depth_and_product(network, name)
    terms = EXACT_LIMIT // largest
    if depth is not None and depth <= terms:
        return []
    text = f"sums of {depth or 'any number of'} products, past 2^24 beyond {terms}"
    return [Note((name,), f"{text}; Keras' float32 sums may be off by 1 LSB there")]


def _mean_notes(network: QuantizedNetwork, name: str) -> list[Note]:
    """Means of so many elements that float32 does not tell their sums apart."""
    total = largest_mean_sum(network, name)
    if total < EXACT_LIMIT // 2:
        return []
    text = f"sums may reach {total}, past 2^23; Keras' float32 means may be off by 1 LSB there"
    return [Note((name,), text)]


def _interpolation_notes(plan: QuantizationPlan) -> list[Note]:
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
            text = (
                f"bilinear enlargement by {', '.join(f'{f:g}' for f in factors)}, not by powers of "
                "two; RESIZE_BILINEAR's weights have 11 bits, +-1 LSB"
            )
            notes.append(Note((spec.name,), text))
    return notes


def _scale_notes(formats: LayerFormats, name: str) -> list[Note]:
    fmt, weights = formats.activations, formats.weights
    notes = []
    if fmt is not None and not has_power_of_two(fmt):
        text = f"scale {fmt.scale:.6g} of {fmt} is no power of two; +-1 LSB"
        notes.append(Note((name,), text))
    if weights and not has_power_of_two(weights[0]):
        text = f"kernel scale of {weights[0]} is no power of two; +-1 LSB"
        notes.append(Note((name,), text))
    if formats.rule.bias == FLOAT:
        text = "bias trained in float, rounded to accumulator steps; +-1 LSB"
        notes.append(Note((name,), text))
    return notes


def _rounding_notes(network: QuantizedNetwork, name: str, role: Role) -> list[Note]:
    rounding = network.formats[name].rule.rounding_mode
    if rounding in (None, role.rounding) or is_tabulated(network.graph.layers[name]):
        return []
    text = f"trained with {rounding} rounding, the file's operator rounds its own way; +-1 LSB"
    return [Note((name,), text)]
