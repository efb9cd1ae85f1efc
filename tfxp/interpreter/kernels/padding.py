"""PAD, PADV2 and MIRROR_PAD. Codes pass as they are; PAD fills with the zero point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfxp.interpreter.kernels import requirements as need
from tfxp.interpreter.kernels.shaping import require_passed_type
from tfxp.interpreter.registry import Array, Node, kernel


def _prepare(node: Node) -> None:
    with_value = node.operator.name == "PADV2"
    need.require_counts(node, 3 if with_value else 2)
    require_passed_type(node)
    amounts = need.require_constant(node, 1)
    shape = need.tensor(node, 0).shape
    if amounts.shape != (len(shape), 2):
        expected = f"[{len(shape)}, 2]"
        raise need.malformed(node, "shape of the paddings", list(amounts.shape), expected)
    pairs = [(int(before), int(after)) for before, after in amounts]
    if min((n for pair in pairs for n in pair), default=0) < 0:
        raise need.unsupported(node, "paddings", pairs, "numbers >= 0")
    if node.operator.name == "MIRROR_PAD":
        _prepare_mirror(node, shape, pairs)
    padded = [n + sum(pair) for n, pair in zip(shape, pairs, strict=True)]
    need.require_output_shape(node, padded)
    node.cache["pairs"] = pairs
    if node.operator.name == "MIRROR_PAD":
        return
    output = node.outputs[0]
    if output.quantization is not None and output.type in need.CODE_TYPES:
        node.cache["fill"] = output.zero_point
        if with_value:
            value = need.tensor(node, 2)
            got, wanted = (value.scale, value.zero_point), (output.scale, output.zero_point)
            if got != wanted:
                raise need.unsupported(node, "scale of the padding value", got, str(wanted))
    else:
        node.cache["fill"] = 0
    if with_value:
        need.require_type(node, 2, (output.type,))
        if need.tensor(node, 2).size != 1:
            raise need.malformed(node, "padding value", need.tensor(node, 2).shape, "one element")


def _prepare_mirror(node: Node, shape: Sequence[int], pairs: list[tuple[int, int]]) -> None:
    mode = node.options["mode"]
    if mode not in ("REFLECT", "SYMMETRIC"):
        raise need.unsupported(node, "mode", mode, "REFLECT or SYMMETRIC")
    without_edge = 1 if mode == "REFLECT" else 0
    for size, pair in zip(shape, pairs, strict=True):
        if max(pair) > size - without_edge:
            expected = f"at most {size - without_edge}"
            raise need.malformed(node, "paddings", list(pair), expected)


def _first_untouched(node: Node) -> bool:
    return bool(node.cache["pairs"][:1] == [(0, 0)])


@kernel("PAD", "PADV2", prepare=_prepare, batch=_first_untouched, form="fills")
def pad(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Surrounds the input with the zero point (PAD) or a given code (PADV2)."""
    fill = node.cache["fill"] if len(inputs) < 3 else as_element(inputs[2])
    x, pairs = inputs[0], node.cache["pairs"]
    shape = [n + before + after for n, (before, after) in zip(x.shape, pairs, strict=True)]
    result = np.full(shape, fill, x.dtype)
    inside = tuple(slice(before, before + n) for n, (before, _) in zip(x.shape, pairs, strict=True))
    result[inside] = x
    return [result]


def as_element(array: Array) -> Any:
    """The only element of an array."""
    return np.asarray(array).reshape(-1)[0]


@kernel("MIRROR_PAD", prepare=_prepare, batch=_first_untouched, form="moves")
def mirror_pad(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Surrounds the input with its own reflection, without (REFLECT) or with the edge."""
    if node.options["mode"] == "REFLECT":
        return [np.pad(inputs[0], node.cache["pairs"], mode="reflect")]
    return [np.pad(inputs[0], node.cache["pairs"], mode="symmetric")]
