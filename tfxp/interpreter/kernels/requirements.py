"""What kernels ask of a node before it may run, each refusal in one sentence.

Types and options that a kernel does not know raise UnsupportedOpError; shapes, scales and indices
that cannot be meant raise TfliteFormatError.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tfxp.errors import TfliteFormatError, UnsupportedOpError
from tfxp.graph.element_types import CODE_LIMITS
from tfxp.graph.integer_graph import Tensor
from tfxp.interpreter.fused_activation import ACTIVATION_LIMITS, code_limits
from tfxp.interpreter.registry import Array, Node, as_ints

#: Windows and image sides beyond this are taken for damage.
MAX_SIDE = 2**16
BYTE_TYPES = ("INT8", "UINT8")
CODE_TYPES = ("INT8", "UINT8", "INT16")


def unsupported(node: Node, what: str, got: Any, expected: str) -> UnsupportedOpError:
    """The error for a type or option that no kernel of tfxp knows."""
    return UnsupportedOpError(
        f"{what} of {node.name}: got {got}; expected {expected}. Convert the model with a type or "
        "option that is listed."
    )


def malformed(node: Node, what: str, got: Any, expected: str) -> TfliteFormatError:
    """The error for a shape, scale or index that cannot be meant."""
    return TfliteFormatError(
        f"{what} of {node.name}: got {got}; expected {expected}. The file is damaged or was "
        "written for another runtime."
    )


def tensor(node: Node, position: int) -> Tensor:
    """Input `position`, which must be there."""
    found = node.inputs[position] if position < len(node.inputs) else None
    if found is None:
        raise malformed(node, f"input {position}", "nothing", "a tensor")
    return found


def require_counts(
    node: Node,
    inputs: int | tuple[int, int],
    outputs: int = 1,
    optional: Iterable[int] = (),
) -> None:
    """Checks the number of inputs (exact, or a range) and outputs, and that inputs are there.

    Args:
        node: what is checked.
        inputs: how many.
        outputs: how many.
        optional: positions that may be left out.
    """
    low, high = (inputs, inputs) if isinstance(inputs, int) else inputs
    if not low <= len(node.inputs) <= high:
        wanted = str(low) if low == high else f"{low} to {high}"
        raise malformed(node, "inputs", len(node.inputs), wanted)
    if len(node.outputs) != outputs:
        raise malformed(node, "outputs", len(node.outputs), str(outputs))
    for position in set(range(low)) - set(optional):
        tensor(node, position)


def require_type(node: Node, position: int, types: Iterable[str]) -> str:
    """The type of input `position`, which must be one of `types`."""
    return _one_of(node, f"type of input {position}", tensor(node, position).type, types)


def require_output_type(node: Node, types: Iterable[str], position: int = 0) -> str:
    """The type of output `position`, which must be one of `types`."""
    return _one_of(node, f"type of output {position}", node.outputs[position].type, types)


def _one_of(node: Node, what: str, got: str, allowed: Iterable[str]) -> str:
    known = tuple(allowed)
    if got not in known:
        raise unsupported(node, what, got, "one of " + ", ".join(known))
    return got


def require_scales(node: Node, *tensors: Tensor) -> None:
    """Checks that quantized tensors have one usable scale and a zero point that is a code."""
    for item in tensors:
        if not (math.isfinite(item.scale) and item.scale > 0.0):
            raise malformed(node, f"scale of tensor {item.name!r}", item.scale, "a number > 0")
        low, high = CODE_LIMITS[item.type]
        if not low <= item.zero_point <= high:
            expected = f"{low} to {high}"
            raise malformed(node, f"zero point of {item.name!r}", item.zero_point, expected)


def require_symmetric(node: Node, *tensors: Tensor) -> None:
    """Checks that INT16 tensors have zero point 0."""
    for item in tensors:
        if item.type == "INT16" and item.zero_point != 0:
            raise unsupported(node, f"zero point of {item.name!r}", item.zero_point, "0 for INT16")


def require_same_type(node: Node) -> str:
    """The type that all inputs and outputs share."""
    present = [item for item in node.inputs if item is not None]
    types = {item.type for item in [*present, *node.outputs]}
    if len(types) != 1:
        raise unsupported(node, "types", ", ".join(sorted(types)), "one type for all tensors")
    return types.pop()


def require_rank(node: Node, position: int, *ranks: int) -> int:
    """The number of dimensions of input `position`, which must be one of `ranks`."""
    rank = len(tensor(node, position).shape)
    if rank not in ranks:
        expected = " or ".join(str(r) for r in ranks)
        raise malformed(node, f"dimensions of input {position}", rank, expected)
    return rank


def require_constant(node: Node, position: int) -> Array:
    """The constant data of input `position`, an index or shape tensor."""
    require_type(node, position, ("INT32", "INT64"))
    data = node.constant(position)
    if data is None:
        raise unsupported(node, f"input {position}", "a computed tensor", "a constant")
    return data


def constant_ints(node: Node, position: int) -> list[int]:
    """`require_constant` as Python integers."""
    return as_ints(require_constant(node, position))


def require_axis(node: Node, axis: int, rank: int) -> int:
    """`axis` counted from the front, checked against the rank."""
    if not -rank <= axis < rank:
        raise malformed(node, "axis", axis, f"{-rank} to {rank - 1}")
    return axis % rank


def require_output_shape(node: Node, shape: Sequence[int], position: int = 0) -> None:
    """Checks an output's size, and its shape where the file states a fixed one; notes the shape."""
    output = node.outputs[position]
    if math.prod(shape) > node.largest_tensor:
        most = f"at most {node.largest_tensor} elements"
        raise malformed(node, f"shape of output {position}", list(shape), most)
    node.cache.setdefault("output_shapes", {})[position] = tuple(shape)
    stated, free = output.shape, -1 in (output.shape_signature or ())
    if stated and not free and tuple(stated) != tuple(shape):
        raise malformed(node, f"shape of output {position}", list(stated), str(list(shape)))


