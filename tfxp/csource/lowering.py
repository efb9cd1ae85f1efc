"""From the operators of an integer graph to calls of C kernels; the rest is refused by name.

Arithmetic comes from the interpreter's prepared operators, so it is decided once. Functions of one
code become tables that its kernels fill, and a mean over any number of positions becomes the sums
at which its code changes; both are exact by construction.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tfxp.csource.packing import pack_codes
from tfxp.csource.program import Constant, Step, Structure, identifiers, initialiser, int8_table
from tfxp.errors import UnsupportedOpError
from tfxp.graph import IntegerGraph, Tensor
from tfxp.interpreter.executor import Executor, Settings
from tfxp.interpreter.kernels import requirements as need
from tfxp.interpreter.kernels.pooling import window_extent
from tfxp.interpreter.mac.geometry import Axis, convolution_axis
from tfxp.interpreter.mac.layer import MacLayer
from tfxp.interpreter.registry import Node, find_kernel

_ALL_CODES = np.arange(-128, 128, dtype=np.int8)
_POINT = Axis(1, 1, 1, 1, 1, 0)
#: Operators that give another shape to the same codes.
VIEWS = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
#: Functions of one code, whatever they compute.
_UNARY = ("QUANTIZE", "RELU", "RELU6", "RELU_N1_TO_1", "LOGISTIC", "TANH", "ELU", "LEAKY_RELU",
          "HARD_SWISH", "ABS", "NEG", "SQUARE", "EXP", "SQRT", "RSQRT", "GELU")  # fmt: skip


def lower(graph: IntegerGraph) -> list[Step]:
    """The kernel calls of a graph, in order.

    Raises:
        UnsupportedOpError: an operator, type, shape or scale that the C kernels lack; all are
            named.
    """
    inputs = (graph.tensors[index] for index in graph.inputs)
    free = [t.name for t in inputs if -1 in (t.shape_signature or ())[1:]]
    if free:
        raise UnsupportedOpError(
            f"sizes of inputs {', '.join(map(repr, free))}: got open ones; expected numbers, which "
            "the memory of the program is planned for."
        )
    executor = Executor(graph, Settings("litert", "reference"))
    steps: list[Step] = []
    refusals: list[str] = []
    names = identifiers(tensor.name for tensor in graph.tensors)
    for node in executor.nodes:
        node.cache["c_name"] = names[node.operator.outputs[0]]
        try:
            steps += _lower_node(node)
        except UnsupportedOpError as error:
            refusals.append(str(error))
    if refusals:
        raise UnsupportedOpError(
            f"operators of the network: got {len(refusals)} that have no C kernel:\n  - "
            + "\n  - ".join(refusals)
            + f"\nExpected {', '.join(known_operators())} on int8 codes with power-of-two scales."
        )
    return steps


def known_operators() -> list[str]:
    """Names of the operators that can be written as C."""
    return sorted({*_LOWERINGS, *_UNARY, *VIEWS})


def _lower_node(node: Node) -> list[Step]:
    name = node.operator.name
    _require_int8(node)
    if name in VIEWS:
        return [_step(node, "", (node.operator.inputs[0],))]
    if name in _UNARY:
        return [_look_up(node)]
    if name not in _LOWERINGS:
        raise UnsupportedOpError(f"{_layer_name(node)} ({name}): no such kernel")
    return _LOWERINGS[name](node)


def _require_int8(node: Node) -> None:
    for tensor in (*node.inputs[:1], *node.outputs):
        if tensor is not None and tensor.type != "INT8":
            raise UnsupportedOpError(f"{_layer_name(node)}: tensor of type {tensor.type}")
    if node.outputs[0].shape[:1] != (1,):
        raise UnsupportedOpError(
            f"{_layer_name(node)}: output shape {list(node.outputs[0].shape)}; expected a first "
            "dimension of 1"
        )


def _layer_name(node: Node) -> str:
    return node.outputs[0].name


def _c_name(node: Node) -> str:
    """What constants of the operator are called; no other operator's are."""
    return str(node.cache["c_name"])


def _step(
    node: Node,
    call: str,
    inputs: tuple[int, ...],
    structure: Structure | None = None,
    constants: tuple[Constant, ...] = (),
    sums: int = 0,
    codes: int = 0,
) -> Step:
    layer, operator = _layer_name(node), node.operator.name
    output = node.operator.outputs[0]
    return Step(layer, operator, call, inputs, output, sums, codes, structure, constants)


