"""Activations that an operator applies to its own result: their limits, as numbers and as codes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tfxp.errors import UnsupportedOpError
from tfxp.formats.rounding import round_half_away
from tfxp.graph import Tensor
from tfxp.graph.element_types import CODE_LIMITS
from tfxp.interpreter.registry import Node

#: Smallest and largest result, by the schema's name.
ACTIVATION_LIMITS = {
    "NONE": (-np.inf, np.inf),
    "RELU": (0.0, np.inf),
    "RELU_N1_TO_1": (-1.0, 1.0),
    "RELU6": (0.0, 6.0),
}


def code_limits(activation: str, output: Tensor, xnnpack: bool = False) -> tuple[int, int]:
    """Code limits of an output after a fused activation.

    LiteRT's kernels: half_away(L / scale) + zero_point; XNNPACK: half_even(L / scale + zero_point);
    both in float32.

    Args:
        activation: a key of ACTIVATION_LIMITS.
        output: an integer tensor.
        xnnpack: whose rounding.

    Example:
        >>> from tfxp.graph import Quantization
        >>> code_limits("RELU6", Tensor("y", (1,), "INT8", Quantization([0.05], [-128])))
        (-128, -8)
    """
    type_low, type_high = CODE_LIMITS[output.type]

    def code(real: float) -> int:
        ratio = np.float32(real) / np.float32(output.scale)
        if xnnpack:
            return int(np.rint(np.clip(ratio + np.float32(output.zero_point), type_low, type_high)))
        return int(np.clip(round_half_away(ratio), -(2.0**31), 2.0**31)) + output.zero_point

    low, high = ACTIVATION_LIMITS[activation]
    return (
        type_low if np.isinf(low) else max(type_low, code(low)),
        type_high if np.isinf(high) else min(type_high, code(high)),
    )


def float_activation(node: Node, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The fused activation on float32 values.

    Raises:
        UnsupportedOpError: an activation without float kernel here.
    """
    name = str(node.options.get("fused_activation_function", "NONE"))
    if name == "TANH":
        return np.tanh(values)
    if name not in ACTIVATION_LIMITS:
        raise UnsupportedOpError(f"{node.name} fuses {name}, which has no float kernel")
    low, high = ACTIVATION_LIMITS[name]
    return values if name == "NONE" else np.clip(values, np.float32(low), np.float32(high))
