"""The inner loop of depthwise convolutions, as LLVM IR: all taps of a few channels in registers."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tfxp.interpreter.compiled.lanes import LANES
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
def depthwise_block(typing: Any, kind: Any, channels: Any, accumulators: Any, bias: Any,
                    source: Any, weights: Any, shape: Any, steps: Any,
                    zero: Any) -> Any:  # fmt: skip
    """All taps of some channels of one output pixel.

    Takes (kind, channels, accumulators, bias, source, weights, shape, steps, zero): one of
    `record.KINDS`; 4 * LANES, LANES or 8; addresses of int32 accumulators and start values, of the
    first tap's codes and weights (int16 in the low half of 32 bits, zero above); (rows, columns) of
    taps inside the image; (source bytes to the next row, to the next column, weight bytes
    likewise); and the zero point.
    """

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
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


def _block(b: Any, bits: int, signed: bool, lanes: int, vectors: int, arguments: Any) -> None:
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


def _load(b: Any, address: Any, offset: int, kind: Any, align: int) -> Any:
    pointer = b.inttoptr(b.add(address, constant64(offset)), kind.as_pointer())
    return b.load(pointer, align=align)
