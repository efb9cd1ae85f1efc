"""The inner loop of depthwise convolutions, as LLVM IR: all taps of a few channels in registers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tfxp.interpreter.mac.microkernel import I32, V8I32, constant64, splat

_ELEMENTS = {"int8": (8, True), "uint8": (8, False), "int16": (16, True)}


def depthwise_block(code_type: str, vectors: int) -> Callable[..., None]:
    """All taps of 8 * vectors channels of one output pixel.

    The returned intrinsic takes (accumulators, bias, source, weights, shape, steps, zero):
    addresses of int32 accumulators and start values, of the first tap's codes and int32 weights;
    (rows, columns) of taps inside the image; (source bytes to the next row, to the next column,
    weight bytes likewise); and the zero point.

    Args:
        code_type: "int8", "uint8" or "int16".
        vectors: groups of eight channels.
    """
    bits, signed = _ELEMENTS[code_type]
    codes = ir.VectorType(ir.IntType(bits), 8)

    @intrinsic
    def block(typing: Any, accumulators: Any, bias: Any, source: Any, weights: Any, shape: Any,
              steps: Any, zero: Any) -> Any:  # fmt: skip
        def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
            accumulators, bias, source, weights, shape, steps, zero = arguments
            rows, columns = (b.extract_value(shape, i) for i in range(2))
            source_row, source_column, weight_row, weight_column = (
                b.extract_value(steps, i) for i in range(4)
            )
            zeros = splat(b, b.trunc(zero, I32), 8)
            # these become registers: nothing else takes their address
            sums = [cgutils.alloca_once(b, V8I32) for _ in range(vectors)]
            for k, slot in enumerate(sums):
                b.store(_load(b, bias, 32 * k, V8I32, 4), slot)
            with cgutils.for_range(b, rows) as row:
                row_from = b.add(source, b.mul(row.index, source_row))
                row_weights = b.add(weights, b.mul(row.index, weight_row))
                with cgutils.for_range(b, columns) as column:
                    at = b.add(row_from, b.mul(column.index, source_column))
                    weight_at = b.add(row_weights, b.mul(column.index, weight_column))
                    for k, slot in enumerate(sums):
                        raw = _load(b, at, k * bits, codes, bits // 8)
                        wide = b.sext(raw, V8I32) if signed else b.zext(raw, V8I32)
                        weight = _load(b, weight_at, 32 * k, V8I32, 4)
                        product = b.mul(b.sub(wide, zeros), weight)
                        b.store(b.add(b.load(slot), product), slot)
            for k, slot in enumerate(sums):
                pointer = b.inttoptr(b.add(accumulators, constant64(32 * k)), V8I32.as_pointer())
                b.store(b.load(slot), pointer, align=4)
            return context.get_dummy_value()

        plain = types.int64
        return types.void(plain, plain, plain, plain, shape, steps, plain), codegen

    return block


def _load(b: Any, address: Any, offset: int, kind: Any, align: int) -> Any:
    pointer = b.inttoptr(b.add(address, constant64(offset)), kind.as_pointer())
    return b.load(pointer, align=align)
