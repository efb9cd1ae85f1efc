"""The inner loop over non-zero weights, as LLVM IR: a few pixels of one output channel."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tfxp.interpreter.compiled.lanes import LANES, interleaved
from tfxp.interpreter.compiled.llvm import Builder, Call, Context, Kind, Typing, Value, Values
from tfxp.interpreter.compiled.microkernel import (
    I32,
    INTS,
    constant64,
    indices,
    multiply_add,
    splat,
)

_SHORTS = ir.VectorType(ir.IntType(16), 2 * LANES)


def _in_pixel_order(half: int) -> list[int]:
    """Which lanes of two interleaved sums are the first or second LANES pixels."""
    order = sorted(range(2 * LANES), key=[p % (2 * LANES) for h in (0, 1)
                                          for p in interleaved(h)[::2]].__getitem__)  # fmt: skip
    return order[half * LANES : (half + 1) * LANES]


def _two_weights_more(
    b: Builder, running: list[Value], i: Value, codes: Value, distances: Value, weights: Value
) -> list[Any]:
    """Four interleaved sums with the products of listed weights i and i + 1 added."""
    both = b.load(b.bitcast(b.gep(weights, [i]), I32.as_pointer()), align=2)
    pair = b.bitcast(splat(b, both, LANES), _SHORTS)
    rows = []
    for step in (0, 1):
        distance = b.load(b.gep(distances, [b.add(i, constant64(step))]), align=4)
        rows.append(b.gep(codes, [b.sext(distance, ir.IntType(64))]))
    result = []
    for block in (0, 1):
        at = constant64(2 * LANES * block)
        loaded = [
            b.load(b.bitcast(b.gep(row, [at]), _SHORTS.as_pointer()), align=2) for row in rows
        ]
        for half in (0, 1):
            mixed = b.shuffle_vector(*loaded, indices(interleaved(half)))
            result.append(multiply_add(b, running[2 * block + half], mixed, pair))
    return result


def _store_in_pixel_order(b: Builder, final: list[Value], sums: Value) -> None:
    for number in range(4):
        block, half = divmod(number, 2)
        picks = indices(_in_pixel_order(half))
        vector = b.shuffle_vector(final[2 * block], final[2 * block + 1], picks)
        address = b.add(sums, constant64(4 * LANES * number))
        b.store(vector, b.inttoptr(address, INTS.as_pointer()), align=4)


@intrinsic
def add_weights(typing: Typing, sums: Kind, bias: Kind, planes: Kind, offsets: Kind, values: Kind,
                first: Kind, end: Kind) -> Any:  # fmt: skip
    """Sums of PIXELS neighbouring pixels over listed weights.

    Takes (sums, bias, planes, offsets, values, first, end): the address of int32 (PIXELS,),
    written; where they start from; addresses of int16 codes at the first pixel, of int32 distances
    from there, of int16 weights; and which of those, an even number.
    """

    def codegen(context: Context, b: Builder, signature: Call, arguments: Values) -> Any:
        sums, bias, planes, offsets, values, first, end = arguments
        codes = b.inttoptr(planes, ir.IntType(16).as_pointer())
        distances = b.inttoptr(offsets, I32.as_pointer())
        weights = b.inttoptr(values, ir.IntType(16).as_pointer())
        start = splat(b, b.trunc(bias, I32), LANES)
        entry, function = b.block, b.function
        loop, after = (function.append_basic_block(name) for name in ("weights", "summed"))
        b.cbranch(b.icmp_signed("<", first, end), loop, after)
        b.position_at_end(loop)
        i = b.phi(ir.IntType(64))
        i.add_incoming(first, entry)
        running = [b.phi(INTS) for _ in range(4)]
        result = _two_weights_more(b, running, i, codes, distances, weights)
        following = b.add(i, constant64(2))
        i.add_incoming(following, loop)
        for phi, total in zip(running, result, strict=True):
            phi.add_incoming(start, entry)
            phi.add_incoming(total, loop)
        b.cbranch(b.icmp_signed("<", following, end), loop, after)
        b.position_at_end(after)
        final = [b.phi(INTS) for _ in result]
        for phi, total in zip(final, result, strict=True):
            phi.add_incoming(start, entry)
            phi.add_incoming(total, loop)
        _store_in_pixel_order(b, final, sums)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 7), codegen
