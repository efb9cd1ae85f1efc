"""The inner loop that decides the speed, as LLVM IR through Numba intrinsics; and listing zeros.

`scatter_pixels` takes the listed activations of some input pixels, adds one weight row each to
accumulators of `16 * vectors` outputs that stay in vector registers meanwhile, and writes them
back. Two rows are interleaved so that one multiply-add instruction (x86 `vpmaddwd`: pairs of int16
products summed in int32, fused with the addition where VNNI exists) covers both; on other
processors the same loop multiplies in int32. `compress8` finds the non-zero codes among eight.

Addresses are passed as integers: the callers own the memory and check the bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tfxp.interpreter.compiled.lanes import LANES, SCATTER_SIZES, USE_AVX2, interleaved
from tfxp.interpreter.compiled.llvm import Builder, Call, Context, Kind, Typing, Value, Values
from tfxp.interpreter.compiled.record import SIGNED, UNSIGNED, WIDE

T = TypeVar("T")
_I8, _I16, I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_V8I16 = ir.VectorType(_I16, 8)
V8I32 = ir.VectorType(I32, 8)
_V16I8 = ir.VectorType(_I8, 16)


#: A vector register of codes in 16 bits, and of sums.
_SHORTS = ir.VectorType(_I16, 2 * LANES)
INTS = ir.VectorType(I32, LANES)


def indices(values: list[int]) -> ir.Constant:
    """A constant vector of places, for shuffles."""
    return ir.Constant(ir.VectorType(I32, len(values)), [ir.Constant(I32, v) for v in values])


def constant64(value: int) -> ir.Constant:
    """A 64-bit integer."""
    return ir.Constant(_I64, value)


def multiply_add(b: Builder, total: Value, left: Value, right: Value) -> Any:
    """total + left * right: vectors of int16, neighbouring products summed to int32 lanes."""
    ints, shorts = total.type, left.type
    if USE_AVX2:
        kind = ir.FunctionType(ints, [shorts, shorts])
        name = "llvm.x86.avx512.pmaddw.d.512" if ints.count == 16 else "llvm.x86.avx2.pmadd.wd"
        product = b.call(cgutils.get_or_insert_function(b.module, kind, name), [left, right])
        return b.add(total, product)

    def half(vector: Value, first: int) -> Any:
        picks = indices(list(range(first, shorts.count, 2)))
        return b.sext(b.shuffle_vector(vector, ir.Constant(shorts, ir.Undefined), picks), ints)

    products = [b.mul(half(left, k), half(right, k)) for k in (0, 1)]
    return b.add(total, b.add(*products))


def switch(
    b: Builder, value: Value, cases: Mapping[int, T], build: Callable[[T], ir.Value | None]
) -> Any:
    """Code for one of some 64-bit constants; for any other value nothing is done.

    Args:
        b: the builder, which stands behind all cases afterwards.
        value: what decides.
        cases: per constant, what `build` is given.
        build: emits the code of a case, and returns its 64-bit result if it has one.

    Returns:
        The result of the case taken, 0 if none was; None if cases have no result.
    """
    start, end = b.block, b.append_basic_block("chosen")
    choice, results = b.switch(value, end), [(constant64(0), start)]
    for constant, case in cases.items():
        block = b.append_basic_block(f"case.{constant}")
        choice.add_case(constant64(constant), block)
        b.position_at_end(block)
        result = build(case)
        if result is not None:
            results.append((result, b.block))
        b.branch(end)
    b.position_at_end(end)
    if len(results) == 1:
        return None
    taken = b.phi(_I64)
    for result, block in results:
        taken.add_incoming(result, block)
    return taken


class _ScatterPixels:
    """Builds the IR of the loop over pixels and of the loop over activations inside it."""

    def __init__(self, builder: Builder, vectors: int, arguments: Values) -> None:
        self.b = builder
        registers = vectors * 16 // LANES
        self.registers = range(registers)
        self.row_shorts = (registers + 1) // 2 * 2 * LANES
        (self.accumulators, offsets, weights, positions, values, starts, self.pixels,
         self.pixel_step, self.start_step) = arguments  # fmt: skip
        self.weights = builder.inttoptr(weights, _I16.as_pointer())
        self.positions = builder.inttoptr(positions, I32.as_pointer())
        self.values = builder.inttoptr(values, _I16.as_pointer())
        self.starts = builder.inttoptr(starts, _I64.as_pointer())
        self.offsets = builder.inttoptr(offsets, _I64.as_pointer())

    def _row(self, i: Value) -> Any:
        b = self.b
        position = b.sext(b.load(b.gep(self.positions, [i]), align=4), _I64)
        return b.gep(self.weights, [b.mul(position, constant64(self.row_shorts))])

    def _pair(self, sums: list[Value], i: Value) -> list[Any]:
        """Adds the weight rows of two activations."""
        b = self.b
        rows = self._row(i), self._row(b.add(i, constant64(1)))
        both = b.load(b.bitcast(b.gep(self.values, [i]), I32.as_pointer()), align=2)
        activations = b.bitcast(splat(b, both, LANES), _SHORTS)
        result = list(sums)
        for k in range(0, len(sums), 2):
            loaded = [
                b.load(
                    b.bitcast(b.gep(row, [constant64(k * LANES)]), _SHORTS.as_pointer()), align=2
                )
                for row in rows
            ]
            for half in range(min(2, len(sums) - k)):
                mixed = b.shuffle_vector(*loaded, indices(interleaved(half)))
                result[k + half] = multiply_add(b, sums[k + half], mixed, activations)
        return result

    def _slots(self, pixel: Value) -> list[Any]:
        """Where this pixel's accumulators are, register by register."""
        b, slots = self.b, []
        base = b.add(self.accumulators, b.mul(pixel, self.pixel_step))
        for k in self.registers:
            vector, part = divmod(k * LANES, 16)
            offset = b.load(b.gep(self.offsets, [constant64(vector)]), align=8)
            address = b.add(base, b.add(offset, constant64(4 * part)))
            slots.append(b.inttoptr(address, INTS.as_pointer()))
        return slots

    def build(self) -> None:
        """Pixels in a loop, their activations two by two in a loop inside."""
        b, function = self.b, self.b.function
        with cgutils.for_range(b, self.pixels) as pixels:
            at = b.gep(self.starts, [b.mul(pixels.index, self.start_step)])
            first = b.load(at, align=8)
            end = b.load(b.gep(at, [constant64(1)]), align=8)
            with b.if_then(b.icmp_signed("<", first, end)):
                slots = self._slots(pixels.index)
                start = [b.load(slot, align=4) for slot in slots]
                entry, loop = b.block, function.append_basic_block("activations")
                after = function.append_basic_block("listed")
                b.branch(loop)
                b.position_at_end(loop)
                i = b.phi(_I64)
                i.add_incoming(first, entry)
                running = [b.phi(INTS) for _ in slots]
                summed = self._pair(running, i)
                following = b.add(i, constant64(2))
                i.add_incoming(following, loop)
                for phi, before, again in zip(running, start, summed, strict=True):
                    phi.add_incoming(before, entry)
                    phi.add_incoming(again, loop)
                b.cbranch(b.icmp_signed("<", following, end), loop, after)
                b.position_at_end(after)
                for total, slot in zip(summed, slots, strict=True):
                    b.store(total, slot, align=4)


