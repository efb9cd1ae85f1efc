"""L2_NORMALIZATION: every row of the last dimension divided by its length.

INT8, in both arithmetics: the sum of the squared codes is exact, its inverse root is right within
2^-19 (five Newton-Raphson steps), and each code is multiplied by it with double rounding. The
output has the scale 1/128 and zero point 0.

    out = clip(requantize(code - zero_point, m, s + 7)),    m * 2^(s - 31) = 1 / sqrt(sum)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfxp.graph.element_types import CODE_LIMITS
from tfxp.interpreter.kernels import requirements as need
from tfxp.interpreter.numerics import fixed_point_math as fixed
from tfxp.interpreter.numerics.arithmetic import requantize_channels
from tfxp.interpreter.registry import Array, Node, kernel

_OUTPUT = (1 / 128, 0)
_OUTPUT_BITS = 7
#: Squares of codes add up to less than 2^31 as long as a row has no more elements than this.
_LONGEST = 2**31 // 255**2


def _prepare(node: Node) -> None:
    source, output = need.require_unary(node, ("INT8", "FLOAT32"))
    if not source.shape:
        raise need.malformed(node, "dimensions of input 0", 0, "1 or more")
    activation = node.options.get("fused_activation_function", "NONE")
    if activation != "NONE":
        raise need.unsupported(node, "fused activation function", activation, "NONE")
    if source.type == "FLOAT32":
        return
    got = (output.scale, output.zero_point)
    if got != _OUTPUT:
        raise need.unsupported(node, "scale and zero point of output 0", got, str(_OUTPUT))
    if source.shape[-1] > _LONGEST:
        raise need.unsupported(node, "last dimension", source.shape[-1], f"at most {_LONGEST}")
    node.cache["zero"] = source.zero_point


def _outer(node: Node) -> bool:
    """Stacking is harmless unless the rows lie along the leading dimension."""
    return len(need.tensor(node, 0).shape) > 1


@kernel("L2_NORMALIZATION", prepare=_prepare, batch=_outer)
def l2_normalization(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """x / |x| along the last dimension: see the module."""
    x = inputs[0]
    if "zero" not in node.cache:
        length = np.sqrt((x * x).sum(axis=-1, keepdims=True))
        return [np.asarray(x / np.maximum(length, np.float32(1e-6)), x.dtype)]
    codes = x.astype(np.int64) - node.cache["zero"]
    multiplier, shift = fixed.inverse_square_root((codes * codes).sum(axis=-1, keepdims=True))
    result = requantize_channels(codes, multiplier, shift + _OUTPUT_BITS)
    return [np.clip(result, *CODE_LIMITS["INT8"]).astype(np.int8)]