def _shift(node: Node, scale: float) -> int:
    """The right shift that multiplies by a power of two."""
    mantissa, exponent = math.frexp(scale)
    if mantissa != 0.5:
        raise UnsupportedOpError(
            f"{_layer_name(node)} ({node.operator.name}): scales with ratio {scale}, which is no "
            "power of two"
        )
    return 1 - exponent


def _image(tensor: Tensor) -> tuple[int, int, int]:
    """Height, width and channels; all but the innermost of other ranks count as width."""
    if len(tensor.shape) == 4:
        return tensor.shape[1], tensor.shape[2], tensor.shape[3]
    return 1, tensor.size // tensor.shape[-1], tensor.shape[-1]


def _mac(node: Node) -> list[Step]:
    layer: MacLayer = node.cache["layer"]
    x, output, options = need.tensor(node, 0), node.outputs[0], node.options
    if layer.requantizer.mode != "float32":
        raise UnsupportedOpError(
            f"{_layer_name(node)}: LiteRT rounds it as {layer.requantizer.mode!r}; expected "
            "weights stored in 8 bits"
        )
    if node.operator.name == "FULLY_CONNECTED":
        depth = layer.channels_in
        source, target = (1, x.size // depth, depth), (1, x.size // depth, layer.channels_out)
        rows, columns = _POINT, _POINT
    else:
        source, target = _image(x), _image(output)
        taps = layer.weights.shape[:2]
        rows, columns = (
            convolution_axis(
                source[i], taps[i], options[f"stride_{side}"],
                options[f"dilation_{side}_factor"], options["padding"],
            )
            for i, side in enumerate("hw")
        )  # fmt: skip
    return [_convolution(node, layer, (source, target), (rows, columns))]


def _convolution(
    node: Node,
    layer: MacLayer,
    images: tuple[tuple[int, int, int], tuple[int, int, int]],
    axes: tuple[Axis, Axis],
) -> Step:
    name, requantizer = _c_name(node), layer.requantizer
    shifts = np.array([_shift(node, float(s)) for s in requantizer.scale], np.int64)
    if (shifts == shifts[0]).all():
        shifts = shifts[:1]
    packed = pack_codes(layer.weights)
    constants = (
        Constant(f"{name}_weights", "uint8_t", packed.data),
        Constant(f"{name}_bias", "int32_t", layer.bias),
        Constant(f"{name}_shifts", "int8_t", shifts),
    )
    low, high = requantizer.low, requantizer.high
    limits = (f"{name}_shifts", len(shifts), requantizer.zero_point, low, high)
    fields = (
        *images,
        *((axis.taps, axis.stride, axis.dilation, axis.pad) for axis in axes),
        (f"{name}_weights", packed.bits, packed.factor),
        f"{name}_bias",
        layer.input_zero,
        layer.groups,
        limits,
    )
    width, channels = images[1][1], images[1][2]
    return _step(
        node,
        f"tfxp_convolve(&{name}_layer, $in0, $out, sums, weights)",
        (node.operator.inputs[0],),
        Structure("tfxp_convolution", f"{name}_layer", fields),
        constants,
        sums=width * channels,
        codes=channels,
    )


def _pool(node: Node) -> list[Step]:
    kind = {"AVERAGE_POOL_2D": "average", "MAX_POOL_2D": "max"}[node.operator.name]
    name, options = _c_name(node), node.options
    source, target = _image(need.tensor(node, 0)), _image(node.outputs[0])
    axes = []
    for i, (side, word) in enumerate((("h", "height"), ("w", "width"))):
        window, stride = options[f"filter_{word}"], options[f"stride_{side}"]
        before = window_extent(source[i], window, stride, options["padding"])[1]
        axes.append((window, stride, 1, before))
    fields = (source, target, *axes, *node.cache["limits"])
    call = f"tfxp_{kind}_pool(&{name}_layer, $in0, $out)"
    structure = Structure("tfxp_pool", f"{name}_layer", fields)
    return [_step(node, call, (node.operator.inputs[0],), structure)]


def _require_positions(node: Node) -> None:
    """A reduction goes over all positions of every channel."""
    if tuple(node.cache["axes"]) != tuple(range(1, len(need.tensor(node, 0).shape) - 1)):
        raise UnsupportedOpError(
            f"{_layer_name(node)} ({node.operator.name}): axes {list(node.cache['axes'])}; "
            "expected all between the first and the last"
        )


def _largest(node: Node) -> list[Step]:
    """The largest code of each channel: a pool over the whole image."""
    _require_positions(node)
    source, name = _image(need.tensor(node, 0)), _c_name(node)
    axes = [(size, 1, 1, 0) for size in source[:2]]
    fields = (source, (1, 1, source[2]), *axes, -128, 127)
    call = f"tfxp_max_pool(&{name}_layer, $in0, $out)"
    structure = Structure("tfxp_pool", f"{name}_layer", fields)
    return [_step(node, call, (node.operator.inputs[0],), structure)]


def _mean(node: Node) -> list[Step]:
    _require_positions(node)
    x, name = need.tensor(node, 0), _c_name(node)
    count, channels = x.size // x.shape[-1], x.shape[-1]
    sums = np.arange(-128 * count, 127 * count + 1)
    codes = np.clip(node.cache["scale"](sums, count), -128, 127).astype(np.int64)
    assert (np.diff(codes) >= 0).all()
    # the smallest sum that gives each code above the lowest
    steps = sums[np.searchsorted(codes, np.arange(codes[0] + 1, codes[-1] + 1))]
    call = f"tfxp_mean({name}_steps, {len(steps)}, {codes[0]}, {count}, {channels}, $in0, $out)"
    constants = (Constant(f"{name}_steps", "int32_t", steps),)
    return [_step(node, call, (node.operator.inputs[0],), constants=constants)]


def _operands(node: Node) -> tuple[list[int], list[Constant], str]:
    """Tensors of a binary operator, the larger first; constants, and the call's arguments."""
    tensors = [need.tensor(node, 0), need.tensor(node, 1)]
    order = [0, 1] if tensors[0].size >= tensors[1].size else [1, 0]
    a, b = (tensors[i] for i in order)
    whole = node.outputs[0].shape
    tiled = np.resize(np.arange(b.size), math.prod(whole)).reshape(whole)
    if a.shape != whole or not np.array_equal(
        np.broadcast_to(np.arange(b.size).reshape(b.shape), whole), tiled
    ):
        raise UnsupportedOpError(
            f"{_layer_name(node)} ({node.operator.name}): shapes {list(a.shape)} and "
            f"{list(b.shape)}; expected equal ones, or a second that repeats along the innermost"
        )
    constants, names = [], []
    for place, i in enumerate(order):
        if (data := tensors[i].data) is None:
            names.append(f"$in{place}")
            continue
        constants.append(Constant(f"{_c_name(node)}_operand", "int8_t", data))
        names.append(constants[-1].name)
    return order, constants, f"{a.size}, {b.size}, {names[0]}, {names[1]}, $out"


def _binary(node: Node) -> list[Step]:
    name, kind = _c_name(node), node.operator.name
    order, constants, arguments = _operands(node)
    inputs = tuple(node.operator.inputs[i] for i in order)
    if kind in ("MAXIMUM", "MINIMUM"):
        call = f"tfxp_{kind.lower()}({arguments})"
        return [_step(node, call, inputs, constants=tuple(constants))]
    a, b = (need.tensor(node, i) for i in order)
    fields = _product(node, a, b) if kind == "MUL" else _sum(node, a, b, order)
    word, verb = ("product", "multiply") if kind == "MUL" else ("sum", "add")
    structure = Structure(f"tfxp_{word}", f"{name}_layer", fields)
    call = f"tfxp_{verb}(&{name}_layer, {arguments})"
    return [_step(node, call, inputs, structure, tuple(constants))]


def _limits(node: Node) -> tuple[int, int]:
    activation = str(node.options.get("fused_activation_function", "NONE"))
    return need.activation_code_limits(node, activation, node.outputs[0], xnnpack=True)


def _sum(node: Node, a: Tensor, b: Tensor, order: list[int]) -> tuple[int, ...]:
    output = node.outputs[0]
    ratios = [tensor.scale / output.scale for tensor in (a, b)]
    if not all(2.0**-10 <= ratio < 2.0**8 for ratio in ratios):
        raise UnsupportedOpError(
            f"{_layer_name(node)} ({node.operator.name}): input scales {ratios} times the "
            "output's; expected 2^-10 to 2^8"
        )
    signs = [1, -1 if node.operator.name == "SUB" else 1]
    shifts = [_shift(node, ratio) for ratio in ratios]
    finest = max(shifts)
    left, right = (signs[i] << (finest - s) for i, s in zip(order, shifts, strict=True))
    return left, right, a.zero_point, b.zero_point, finest, output.zero_point, *_limits(node)


def _product(node: Node, a: Tensor, b: Tensor) -> tuple[int, ...]:
    output = node.outputs[0]
    shift = _shift(node, a.scale * b.scale / output.scale)
    if not -8 < shift <= 16:
        raise UnsupportedOpError(
            f"{_layer_name(node)} (MUL): scale of the product 2^{-shift} times the output's; "
            "expected 2^-16 to 2^7"
        )
    return a.zero_point, b.zero_point, shift, output.zero_point, *_limits(node)


def _look_up(node: Node) -> Step:
    """Any function of one code: its kernel runs on all codes."""
    kernel = find_kernel(node.operator)
    assert kernel is not None
    table = int8_table(kernel.run(node, [_ALL_CODES.reshape(1, 256), *_constants(node)])[0])
    name = _c_name(node)
    call = f"tfxp_look_up({name}_table, {node.outputs[0].size}, $in0, $out)"
    constants = (Constant(f"{name}_table", "int8_t", table),)
    return _step(node, call, (node.operator.inputs[0],), constants=constants)


def _constants(node: Node) -> list[np.ndarray | None]:
    """The constant operands behind the first one."""
    return [None if t is None else t.data for t in node.inputs[1:]]


def _concatenation(node: Node) -> list[Step]:
    output = node.outputs[0]
    axis = node.options["axis"] % len(output.shape)
    pitch = math.prod(output.shape[axis:])
    steps, at = [], 0
    for index, tensor in zip(node.operator.inputs, node.inputs, strict=True):
        assert tensor is not None
        same = (tensor.scale, tensor.zero_point) == (output.scale, output.zero_point)
        if tensor.data is not None or not same:
            raise UnsupportedOpError(
                f"{_layer_name(node)} (CONCATENATION): operand {tensor.name!r} with another scale "
                "or constant data"
            )
        run = math.prod(tensor.shape[axis:])
        runs = math.prod(output.shape[:axis])
        call = f"tfxp_scatter_runs({runs}, {run}, {pitch}, $in0, $out + {at})"
        steps.append(_step(node, call, (index,)))
        at += run
    return steps


def _pad(node: Node) -> list[Step]:
    x, output, pairs = need.tensor(node, 0), node.outputs[0], node.cache["pairs"]
    if len(x.shape) != 4 or any(pairs[0]) or any(pairs[3]):
        raise UnsupportedOpError(
            f"{_layer_name(node)} ({node.operator.name}): paddings {pairs}; expected those of an "
            "image's rows and columns"
        )
    fill = node.cache["fill"]
    if node.operator.name == "PADV2":
        value = need.tensor(node, 2).data
        if value is None:
            raise UnsupportedOpError(f"{_layer_name(node)} (PADV2): a value that is computed")
        fill = int(value.reshape(-1)[0])
    source, target = (f"(tfxp_image){initialiser(*_image(tensor))}" for tensor in (x, output))
    place = f"{pairs[1][0]}, {pairs[2][0]}, {fill}"
    call = f"tfxp_pad_image({source}, {target}, {place}, $in0, $out)"
    return [_step(node, call, (node.operator.inputs[0],))]


_LOWERINGS: dict[str, Callable[[Node], list[Step]]] = {
    "CONV_2D": _mac,
    "DEPTHWISE_CONV_2D": _mac,
    "FULLY_CONNECTED": _mac,
    "AVERAGE_POOL_2D": _pool,
    "MAX_POOL_2D": _pool,
    "MEAN": _mean,
    "REDUCE_MAX": _largest,
    "ADD": _binary,
    "SUB": _binary,
    "MUL": _binary,
    "MAXIMUM": _binary,
    "MINIMUM": _binary,
    "CONCATENATION": _concatenation,
    "PAD": _pad,
    "PADV2": _pad,
}