@intrinsic
def scatter_pixels(typing: Typing, vectors: Kind, accumulators: Kind, offsets: Kind, weights: Kind,
                   positions: Kind, values: Kind, starts: Kind, pixels: Kind, pixel_step: Kind,
                   start_step: Kind) -> Any:  # fmt: skip
    """The loop for `vectors` groups of 16 accumulators per input pixel.

    Takes (vectors, accumulators, offsets, weights, positions, values, starts, pixels, pixel_step,
    start_step): one of SCATTER_SIZES; the address where the first pixel's accumulators count from;
    of `vectors` int64 byte offsets from there; of int16 weight rows in `row_order`; of int32 row
    numbers and int16 activations, an even number per pixel; of int64 list positions, the k-th pixel
    using [k * start_step] and the one behind it; how many pixels, and the bytes of accumulators
    from one to the next.
    """

    def codegen(context: Context, builder: Builder, signature: Call, arguments: Values) -> Any:
        count, *others = arguments
        sizes = {size: size for size in SCATTER_SIZES}
        switch(builder, count, sizes, lambda n: _ScatterPixels(builder, n, others).build())
        return context.get_dummy_value()

    return types.void(*[types.int64] * 10), codegen


@intrinsic
def compress8(typing: Typing, kind: Kind, source: Kind, zero: Kind, take_all: Kind, positions: Kind,
              values: Kind, base: Kind, places: Kind, shuffles: Kind) -> Any:  # fmt: skip
    """Finds the non-zero codes among eight neighbours; for x86 only (`USE_AVX2`).

    Takes (kind, source, zero, take_all, positions, values, base, places, shuffles) and returns how
    many it wrote: row numbers base + place, and codes minus zero. Eight entries are stored whatever
    the count. `kind` is one of `record.KINDS`; `take_all` is 255 to take zeros too, else 0.
    """

    def codegen(context: Context, builder: Builder, signature: Call, arguments: Values) -> Any:
        kind, *others = arguments
        kinds = {SIGNED: (_I8, True), UNSIGNED: (_I8, False), WIDE: (_I16, True)}
        return switch(builder, kind, kinds, lambda case: _compress(builder, *case, others))

    return types.int64(*[types.int64] * 9), codegen