def broadcast_shape(node: Node, *positions: int) -> tuple[int, ...]:
    """The shape that the inputs broadcast to."""
    shapes = [tensor(node, position).shape for position in positions]
    try:
        return tuple(np.broadcast_shapes(*shapes))
    except ValueError:
        got = " and ".join(str(list(shape)) for shape in shapes)
        raise malformed(node, "input shapes", got, "shapes that broadcast") from None


def require_activation(node: Node) -> str:
    """The fused activation, by name."""
    name = node.options.get("fused_activation_function", "NONE")
    if name not in ACTIVATION_LIMITS:
        known = ", ".join(ACTIVATION_LIMITS)
        raise unsupported(node, "fused activation", name, f"one of {known}")
    return str(name)


def activation_code_limits(
    node: Node, activation: str, output: Tensor, xnnpack: bool = False
) -> tuple[int, int]:
    """`fused_activation.code_limits` of an output that is checked."""
    if activation != "NONE":
        require_scales(node, output)
    return code_limits(activation, output, xnnpack)


def float32_ratio(numerator: float, denominator: float) -> float:
    """numerator / denominator in float32, as LiteRT and XNNPACK divide scales."""
    return float(np.float32(numerator) / np.float32(denominator))


def byte_quantized(*tensors: Tensor) -> bool:
    """Whether XNNPACK's delegate would take these tensors: one scale each, INT8 or UINT8."""
    for item in tensors:
        quantization = item.quantization
        if item.type not in BYTE_TYPES or quantization is None or quantization.axis != 0:
            return False
        if quantization.scale.size != 1 or not item.scale > 0.0:
            return False
        if item.type == "UINT8" and quantization.zero_point.size != 1:
            return False
    return True


def require_unary(node: Node, types: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Input and output of an operator that maps one tensor to another of its type and shape."""
    require_counts(node, 1)
    kind = require_type(node, 0, types)
    require_output_type(node, (kind,))
    source, output = tensor(node, 0), node.outputs[0]
    require_output_shape(node, source.shape)
    if kind != "FLOAT32":
        require_scales(node, source, output)
        require_symmetric(node, source, output)
    return source, output
