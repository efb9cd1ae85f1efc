"""The two inner loops that decide the speed, written as LLVM IR through Numba intrinsics.

`gather_block(nvec)` adds weight rows of 16 * nvec channels, one per non-zero activation, to
accumulators that stay in vector registers. Two rows are interleaved so that one multiply-add
instruction (x86 `vpmaddwd`: pairs of int16 products summed in int32) covers both; on other
processors the same loop multiplies in int32. `compress8` finds the non-zero codes among eight.

Addresses are passed as integers: the callers in `compiled.py` own the arrays and check the bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_I1, _I8, _I16, I32, _I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
_V16I16 = ir.VectorType(_I16, 16)
_V8I16 = ir.VectorType(_I16, 8)
V8I32 = ir.VectorType(I32, 8)
_V16I8 = ir.VectorType(_I8, 16)
# how two rows of 16 interleave within 128-bit lanes (x86 vpunpcklwd, vpunpckhwd)
_LOW = [0, 16, 1, 17, 2, 18, 3, 19, 8, 24, 9, 25, 10, 26, 11, 27]
_HIGH = [4, 20, 5, 21, 6, 22, 7, 23, 12, 28, 13, 29, 14, 30, 15, 31]
#: Channel that sits in each place of a packed group of 16, so that accumulators come out in order.
CHANNEL_ORDER = np.array([0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15])


def _host_has(feature: str) -> bool:
    if numba.config.CPU_NAME or not numba.config.ENABLE_AVX:
        return False  # code is compiled for another processor than this one
    return bool(llvm.get_host_cpu_features().get(feature, False))


#: Whether the x86 instructions are used; else plain integer arithmetic of the same result.
USE_AVX2 = _host_has("avx2")


def _index(values: list[int]) -> ir.Constant:
    return ir.Constant(ir.VectorType(I32, len(values)), [ir.Constant(I32, v) for v in values])


def constant64(value: int) -> ir.Constant:
    """A 64-bit integer."""
    return ir.Constant(_I64, value)


def _multiply_add(b: Any, left: Any, right: Any) -> Any:
    """<16 x i16> times <16 x i16>, neighbouring products summed: <8 x i32>."""
    if USE_AVX2:
        kind = ir.FunctionType(V8I32, [_V16I16, _V16I16])
        name = "llvm.x86.avx2.pmadd.wd"
        return b.call(cgutils.get_or_insert_function(b.module, kind, name), [left, right])

    def half(vector: Any, first: int) -> Any:
        picks = _index(list(range(first, 16, 2)))
        return b.sext(b.shuffle_vector(vector, ir.Constant(_V16I16, ir.Undefined), picks), V8I32)

    return b.add(b.mul(half(left, 0), half(right, 0)), b.mul(half(left, 1), half(right, 1)))


class _GatherBlock:
    """Builds the IR of one gather loop."""

    def __init__(self, builder: Any, nvec: int, arguments: Any) -> None:
        self.b, self.nvec = builder, nvec
        accumulators, weights, positions, values, self.count = arguments
        self.accumulators = builder.inttoptr(accumulators, V8I32.as_pointer())
        self.weights = builder.inttoptr(weights, _I16.as_pointer())
        self.positions = builder.inttoptr(positions, I32.as_pointer())
        self.values = builder.inttoptr(values, _I16.as_pointer())

    def _row(self, i: Any) -> Any:
        b = self.b
        position = b.sext(b.load(b.gep(self.positions, [i]), align=4), _I64)
        return b.gep(self.weights, [b.mul(position, constant64(16 * self.nvec))])

    def _step(self, sums: list[Any], i: Any, pair: bool) -> list[Any]:
        """Adds one or two weight rows."""
        b = self.b
        first = second = self._row(i)
        address = b.gep(self.values, [i])
        if pair:
            second = self._row(b.add(i, constant64(1)))
            both = b.load(b.bitcast(address, I32.as_pointer()), align=2)
        else:
            both = b.zext(b.load(address, align=2), I32)
        undefined = ir.Constant(V8I32, ir.Undefined)
        splat = b.insert_element(undefined, both, ir.Constant(I32, 0))
        activations = b.bitcast(b.shuffle_vector(splat, undefined, _index([0] * 8)), _V16I16)
        result = []
        for k in range(self.nvec):
            rows = [
                b.load(b.bitcast(b.gep(row, [constant64(16 * k)]), _V16I16.as_pointer()), align=2)
                for row in (first, second)
            ]
            for half, lanes in enumerate((_LOW, _HIGH)):
                mixed = b.shuffle_vector(rows[0], rows[1], _index(lanes))
                product = _multiply_add(b, mixed, activations)
                result.append(b.add(sums[2 * k + half], product))
        return result

    def build(self) -> None:
        """Pairs in a loop, then a single row if the count is odd."""
        b, function = self.b, self.b.function
        vectors = range(2 * self.nvec)
        slots = [b.gep(self.accumulators, [constant64(k)]) for k in vectors]
        start = [b.load(slot, align=4) for slot in slots]
        entry = b.block
        loop, pairs, odd, end = (
            function.append_basic_block(name) for name in ("loop", "pairs", "odd", "end")
        )
        even = b.and_(self.count, constant64(-2))
        b.cbranch(b.icmp_signed(">", even, constant64(0)), loop, pairs)

        b.position_at_end(loop)
        i = b.phi(_I64)
        i.add_incoming(constant64(0), entry)
        running = [b.phi(V8I32) for _ in vectors]
        after = self._step(running, i, pair=True)
        following = b.add(i, constant64(2))
        i.add_incoming(following, loop)
        for phi, first, again in zip(running, start, after, strict=True):
            phi.add_incoming(first, entry)
            phi.add_incoming(again, loop)
        b.cbranch(b.icmp_signed("<", following, even), loop, pairs)

        b.position_at_end(pairs)
        summed = [b.phi(V8I32) for _ in vectors]
        for phi, first, again in zip(summed, start, after, strict=True):
            phi.add_incoming(first, entry)
            phi.add_incoming(again, loop)
        b.cbranch(b.icmp_signed("<", even, self.count), odd, end)

        b.position_at_end(odd)
        last = self._step(summed, even, pair=False)
        b.branch(end)

        b.position_at_end(end)
        final = [b.phi(V8I32) for _ in vectors]
        for phi, whole, extra in zip(final, summed, last, strict=True):
            phi.add_incoming(whole, pairs)
            phi.add_incoming(extra, odd)
        for phi, slot in zip(final, slots, strict=True):
            b.store(phi, slot, align=4)


def gather_block(nvec: int) -> Callable[..., None]:
    """The gather loop for blocks of 16 * nvec channels.

    The returned intrinsic takes (accumulators, weights, positions, values, count): addresses of
    int32 accumulators, of int16 weight rows, of int32 row numbers and int16 activations, and how
    many of these there are. One value past the end of both lists is read, never used.
    """

    @intrinsic
    def gather(typing: Any, accumulators: Any, weights: Any, positions: Any, values: Any,
               n: Any) -> Any:  # fmt: skip
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _GatherBlock(builder, nvec, arguments).build()
            return context.get_dummy_value()

        return types.void(*[types.int64] * 5), codegen

    return gather


def compress8(code_type: str) -> Callable[..., int]:
    """Finds the non-zero codes among eight neighbours; for x86 only (`USE_AVX2`).

    The returned intrinsic takes (source, zero, take_all, positions, values, base, places, shuffles)
    and returns how many it wrote: row numbers base + place, and codes minus zero. Eight entries are
    stored whatever the count. `take_all` is 255 to take zeros too, else 0.

    Args:
        code_type: "int8", "uint8" or "int16".
    """
    element = _I16 if code_type == "int16" else _I8

    @intrinsic
    def compress(typing: Any, source: Any, zero: Any, take_all: Any, positions: Any, values: Any,
                 base: Any, places: Any, shuffles: Any) -> Any:  # fmt: skip
        def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
            source, zero, take_all, positions, values, base, places, shuffles = arguments
            kind = ir.VectorType(element, 8)
            codes = b.load(b.inttoptr(source, kind.as_pointer()), align=element.width // 8)
            if code_type == "int8":
                codes = b.sext(codes, _V8I16)
            elif code_type == "uint8":
                codes = b.zext(codes, _V8I16)
            centred = b.sub(codes, splat(b, b.trunc(zero, _I16), 8))
            nonzero = b.icmp_signed("!=", centred, ir.Constant(_V8I16, [0] * 8))
            mask = b.zext(b.bitcast(nonzero, _I8), _I64)
            mask = b.or_(mask, take_all)
            _store_places(b, mask, places, positions, base)
            table = b.inttoptr(shuffles, _V16I8.as_pointer())
            order = b.load(b.gep(table, [mask]), align=1)
            shuffle = cgutils.get_or_insert_function(
                b.module, ir.FunctionType(_V16I8, [_V16I8] * 2), "llvm.x86.ssse3.pshuf.b.128"
            )
            packed = b.call(shuffle, [b.bitcast(centred, _V16I8), order])
            b.store(packed, b.inttoptr(values, _V16I8.as_pointer()), align=2)
            return b.ctpop(mask)

        return types.int64(*[types.int64] * 8), codegen

    return compress


def splat(b: Any, scalar: Any, lanes: int) -> Any:
    """A vector of `lanes` copies of a scalar."""
    vector = ir.VectorType(scalar.type, lanes)
    undefined = ir.Constant(vector, ir.Undefined)
    first = b.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return b.shuffle_vector(first, undefined, _index([0] * lanes))


def _store_places(b: Any, mask: Any, places: Any, positions: Any, base: Any) -> None:
    table = b.inttoptr(places, ir.VectorType(_I8, 8).as_pointer())
    offsets = b.zext(b.load(b.gep(table, [mask]), align=1), V8I32)
    numbered = b.add(offsets, splat(b, b.trunc(base, I32), 8))
    b.store(numbered, b.inttoptr(positions, V8I32.as_pointer()), align=4)


def store8(code_type: str) -> Callable[..., None]:
    """Requantizes accumulators eight at a time the way XNNPACK does, and counts what it sees.

    The returned intrinsic takes (accumulators, scales, out, eights, limits, sums): addresses of
    int32 accumulators, float32 scales and codes; how many groups of eight; the address of seven
    float32 limits relative to the zero point (least, most, type low, type high, low, high, zero
    point), and of 5 x 8 int32 sums (below, above, zeros, smallest, largest), updated.

    Args:
        code_type: "int8", "uint8" or "int16": how wide a code is stored.
    """
    element = _I16 if code_type == "int16" else _I8

    @intrinsic
    def store(typing: Any, accumulators: Any, scales: Any, out: Any, eights: Any, limits: Any,
              sums: Any) -> Any:  # fmt: skip
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _StoreEights(builder, element, arguments).build()
            return context.get_dummy_value()

        return types.void(*[types.int64] * 6), codegen

    return store


_V8F32 = ir.VectorType(ir.FloatType(), 8)


class _StoreEights:
    """Builds the IR of the requantizing loop."""

    def __init__(self, builder: Any, element: Any, arguments: Any) -> None:
        self.b = builder
        accumulators, scales, out, self.eights, limits, sums = arguments
        self.accumulators = builder.inttoptr(accumulators, V8I32.as_pointer())
        self.scales = builder.inttoptr(scales, _V8F32.as_pointer())
        self.codes = ir.VectorType(element, 8)
        self.out = builder.inttoptr(out, self.codes.as_pointer())
        self.element_bytes = element.width // 8
        floats = builder.inttoptr(limits, ir.FloatType().as_pointer())
        self.limits = [
            splat(builder, builder.load(builder.gep(floats, [constant64(i)]), align=4), 8)
            for i in range(7)
        ]
        self.sums = builder.inttoptr(sums, V8I32.as_pointer())

    def _pick(self, condition: Any, first: Any, second: Any) -> Any:
        return self.b.select(condition, first, second)

    def _step(self, i: Any, sums: list[Any]) -> list[Any]:
        b = self.b
        least, most, type_low, type_high, low, high, zero = self.limits
        acc = b.load(b.gep(self.accumulators, [i]), align=4)
        scale = b.load(b.gep(self.scales, [i]), align=4)
        v = b.fmul(b.sitofp(acc, _V8F32), scale)
        v = self._pick(b.fcmp_ordered("<", v, least), least, v)
        v = self._pick(b.fcmp_ordered(">", v, most), most, v)
        # adding and taking away 1.5 * 2^23 leaves no fractional bits, ties to even
        magic = ir.Constant(_V8F32, [12582912.0] * 8)
        v = b.fsub(b.fadd(v, magic), magic)
        below, above = b.fcmp_ordered("<", v, type_low), b.fcmp_ordered(">", v, type_high)
        v = self._pick(b.fcmp_ordered("<", v, low), low, v)
        v = self._pick(b.fcmp_ordered(">", v, high), high, v)
        is_zero = b.fcmp_ordered("==", v, ir.Constant(_V8F32, [0.0] * 8))
        code = b.fptosi(b.fadd(v, zero), V8I32)
        b.store(b.trunc(code, self.codes), b.gep(self.out, [i]), align=self.element_bytes)
        seen = [b.sub(s, b.sext(flag, V8I32)) for s, flag in zip(
            sums[:3], (below, above, is_zero), strict=True
        )]  # fmt: skip
        smaller, larger = b.icmp_signed("<", acc, sums[3]), b.icmp_signed(">", acc, sums[4])
        return [*seen, self._pick(smaller, acc, sums[3]), self._pick(larger, acc, sums[4])]

    def build(self) -> None:
        """A loop over groups of eight."""
        b, function, entry = self.b, self.b.function, self.b.block
        slots = [b.gep(self.sums, [constant64(k)]) for k in range(5)]
        start = [b.load(slot, align=4) for slot in slots]
        loop, end = function.append_basic_block("eights"), function.append_basic_block("stored")
        b.cbranch(b.icmp_signed(">", self.eights, constant64(0)), loop, end)
        b.position_at_end(loop)
        i = b.phi(_I64)
        i.add_incoming(constant64(0), entry)
        running = [b.phi(V8I32) for _ in slots]
        after = self._step(i, running)
        following = b.add(i, constant64(1))
        i.add_incoming(following, loop)
        for phi, first, again in zip(running, start, after, strict=True):
            phi.add_incoming(first, entry)
            phi.add_incoming(again, loop)
        b.cbranch(b.icmp_signed("<", following, self.eights), loop, end)
        b.position_at_end(end)
        final = [b.phi(V8I32) for _ in slots]
        for phi, first, again in zip(final, start, after, strict=True):
            phi.add_incoming(first, entry)
            phi.add_incoming(again, loop)
        for phi, slot in zip(final, slots, strict=True):
            b.store(phi, slot, align=4)


def _tables() -> tuple[Any, Any]:
    """Per 8-bit mask: the places of its set bits, and the byte shuffle that brings them up."""
    places = np.zeros((256, 8), np.uint8)
    shuffles = np.full((256, 16), 0x80, np.uint8)
    for mask in range(256):
        bits = [i for i in range(8) if mask >> i & 1]
        places[mask, : len(bits)] = bits
        for target, bit in enumerate(bits):
            shuffles[mask, 2 * target : 2 * target + 2] = (2 * bit, 2 * bit + 1)
    return places, shuffles


PLACES, SHUFFLES = _tables()
