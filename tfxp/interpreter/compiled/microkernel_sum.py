"""Sums of two tensors of bytes in fixed point, as LLVM IR: LANES codes at a time."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tfxp.interpreter.compiled.lanes import LANES
from tfxp.interpreter.compiled.llvm import Builder, Call, Context, Kind, Typing, Values
from tfxp.interpreter.compiled.microkernel import I32, INTS, constant64, splat
from tfxp.interpreter.compiled.microkernel_store import rounded_twice

_BYTES = ir.VectorType(ir.IntType(8), LANES)


@intrinsic
def add_vectors(typing: Typing, x: Kind, y: Kind, out: Kind, vectors: Kind, unsigned: Kind,
                first: Kind, second: Kind, last: Kind, limits: Kind) -> Any:  # fmt: skip
    """out = clamp(round(round(x') + round(y')) + zero) with x' = (x - zero) * 2^20, rounded twice.

    Takes (x, y, out, vectors, unsigned, first, second, last, limits): addresses of codes; how many
    vectors of LANES; 1 for codes without sign, else 0; (zero, factor, right) of both inputs and
    (left, factor, right) of the sum; and (zero, low, high).
    """

    def codegen(context: Context, b: Builder, signature: Call, arguments: Values) -> Any:
        x, y, out, vectors, unsigned, *tuples = arguments
        first, second, last, limits = (
            [splat(b, b.trunc(b.extract_value(values, i), I32), LANES) for i in range(3)]
            for values in tuples
        )
        sources = [b.inttoptr(address, _BYTES.as_pointer()) for address in (x, y)]
        target = b.inttoptr(out, _BYTES.as_pointer())
        has_no_sign = b.icmp_signed("!=", unsigned, constant64(0))
        away, none = ir.Constant(INTS, [-1] * LANES), ir.Constant(INTS, [0] * LANES)
        with cgutils.for_range(b, vectors) as loop:
            scaled = []
            for source, (zero, factor, right) in zip(sources, (first, second), strict=True):
                codes = b.load(b.gep(source, [loop.index]), align=1)
                wide = b.select(has_no_sign, b.zext(codes, INTS), b.sext(codes, INTS))
                shifted = b.shl(b.sub(wide, zero), ir.Constant(INTS, [20] * LANES))
                scaled.append(rounded_twice(b, shifted, factor, none, right, away))
            left, factor, right = last
            total = rounded_twice(b, b.add(*scaled), factor, left, right, away)
            zero, low, high = limits
            code = b.add(total, zero)
            code = b.select(b.icmp_signed("<", code, low), low, code)
            code = b.select(b.icmp_signed(">", code, high), high, code)
            b.store(b.trunc(code, _BYTES), b.gep(target, [loop.index]), align=1)
        return context.get_dummy_value()

    plain = types.int64
    return types.void(*[plain] * 5, first, second, last, limits), codegen
