"""Maps turned from pixels of channels to channels of pixels and back in blocks, as LLVM IR.

Vectors are zipped in rounds. A round takes the top bit of an element's vector number into the
lowest bit of its place, so that after as many rounds as there are such bits the pixels of a channel
lie side by side.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tfxp.interpreter.compiled.llvm import Builder, Call, Context, Kind, Typing, Value, Values
from tfxp.interpreter.compiled.microkernel import V8I32, constant64, indices, splat

#: Pixels and channels of a block of codes; both of a block of sums.
CODE_PIXELS, CODE_CHANNELS, SUMS = 8, 16, 8
_I8, _I16 = ir.IntType(8), ir.IntType(16)
_BYTES = ir.VectorType(_I8, CODE_CHANNELS)


def _zipped(b: Builder, left: Value, right: Value, half: int) -> Any:
    """Elements of two vectors by turns, of their first or second half."""
    count = left.type.count
    first = half * count // 2
    picks = [place for i in range(first, first + count // 2) for place in (i, count + i)]
    return b.shuffle_vector(left, right, indices(picks))


def _turned(b: Builder, vectors: list[Any]) -> list[Any]:
    half = len(vectors) // 2
    for _ in range(len(vectors).bit_length() - 1):
        vectors = [
            _zipped(b, vectors[i], vectors[half + i], part) for i in range(half) for part in (0, 1)
        ]
    return vectors


def _load(b: Builder, at: Value, step: Value, number: int, kind: ir.Type, align: int) -> Any:
    address = b.add(at, b.mul(step, constant64(number)))
    return b.load(b.inttoptr(address, kind.as_pointer()), align=align)


@intrinsic
def turn_codes(typing: Typing, codes: Kind, pixel_bytes: Kind, planes: Kind, plane_bytes: Kind,
               flip: Kind, zero: Kind) -> Any:  # fmt: skip
    """int16 planes of a block of codes minus their zero point.

    Takes (codes, pixel_bytes, planes, plane_bytes, flip, zero): the address of CODE_CHANNELS bytes
    of the first of CODE_PIXELS pixels, and bytes to the next; the same of the planes; -128 turns
    unsigned codes into signed ones that are 128 less, 0 leaves signed ones alone; and what is taken
    away from them then.
    """

    def codegen(context: Context, b: Builder, signature: Call, arguments: Values) -> Any:
        codes, pixel_bytes, planes, plane_bytes, flip, zero = arguments
        mask = splat(b, b.trunc(flip, _I8), CODE_CHANNELS)
        loaded = [_load(b, codes, pixel_bytes, p, _BYTES, 1) for p in range(CODE_PIXELS)]
        pairs = _turned(b, [b.xor(vector, mask) for vector in loaded])
        shorts = ir.VectorType(_I16, CODE_PIXELS)
        zeros = splat(b, b.trunc(zero, _I16), CODE_PIXELS)
        for channel in range(CODE_CHANNELS):
            number, half = divmod(channel, 2)
            picks = [half * CODE_PIXELS + pixel for pixel in range(CODE_PIXELS)]
            undefined = ir.Constant(_BYTES, ir.Undefined)
            values = b.shuffle_vector(pairs[number], undefined, indices(picks))
            plane = b.add(planes, b.mul(plane_bytes, constant64(channel)))
            b.store(
                b.sub(b.sext(values, shorts), zeros),
                b.inttoptr(plane, shorts.as_pointer()),
                align=2,
            )
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), codegen


@intrinsic
def turn_sums(
    typing: Typing, tile: Kind, channel_bytes: Kind, sums: Kind, pixel_bytes: Kind
) -> Any:
    """Sums of SUMS pixels, each a row of channels, from SUMS rows of pixels.

    Takes (tile, channel_bytes, sums, pixel_bytes): the address of int32 of the first channel, and
    bytes to the next; the same of the first pixel, written.
    """

    def codegen(context: Context, b: Builder, signature: Call, arguments: Values) -> Any:
        tile, channel_bytes, sums, pixel_bytes = arguments
        rows = [_load(b, tile, channel_bytes, c, V8I32, 4) for c in range(SUMS)]
        for pixel, vector in enumerate(_turned(b, rows)):
            address = b.add(sums, b.mul(pixel_bytes, constant64(pixel)))
            b.store(vector, b.inttoptr(address, V8I32.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), codegen