def _compress(b: Builder, element: ir.IntType, signed: bool, arguments: Values) -> ir.Value:
    source, zero, take_all, positions, values, base, places, shuffles = arguments
    if not USE_AVX2:
        return constant64(0)  # never called there
    vector = ir.VectorType(element, 8)
    codes = b.load(b.inttoptr(source, vector.as_pointer()), align=element.width // 8)
    if element is _I8:
        codes = b.sext(codes, _V8I16) if signed else b.zext(codes, _V8I16)
    centred = b.sub(codes, splat(b, b.trunc(zero, _I16), 8))
    nonzero = b.icmp_signed("!=", centred, ir.Constant(_V8I16, [0] * 8))
    mask = b.or_(b.zext(b.bitcast(nonzero, _I8), _I64), take_all)
    _store_places(b, mask, places, positions, base)
    table = b.inttoptr(shuffles, _V16I8.as_pointer())
    order = b.load(b.gep(table, [mask]), align=1)
    shuffle = cgutils.get_or_insert_function(
        b.module, ir.FunctionType(_V16I8, [_V16I8] * 2), "llvm.x86.ssse3.pshuf.b.128"
    )
    packed = b.call(shuffle, [b.bitcast(centred, _V16I8), order])
    b.store(packed, b.inttoptr(values, _V16I8.as_pointer()), align=2)
    return b.ctpop(mask)


def splat(b: Builder, scalar: Value, lanes: int) -> Any:
    """A vector of `lanes` copies of a scalar."""
    vector = ir.VectorType(scalar.type, lanes)
    undefined = ir.Constant(vector, ir.Undefined)
    first = b.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return b.shuffle_vector(first, undefined, indices([0] * lanes))


def _store_places(b: Builder, mask: Value, places: Value, positions: Value, base: Value) -> None:
    table = b.inttoptr(places, ir.VectorType(_I8, 8).as_pointer())
    offsets = b.zext(b.load(b.gep(table, [mask]), align=1), V8I32)
    numbered = b.add(offsets, splat(b, b.trunc(base, I32), 8))
    b.store(numbered, b.inttoptr(positions, V8I32.as_pointer()), align=4)
