"""Functions of one code, and functions of rows: softmax, division by the length; enlargement."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tfxp.csource.operators.joins import repeated
from tfxp.csource.operators.products import image_of
from tfxp.csource.operators.site import Site, lowers
from tfxp.csource.program import Step
from tfxp.errors import DataError
from tfxp.interpreter.kernels.softmax import exp_table

#: Functions of one code, whatever they compute.
UNARY = ("QUANTIZE", "RELU", "RELU6", "RELU_N1_TO_1", "LOGISTIC", "TANH", "ELU", "LEAKY_RELU",
         "HARD_SWISH", "ABS", "NEG", "SQUARE", "EXP", "LOG", "SQRT", "RSQRT", "GELU")  # fmt: skip
#: Fractional bits of the weights of RESIZE_BILINEAR.
_BILINEAR_BITS = 11


@lowers(*UNARY)
def _look_up(site: Site) -> list[Step]:
    """The interpreter's kernel runs on all codes."""
    codes = np.arange(-128, 128, dtype=np.int8).reshape(1, 256)
    constants = [None if tensor is None else tensor.data for tensor in site.node.inputs[1:]]
    try:
        values = np.ascontiguousarray(site.evaluate(codes, *constants)[0].reshape(256), np.int8)
    except DataError as error:
        raise site.refusal(f"not every code has a value: {error}") from None
    table = site.constant("table", "int8_t", values)
    return [repeated(site, table, site.index(0))]


@lowers("SOFTMAX")
def _softmax(site: Site) -> list[Step]:
    beta = float(np.float32(site.node.options["beta"]))
    bits = exp_table(site.tensor(0), beta).view(np.uint32).astype(np.int64)
    bits[bits < 1 << 23] = 0  # below the smallest normal number: too little to matter in any sum
    table = site.constant("exponentials", "uint32_t", bits)
    classes = site.output.shape[-1]
    call = f"tfxp_softmax({table.name}, {site.output.size // classes}, {classes}, $in0, $out)"
    return [site.step(call, [site.index(0)], constants=[table])]


@lowers("L2_NORMALIZATION")
def _direction(site: Site) -> list[Step]:
    x, depth = site.tensor(0), site.output.shape[-1]
    call = f"tfxp_divide_by_length({x.size // depth}, {depth}, {x.zero_point}, $in0, $out)"
    return [site.step(call, [site.index(0)])]


@lowers("RESIZE_BILINEAR")
def _enlarged(site: Site) -> list[Step]:
    constants = []
    for word, taps in zip(("rows", "columns"), site.node.cache["taps"], strict=True):
        constants.append(site.constant(word, "int16_t", _taps(site, *taps)))
    images = image_of(site.tensor(0)), image_of(site.output)
    structure = site.structure("tfxp_enlargement", *images, *(c.name for c in constants))
    call = f"tfxp_resize_bilinear(&{site.c_name}_layer, $in0, $out)"
    return [site.step(call, [site.index(0)], structure=structure, constants=constants)]


def _taps(
    site: Site, lower: NDArray[np.int64], upper: NDArray[np.int64], weight: NDArray[np.int64]
) -> NDArray[np.int64]:
    """For each output position its two inputs, and the weight of the second."""
    if site.node.cache["mix"].__name__ != "_mix_xnnpack" or lower.max(initial=0) > 2**15 - 1:
        raise site.refusal("a size that is computed, or more than 32,767 pixels in a row")
    assert weight.max(initial=0) <= 1 << _BILINEAR_BITS
    return np.stack([lower, upper, weight], axis=1)
