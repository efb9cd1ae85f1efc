"""The inner loops of depthwise convolutions, as LLVM IR.

`depthwise_block` does all taps of a few channels of one pixel, `depthwise_row` windows of 3x3 of
many pixels with the weights of a few channels in registers.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tfxp.interpreter.compiled.lanes import LANES
from tfxp.interpreter.compiled.llvm import Builder, Call, Context, Kind, Typing, Value, Values
from tfxp.interpreter.compiled.microkernel import (
    I32,
    constant64,
    multiply_add,
    splat,
    switch,
)
from tfxp.interpreter.compiled.record import SIGNED, UNSIGNED, WIDE

#: Bits of a code, and whether they have a sign.
_CODES = {SIGNED: (8, True), UNSIGNED: (8, False), WIDE: (16, True)}
#: Channels that a block may have: lanes of a vector and how many of them.
_BLOCKS = {4 * LANES: (LANES, 4), LANES: (LANES, 1), 8: (8, 1)}


@intrinsic
def depthwise_block(typing: Typing, kind: Kind, channels: Kind, accumulators: Kind, bias: Kind,
                    source: Kind, weights: Kind, shape: Kind, steps: Kind,
                    zero: Kind) -> Any:  # fmt: skip
    """All taps of some channels of one output pixel.

    Takes (kind, channels, accumulators, bias, source, weights, shape, steps, zero): one of
    `record.KINDS`; 4 * LANES, LANES or 8; addresses of int32 accumulators and start values, of the
    first tap's codes and weights (int16 in the low half of 32 bits, zero above); (rows, columns) of
    taps inside the image; (source bytes to the next row, to the next column, weight bytes
    likewise); and the zero point.
    """

    def codegen(context: Context, b: Builder, signature: Call, arguments: Values) -> Any:
        kind, channels, *others = arguments
        cases = {
            code << 16 | block: (_CODES[code], _BLOCKS[block])
            for code in _CODES for block in _BLOCKS
        }  # fmt: skip
        which = b.or_(b.shl(kind, constant64(16)), channels)
        switch(b, which, cases, lambda case: _block(b, *case[0], *case[1], others))
        return context.get_dummy_value()

    plain = types.int64
    return types.void(*[plain] * 6, shape, steps, plain), codegen


def _block(
    b: Builder, bits: int, signed: bool, lanes: int, vectors: int, arguments: Values
) -> None:
    accumulators, bias, source, weights, shape, steps, zero = arguments
    codes, ints = ir.VectorType(ir.IntType(bits), lanes), ir.VectorType(I32, lanes)
    shorts = ir.VectorType(ir.IntType(16), 2 * lanes)
    rows, columns = (b.extract_value(shape, i) for i in range(2))
    source_row, source_column, weight_row, weight_column = (
        b.extract_value(steps, i) for i in range(4)
    )
    zeros = splat(b, b.trunc(zero, I32), lanes)
    # these become registers: nothing else takes their address
    sums = [cgutils.alloca_once(b, ints) for _ in range(vectors)]
    for k, slot in enumerate(sums):
        b.store(_load(b, bias, 4 * lanes * k, ints, 4), slot)
    with cgutils.for_range(b, rows) as row:
        row_from = b.add(source, b.mul(row.index, source_row))
        row_weights = b.add(weights, b.mul(row.index, weight_row))
        with cgutils.for_range(b, columns) as column:
            at = b.add(row_from, b.mul(column.index, source_column))
            weight_at = b.add(row_weights, b.mul(column.index, weight_column))
            for k, slot in enumerate(sums):
                raw = _load(b, at, k * lanes * bits // 8, codes, bits // 8)
                wide = b.sext(raw, ints) if signed else b.zext(raw, ints)
                weight = _load(b, weight_at, 4 * lanes * k, shorts, 4)
                # the upper halves are signs times zero
                value = b.bitcast(b.sub(wide, zeros), shorts)
                b.store(multiply_add(b, b.load(slot), value, weight), slot)
    for k, slot in enumerate(sums):
        address = b.add(accumulators, constant64(4 * lanes * k))
        b.store(b.load(slot), b.inttoptr(address, ints.as_pointer()), align=4)


@intrinsic
def depthwise_row(typing: Typing, kind: Kind, channels: Kind, accumulators: Kind, bias: Kind,
                  sources: Kind, weights: Kind, pixels: Kind, steps: Kind,
                  zero: Kind) -> Any:  # fmt: skip
    """Windows of three rows of three taps, all inside, of some channels of neighbouring pixels.

    Takes (kind, channels, accumulators, bias, sources, weights, pixels, steps, zero): one of
    `record.KINDS`; LANES or 8; addresses of int32 accumulators and start values; of the codes of
    the first window's three rows; of the weights of three rows, as in `depthwise_block`; how many
    pixels; (bytes between accumulators, source bytes to the next pixel, source and weight bytes to
    the next tap); and the zero point.
    """

    def codegen(context: Context, b: Builder, signature: Call, arguments: Values) -> Any:
        kind, channels, *others = arguments
        blocks = {block: block for block in {LANES, 8}}
        cases = {
            code << 16 | block: (_CODES[code], lanes)
            for code in _CODES for block, lanes in blocks.items()
        }  # fmt: skip
        which = b.or_(b.shl(kind, constant64(16)), channels)
        switch(b, which, cases, lambda case: _row(b, *case[0], case[1], others))
        return context.get_dummy_value()

    plain = types.int64
    return types.void(*[plain] * 4, sources, weights, plain, steps, plain), codegen


def _row(b: Builder, bits: int, signed: bool, lanes: int, arguments: Values) -> None:
    accumulators, bias, sources, weights, pixels, steps, zero = arguments
    codes, ints = ir.VectorType(ir.IntType(bits), lanes), ir.VectorType(I32, lanes)
    shorts = ir.VectorType(ir.IntType(16), 2 * lanes)
    next_sum, next_pixel, next_tap, next_weight = (b.extract_value(steps, i) for i in range(4))
    zeros = b.bitcast(splat(b, b.trunc(b.sub(constant64(0), zero), I32), lanes), shorts)
    start, kernel = _load(b, bias, 0, ints, 4), []
    for row in range(3):
        at = b.extract_value(weights, row)
        for _ in range(3):
            kernel.append(_load(b, at, 0, shorts, 4))
            # all taps see the zero point, so what it adds is known before
            start = multiply_add(b, start, zeros, kernel[-1])
            at = b.add(at, next_weight)
    with cgutils.for_range(b, pixels) as loop:
        offset, total = b.mul(loop.index, next_pixel), start
        for row in range(3):
            at = b.add(b.extract_value(sources, row), offset)
            for tap in range(3):
                raw = _load(b, at, 0, codes, bits // 8)
                wide = b.sext(raw, ints) if signed else b.zext(raw, ints)
                total = multiply_add(b, total, b.bitcast(wide, shorts), kernel[3 * row + tap])
                at = b.add(at, next_tap)
        address = b.add(accumulators, b.mul(loop.index, next_sum))
        b.store(total, b.inttoptr(address, ints.as_pointer()), align=4)


def _load(b: Builder, address: Value, offset: int, kind: ir.Type, align: int) -> Any:
    pointer = b.inttoptr(b.add(address, constant64(offset)), kind.as_pointer())
    return b.load(pointer, align=align)
