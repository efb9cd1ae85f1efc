"""The inner loop of depthwise convolutions, as LLVM IR: all taps of a few channels in registers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tfxp.interpreter.compiled.microkernel import I32, constant64, multiply_add, splat

_ELEMENTS = {"int8": (8, True), "uint8": (8, False), "int16": (16, True)}


def depthwise_block(code_type: str, lanes: int, vectors: int) -> Callable[..., None]:
    """All taps of lanes * vectors channels of one output pixel.

    The returned intrinsic takes (accumulators, bias, source, weights, shape, steps, zero):
    addresses of int32 accumulators and start values, of the first tap's codes and weights (int16 in
    the low half of 32 bits, zero above); (rows, columns) of taps inside the image; (source bytes to
    the next row, to the next column, weight bytes likewise); and the zero point.

    Args:
        code_type: "int8", "uint8" or "int16".
        lanes: channels of a vector.
        vectors: how many of them.
    """
    bits, signed = _ELEMENTS[code_type]
    codes, ints = ir.VectorType(ir.IntType(bits), lanes), ir.VectorType(I32, lanes)
    shorts = ir.VectorType(ir.IntType(16), 2 * lanes)

    @intrinsic
    def block(typing: Any, accumulators: Any, bias: Any, source: Any, weights: Any, shape: Any,
              steps: Any, zero: Any) -> Any:  # fmt: skip
        def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
            accumulators, bias, source, weights, shape, steps, zero = arguments
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
            return context.get_dummy_value()

        plain = types.int64
        return types.void(plain, plain, plain, plain, shape, steps, plain), codegen

    return block


def _load(b: Any, address: Any, offset: int, kind: Any, align: int) -> Any:
    pointer = b.inttoptr(b.add(address, constant64(offset)), kind.as_pointer())
    return b.load(pointer, align=align)
