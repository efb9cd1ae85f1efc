"""The formats around a layer, and the numbers that its quantizers take from them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tfxp.formats import Format, int8_zero_point


@dataclass(frozen=True)
class FormatContext:
    """Formats of the tensors of one layer; each of its quantizers takes those that it needs.

    Args:
        output: format of the output; None if it is float.
        weights: one format for the kernels, or one per output channel; empty if they are float.
        gradient: format of the output's gradient; None if it is float.
        inputs: formats of the tensors that the layer reads; None for float ones.
        accumulator_step: value of one step of the layer's sums, one number or one per channel;
            None if an input is float.
        half_step: what a layer's sums carry so that their ties go up, one number or one per
            channel; None where nothing is added.
        wide: whether the file stores activations in 16 bits, which have no zero points.
    """

    output: Format | None = None
    weights: tuple[Format, ...] = ()
    gradient: Format | None = None
    inputs: tuple[Format | None, ...] = ()
    accumulator_step: np.ndarray | None = None
    half_step: np.ndarray | None = None
    wide: bool = False


@dataclass(frozen=True)
class Constant:
    """A number besides its format that a quantizer keeps in a variable.

    Args:
        name: name of the variable, behind that of the tensor.
        initial: value until formats are assigned.
        of: its value among given formats.
        is_step: whether it is made of their scales.
    """

    name: str
    initial: float
    of: Callable[[FormatContext], float]
    is_step: bool = False


def _step(fmt: Format | None) -> float:
    return fmt.scale if fmt is not None else 1.0


def _zero_point(context: FormatContext, fmt: Format | None) -> float:
    return 0.0 if fmt is None or context.wide else float(int8_zero_point(fmt))


def _weight_step(context: FormatContext) -> float:
    return _step(context.weights[0] if context.weights else None)


INPUT_SCALE = Constant("input_scale", 2.0**-4, lambda c: _step(c.inputs[0]), True)
INPUT_ZERO_POINT = Constant("input_zero_point", 0.0, lambda c: _zero_point(c, c.inputs[0]))
ZERO_POINT = Constant("zero_point", 0.0, lambda c: _zero_point(c, c.output))
ALPHA_SCALE = Constant("alpha_scale", 2.0**-7, _weight_step, True)
KERNEL_SCALE = Constant("kernel_scale", 2.0**-7, _weight_step, True)
PRODUCT_SCALE = Constant("product_scale", 2.0**-8, lambda c: math.prod(map(_step, c.inputs)), True)
RIGHT_ZERO_POINT = Constant("right_zero_point", 0.0, lambda c: _zero_point(c, c.inputs[-1]))
WIDE = Constant("wide", 0.0, lambda c: float(c.wide))
