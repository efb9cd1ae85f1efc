"""Operators on two tensors, element by element."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfxp.csource.operators.moves import move
from tfxp.csource.operators.requantize import Rounded, requantizer_fields
from tfxp.csource.operators.site import Site, lowers
from tfxp.csource.program import Constant, Step
from tfxp.graph import Tensor
from tfxp.interpreter.kernels import requirements as need
from tfxp.interpreter.kernels.elementwise import add_xnnpack_parameters, xnnpack_takes
from tfxp.interpreter.mac.requantizer import build_requantizer
from tfxp.interpreter.numerics.arithmetic import QuantizedMultiplier


@lowers("MAXIMUM", "MINIMUM")
def _extreme(site: Site) -> list[Step]:
    before, inputs, constants, arguments, _ = _both(site)
    call = f"tfxp_{site.operator.lower()}({arguments})"
    return [*before, site.step(call, inputs, constants=constants)]


@lowers("ADD", "SUB")
def _sum(site: Site) -> list[Step]:
    a, b, output = site.tensor(0), site.tensor(1), site.output
    if not xnnpack_takes(False, a, b, output):
        ratios = [tensor.scale / output.scale for tensor in (a, b)]
        raise site.refusal(f"input scales {ratios} times the output's; expected 2^-10 to 2^8")
    before, inputs, constants, arguments, order = _both(site)
    sign = -1 if site.operator == "SUB" else 1
    left, right, bias, shift = add_xnnpack_parameters(a, b, output, sign)
    # a common power of two changes nothing; the last bit of the rounding stays
    spare = min(_trailing_zeros(left | right | bias), shift - 1)
    factors = [left >> spare, right >> spare]
    left, right = (factors[i] for i in order)
    limits = _limits(site)
    numbers = (left, right, bias >> spare, shift - spare, output.zero_point, *limits)
    structure = site.structure("tfxp_sum", *numbers)
    call = f"tfxp_add(&{site.c_name}_layer, {arguments})"
    return [*before, site.step(call, inputs, structure=structure, constants=constants)]


def _trailing_zeros(number: int) -> int:
    return (number & -number).bit_length() - 1


@lowers("MUL")
def _product(site: Site) -> list[Step]:
    a, b, output = site.tensor(0), site.tensor(1), site.output
    scale = np.array([b.scale], np.float32)
    activation = str(site.node.options.get("fused_activation_function", "NONE"))
    mode = "float32" if xnnpack_takes(True, a, b, output) else "double_rounding"
    requantizer = build_requantizer(
        mode, (a.scale, scale, output.scale), 1, output, activation, site.node.name
    )
    fields, tables = requantizer_fields(
        site, Rounded.of(requantizer, (-(2**16), 2**16)), requantizer
    )
    before, inputs, constants, arguments, order = _both(site)
    zeros = [(a.zero_point, b.zero_point)[i] for i in order]
    structure = site.structure("tfxp_product", *zeros, fields)
    call = f"tfxp_multiply(&{site.c_name}_layer, {arguments})"
    constants = [*constants, *tables]
    return [*before, site.step(call, inputs, structure=structure, constants=constants)]


@lowers("PRELU")
def _prelu(site: Site) -> list[Step]:
    x, slopes, output = site.tensor(0), site.tensor(1), site.output
    product = float(np.float32(x.scale) * np.float32(slopes.scale) / np.float32(output.scale))
    above, below = (
        QuantizedMultiplier.of(ratio)
        for ratio in (need.float32_ratio(x.scale, output.scale), product)
    )
    before, inputs, constants, arguments, order = _both(site)
    if order != [0, 1]:
        raise site.refusal(f"slopes of shape {list(slopes.shape)}; expected no more than inputs")
    scales = ((by.multiplier, -by.shift) for by in (above, below))
    structure = site.structure(
        "tfxp_slopes", x.zero_point, slopes.zero_point, *scales, output.zero_point
    )
    call = f"tfxp_prelu(&{site.c_name}_layer, {arguments})"
    return [*before, site.step(call, inputs, structure=structure, constants=constants)]


def _both(site: Site) -> Operands:
    return operands(site, [site.index(0), site.index(1)])


def _limits(site: Site) -> tuple[int, int]:
    activation = str(site.node.options.get("fused_activation_function", "NONE"))
    return need.activation_code_limits(site.node, activation, site.output, xnnpack=True)


class Operands(NamedTuple):
    """Two tensors of a call.

    Args:
        before: steps that spread a tensor first.
        inputs: the tensors; that of the output's shape first, the other repeats over it.
        constants: arrays of the program.
        arguments: of the call.
        order: which of the given tensors comes first and second.
    """

    before: list[Step]
    inputs: list[int]
    constants: list[Constant]
    arguments: str
    order: list[int]


def operands(site: Site, given: Sequence[int]) -> Operands:
    """Two tensors, by their numbers, as kernels take them."""
    known = site.node.graph.tensors
    tensors, whole = [known[index] for index in given], site.output.shape
    order = [0, 1] if tensors[0].size >= tensors[1].size else [1, 0]
    before, inputs, constants, names, sizes = [], [], [], [], []
    for place, i in enumerate(order):
        tensor, index = tensors[i], given[i]
        if not _repeats(tensor, whole, full=place == 0):
            places = np.broadcast_to(np.arange(tensor.size).reshape(tensor.shape), whole)
            spread = site.temporary(f"spread_{i}", whole)
            before.append(move(site, places, index, output=spread, word=f"spread_{i}"))
            tensor, index = known[spread], spread
        inputs.append(index)
        sizes.append(tensor.size)
        names.append(f"$in{place}")
        if tensor.data is not None:
            constants.append(site.constant(f"operand_{i}", "int8_t", tensor.data))
            names[-1] = constants[-1].name
    arguments = ", ".join([*map(str, sizes), *names, "$out"])
    return Operands(before, inputs, constants, arguments, order)


def repeated(site: Site, table: Constant, index: int) -> Step:
    """A function of one code, for all elements of a tensor."""
    call = f"tfxp_look_up({table.name}, {site.output.size}, $in0, $out)"
    return site.step(call, [index], constants=[table])


def _repeats(tensor: Tensor, whole: tuple[int, ...], full: bool) -> bool:
    """Whether a tensor's codes, over and over, are what it broadcasts to."""
    if full:
        return tensor.size == math.prod(whole)
    shape = (1,) * (len(whole) - len(tensor.shape)) + tuple(tensor.shape)
    first = next((i for i, size in enumerate(shape) if size != 1), len(shape))
    return shape[first:] == whole[first:]
