"""The inner loop of dense convolutions, as LLVM IR: sums of a tile of pixels in registers."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tfxp.interpreter.compiled.lanes import DENSE_SHORT, DENSE_SUMS, DENSE_VECTORS, LANES
from tfxp.interpreter.compiled.llvm import Builder, Call, Context, Kind, Typing, Value, Values
from tfxp.interpreter.compiled.microkernel import (
    I32,
    INTS,
    constant64,
    multiply_add,
    splat,
    switch,
)

_I64 = ir.IntType(64)
_SHORTS = ir.VectorType(ir.IntType(16), 2 * LANES)


def dense_tile(in_bytes: bool) -> Any:
    """Sums over a window of some neighbouring pixels and `vectors` * LANES channels.

    The returned intrinsic takes (pixels, vectors, accumulators, bias, source, weights, shape,
    steps): DENSE_SUMS / vectors, DENSE_SHORT or 1; one of DENSE_VECTORS; addresses of int32
    accumulators, of start values, of the first window's codes, and of weights; (rows of the window,
    groups of neighbouring codes in a row); bytes (from the accumulators of a pixel to the next,
    from its codes to the next, from a row of codes to the next). A group is two int16 codes, with
    as many int16 weights per channel.

    Args:
        in_bytes: whether a group is four uint8 codes and int8 weights instead.
    """
    product = _add_four_products if in_bytes else _add_two_products

    @intrinsic
    def tile(typing: Typing, pixels: Kind, vectors: Kind, accumulators: Kind, bias: Kind,
             source: Kind, weights: Kind, shape: Kind, steps: Kind) -> Any:  # fmt: skip
        def codegen(context: Context, b: Builder, signature: Call, arguments: Values) -> Any:
            pixels, vectors, *others = arguments
            tiles = [(p, v) for v in DENSE_VECTORS for p in {DENSE_SUMS // v, DENSE_SHORT, 1}]
            cases = {p << 8 | v: (p, v) for p, v in tiles}
            which = b.or_(b.shl(pixels, constant64(8)), vectors)
            switch(b, which, cases, lambda case: _tile(b, product, *case, others))
            return context.get_dummy_value()

        plain = types.int64
        return types.void(*[plain] * 6, shape, steps), codegen

    return tile


def _add_two_products(b: Builder, total: Value, codes: Value, weights: Value) -> Any:
    return multiply_add(b, total, b.bitcast(codes, _SHORTS), b.bitcast(weights, _SHORTS))


def _add_four_products(b: Builder, total: Value, codes: Value, weights: Value) -> Any:
    kind = ir.FunctionType(INTS, [INTS] * 3)
    name = "llvm.x86.avx512.vpdpbusd.512"
    return b.call(cgutils.get_or_insert_function(b.module, kind, name), [total, codes, weights])


def _tile(b: Builder, product: Any, pixels: int, vectors: int, arguments: Values) -> None:
    accumulators, bias, source, weights, shape, steps = arguments
    rows, groups = (b.extract_value(shape, i) for i in range(2))
    next_sum, next_pixel, next_row = (b.extract_value(steps, i) for i in range(3))
    start = [_vector(b, bias, 4 * LANES * v, INTS) for v in range(vectors)]
    # these become registers: nothing else takes their address
    sums = [[cgutils.alloca_once_value(b, value) for value in start] for _ in range(pixels)]
    for line in sums:
        for slot, value in zip(line, start, strict=True):
            b.store(value, slot)
    row_weights = b.mul(groups, constant64(4 * LANES * vectors))
    with cgutils.for_range(b, rows) as row:
        row_at = b.add(source, b.mul(row.index, next_row))
        weight_row = b.add(weights, b.mul(row.index, row_weights))
        with cgutils.for_range(b, groups) as group:
            at = b.add(row_at, b.mul(group.index, constant64(4)))
            weight_at = b.add(weight_row, b.mul(group.index, constant64(4 * LANES * vectors)))
            factors = [_vector(b, weight_at, 4 * LANES * v, INTS) for v in range(vectors)]
            for p, line in enumerate(sums):
                pixel_at = b.add(at, b.mul(next_pixel, constant64(p)))
                neighbours = b.load(b.inttoptr(pixel_at, I32.as_pointer()), align=1)
                codes = splat(b, neighbours, LANES)
                for slot, factor in zip(line, factors, strict=True):
                    b.store(product(b, b.load(slot), codes, factor), slot)
    for p, line in enumerate(sums):
        pixel_sums = b.add(accumulators, b.mul(next_sum, constant64(p)))
        for v, slot in enumerate(line):
            address = b.add(pixel_sums, constant64(4 * LANES * v))
            b.store(b.load(slot), b.inttoptr(address, INTS.as_pointer()), align=4)


def _vector(b: Builder, address: Value, offset: int, kind: ir.Type) -> Any:
    return b.load(b.inttoptr(b.add(address, constant64(offset)), kind.as_pointer()), align=2)
