"""Sums of 8-bit codes on their way through 16 bits, as one step of the program.

Portable files add in 16 bits, where there is room for the exact sum and half a step below its last
bit, because runtimes round 8-bit sums otherwise. In C the chain QUANTIZE, ADD, …, QUANTIZE is the
kernel of a sum: a whole number for each tensor, a bias, and a shift. A 16-bit tensor is kept as

    value / scale = sum of multiplier * (code - zero point) + bias

and computed nowhere. The last step never meets a tie: all multipliers share a factor 2^k that the
bias is no multiple of, so halves up is what every rounding gives.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from tfxp.csource.operators.joins import operands, repeated
from tfxp.csource.operators.site import Site
from tfxp.csource.packing import common_power_of_two
from tfxp.csource.program import Step
from tfxp.graph import Quantization, Tensor

_LARGEST = 2**15 - 1


@dataclasses.dataclass(frozen=True)
class ExactSum:
    """A 16-bit tensor as a sum.

    Args:
        terms: (multiplier, number of an 8-bit tensor), its stored codes counting from 0.
        bias: what is added.
        largest: no value is larger.
    """

    terms: tuple[tuple[int, int], ...]
    bias: int
    largest: int


def absorb(site: Site) -> None:
    """Note what a 16-bit tensor is the sum of.

    Raises:
        UnsupportedOpError: it is no exact sum of 8-bit tensors.
    """
    if site.operator == "QUANTIZE" and site.tensor(0).type == "INT8":
        result = _widened(site)
    elif site.operator in ("ADD", "SUB"):
        one, two = (_operand(site, position) for position in (0, 1))
        sign = -1 if site.operator == "SUB" else 1
        terms = (*one.terms, *((sign * multiplier, index) for multiplier, index in two.terms))
        result = ExactSum(terms, one.bias + sign * two.bias, one.largest + two.largest)
    else:
        raise site.refusal("output of type INT16; expected INT8, or a sum of a portable file")
    activation = site.node.options.get("fused_activation_function", "NONE")
    if result.largest > _LARGEST or activation != "NONE":
        raise site.refusal("16 bits that saturate; expected room for the exact sum")
    site.known[site.node.operator.outputs[0]] = result


def emit(site: Site) -> list[Step]:
    """The step that rounds a sum to 8 bits."""
    total, x, y = site.known[site.index(0)], site.tensor(0), site.output
    mantissa, exponent = math.frexp(y.scale / x.scale)
    shift = exponent - 1
    factor = common_power_of_two(np.array([multiplier for multiplier, _ in total.terms]))
    if mantissa != 0.5 or not 0 < shift < 16 or total.bias % min(factor, 1 << shift) == 0:
        raise site.refusal("a sum of 16 bits with ties; expected a portable one")
    spare = min(factor.bit_length() - 1, shift - 1)
    bias = (total.bias + (1 << (shift - 1))) >> spare
    terms = [(multiplier >> spare, index) for multiplier, index in total.terms]
    if len(terms) > 2:
        raise site.refusal(f"a sum of {len(terms)} tensors; expected two")
    if len(terms) == 1:
        return [_table(site, terms[0], bias, shift - spare)]
    found = operands(site, [index for _, index in terms])
    left, right = (terms[i][0] for i in found.order)
    numbers = (left, right, bias, shift - spare, y.zero_point, -128, 127)
    structure = site.structure("tfxp_sum", *numbers)
    call = f"tfxp_add(&{site.c_name}_layer, {found.arguments})"
    step = site.step(call, found.inputs, structure=structure, constants=found.constants)
    return [*found.before, step]


def _widened(site: Site) -> ExactSum:
    x, y = site.tensor(0), site.output
    ratio = x.scale / y.scale
    if ratio != int(ratio) or y.zero_point:
        raise site.refusal(f"16 bits in steps of {ratio} input steps; expected finer ones")
    low, high = site.ranges.get(site.index(0), (-128, 127))
    largest = max(high - x.zero_point, x.zero_point - low)
    return ExactSum(((int(ratio), site.index(0)),), -int(ratio) * x.zero_point,
                    int(ratio) * largest)  # fmt: skip


def _operand(site: Site, position: int) -> ExactSum:
    tensor, index = site.tensor(position), site.index(position)
    if tensor.scale != site.output.scale:
        raise site.refusal("16-bit operands of several scales; expected one")
    if tensor.data is None:
        if index not in site.known:
            raise site.refusal(f"16-bit tensor {tensor.name!r}; expected a portable sum")
        return site.known[index]
    values = np.asarray(tensor.data, np.int64)
    largest = int(np.abs(values).max())
    if values.size == 1:
        return ExactSum((), int(values.reshape(-1)[0]), largest)
    factor = common_power_of_two(values)
    codes = values // factor
    if np.abs(codes).max() > 127:
        raise site.refusal(f"constant {tensor.name!r} of 16 bits; expected codes of 8 bits")
    scale = Quantization(np.array([factor * tensor.scale], np.float32), np.zeros(1, np.int64))
    constant = Tensor(f"{tensor.name}_codes", tensor.shape, "INT8", scale, codes.astype(np.int8))
    return ExactSum(((factor, site.node.graph.add_tensor(constant)),), 0, largest)


def _table(site: Site, term: tuple[int, int], bias: int, shift: int) -> Step:
    """A sum with one tensor is a function of one code."""
    steps = (term[0] * np.arange(-128, 128) + bias) >> shift
    values = np.clip(steps + site.output.zero_point, -128, 127)
    return repeated(site, site.constant("table", "int8_t", values), term[1])
