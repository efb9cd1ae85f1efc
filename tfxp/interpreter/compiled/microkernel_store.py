"""Requantizing vectors of accumulators, as LLVM IR: XNNPACK's rounding and those of fixed point.

Fixed point rounds twice: high = half_up(acc * 2^left * factor / 2^31), and then high / 2^right
with halves up or, in the lanes of a mask, away from zero. With r the remainder of high by 2^right,
the second rounding adds 1 where r > (2^right - 1) >> 1, one more for a negative high that rounds
away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tfxp.interpreter.compiled.llvm import Builder, Call, Context, Kind, Typing, Value, Values
from tfxp.interpreter.compiled.microkernel import I32, constant64, splat

_I64 = ir.IntType(64)


def store_vectors(fixed: bool, code_bits: int) -> Callable[..., None]:
    """Requantizes accumulators 16 and then 8 at a time, and counts what it sees.

    The returned intrinsic takes (accumulators, restart, out, length, limits, sums, factors, lefts,
    rights, aways): addresses of int32 accumulators, of int32 values that they start again from, and
    of codes; how many, of which what is left of an 8 is not touched; the address of seven limits
    relative to the zero point (least, most, type low, type high, low, high, zero point); of 5 x 16
    and 5 x 8 int32 sums (below, above, zeros, smallest, largest), updated; and of the factors.

    Args:
        fixed: whether factors are int32 with shifts to the left and right and masks of lanes that
            round halves away from zero, limits int32; else factors and limits are float32, and the
            last three arguments are not used.
        code_bits: 8 or 16.
    """

    @intrinsic
    def store(typing: Typing, accumulators: Kind, restart: Kind, out: Kind, length: Kind,
              limits: Kind, sums: Kind, factors: Kind, lefts: Kind, rights: Kind,
              aways: Kind) -> Any:  # fmt: skip
        def codegen(context: Context, b: Builder, signature: Call, arguments: Values) -> Any:
            sixteens = b.ashr(arguments[3], constant64(4))
            done = b.shl(sixteens, constant64(4))
            eights = b.ashr(b.sub(arguments[3], done), constant64(3))
            kind = fixed, code_bits
            _StoreVectors(b, *kind, 16, constant64(0), sixteens, arguments).build()
            _StoreVectors(b, *kind, 8, done, eights, arguments).build()
            return context.get_dummy_value()

        return types.void(*[types.int64] * 10), codegen

    return store


def _high_half(b: Builder, left: Value, right: Value) -> Any:
    """half_up(left * right / 2^31) of vectors of int32.

    Lanes of even and odd places are multiplied apart, where they stand: x86 multiplies what is in
    the lower halves of 64 bits, and widening the lanes takes more instructions than all the rest.
    """
    longs = ir.VectorType(_I64, left.type.count // 2)

    def constant(value: int) -> Any:
        return ir.Constant(longs, [value] * longs.count)

    wide, half = [b.bitcast(v, longs) for v in (left, right)], constant(32)
    even = b.mul(*(b.ashr(b.shl(v, half), half) for v in wide))
    odd = b.mul(*(b.ashr(v, half) for v in wide))
    even, odd = (b.add(product, constant(1 << 30)) for product in (even, odd))
    lower = b.and_(b.lshr(even, constant(31)), constant(0xFFFFFFFF))
    upper = b.and_(b.shl(odd, constant(1)), constant(0xFFFFFFFF << 32))
    return b.bitcast(b.or_(lower, upper), left.type)


def rounded_twice(
    b: Builder, acc: Value, factor: Value, left: Value, right: Value, away: Value
) -> Any:
    """The two roundings in fixed point of a vector of int32; all arguments but `b` are such."""
    ints = acc.type

    def constant(kind: ir.Type, value: int) -> Any:
        return ir.Constant(kind, [value] * kind.count)

    high = _high_half(b, b.shl(acc, left), factor)
    one, zero = constant(ints, 1), constant(ints, 0)
    mask = b.sub(b.shl(one, right), one)
    negative = b.sext(b.icmp_signed("<", high, zero), ints)
    threshold = b.sub(b.lshr(mask, one), b.and_(negative, away))
    more = b.sext(b.icmp_signed(">", b.and_(high, mask), threshold), ints)
    return b.sub(b.ashr(high, right), more)


class _StoreVectors:
    """Builds the IR of a loop over vectors.

    Args:
        b: the builder.
        fixed, code_bits: see `store_vectors`.
        lanes: 16 or 8.
        first: where the vectors begin, in elements.
        vectors: how many.
        arguments: of the intrinsic.
    """

    def __init__(
        self, b: Builder, fixed: bool, code_bits: int, lanes: int, first: Value, vectors: Value,
        arguments: Values
    ) -> None:  # fmt: skip
        self.b, self.fixed, self.lanes, self.vectors = b, fixed, lanes, vectors
        self.ints = ir.VectorType(I32, lanes)
        self.number = self.ints if fixed else ir.VectorType(ir.FloatType(), lanes)
        self.codes = ir.VectorType(ir.IntType(code_bits), lanes)
        self.code_bytes = code_bits // 8
        accumulators, restart, out, _, limits, sums, *factors = arguments
        self.accumulators = self._vectors_at(accumulators, first, self.ints)
        self.restart = self._vectors_at(restart, first, self.ints)
        self.out = self._vectors_at(out, first, self.codes)
        self.factors = [self._vectors_at(factors[0], first, self.number)]
        if fixed:
            self.factors += [self._vectors_at(f, first, self.ints) for f in factors[1:]]
        element = b.inttoptr(limits, self.number.element.as_pointer())
        self.limits = [
            splat(b, b.load(b.gep(element, [constant64(i)]), align=4), lanes) for i in range(7)
        ]
        part = constant64(0 if lanes == 16 else 4 * 5 * 16)
        self.sums = b.inttoptr(b.add(sums, part), self.ints.as_pointer())

    def _vectors_at(self, address: Value, first: Value, kind: ir.Type) -> Any:
        offset = self.b.mul(
            first, constant64(kind.element.width // 8 if kind.element != (ir.FloatType()) else 4)
        )
        return self.b.inttoptr(self.b.add(address, offset), kind.as_pointer())

    def _compare(self, how: str, left: Value, right: Value) -> Any:
        compare = self.b.icmp_signed if self.fixed else self.b.fcmp_ordered
        return compare(how, left, right)

    def _clamp(self, value: Value, low: Value, high: Value) -> Any:
        value = self.b.select(self._compare("<", value, low), low, value)
        return self.b.select(self._compare(">", value, high), high, value)

    def _load(self, pointer: Value, i: Value) -> Any:
        return self.b.load(self.b.gep(pointer, [i]), align=4)

    def _scaled(self, i: Value, acc: Value) -> Any:
        """The accumulator times its scale, within the outermost limits, rounded."""
        b, (least, most) = self.b, self.limits[:2]
        if self.fixed:
            factors = (self._load(f, i) for f in self.factors)
            return self._clamp(rounded_twice(b, acc, *factors), least, most)
        v = b.fmul(b.sitofp(acc, self.number), self._load(self.factors[0], i))
        v = self._clamp(v, least, most)
        # adding and taking away 1.5 * 2^23 leaves no fractional bits, ties to even
        magic = ir.Constant(self.number, [12582912.0] * self.lanes)
        return b.fsub(b.fadd(v, magic), magic)

    def _step(self, i: Value, sums: list[Value]) -> list[Any]:
        b = self.b
        type_low, type_high, low, high, zero = self.limits[2:]
        slot = b.gep(self.accumulators, [i])
        acc = b.load(slot, align=4)
        b.store(self._load(self.restart, i), slot, align=4)
        v = self._scaled(i, acc)
        below, above = self._compare("<", v, type_low), self._compare(">", v, type_high)
        v = self._clamp(v, low, high)
        nothing = 0 if self.fixed else 0.0
        is_zero = self._compare("==", v, ir.Constant(self.number, [nothing] * self.lanes))
        code = b.add(v, zero) if self.fixed else b.fptosi(b.fadd(v, zero), self.ints)
        b.store(b.trunc(code, self.codes), b.gep(self.out, [i]), align=self.code_bytes)
        seen = [b.sub(s, b.sext(flag, self.ints)) for s, flag in zip(
            sums[:3], (below, above, is_zero), strict=True
        )]  # fmt: skip
        smaller, larger = b.icmp_signed("<", acc, sums[3]), b.icmp_signed(">", acc, sums[4])
        return [*seen, b.select(smaller, acc, sums[3]), b.select(larger, acc, sums[4])]

    def build(self) -> None:
        """The loop."""
        b, function, entry = self.b, self.b.function, self.b.block
        slots = [b.gep(self.sums, [constant64(k)]) for k in range(5)]
        loop, end = function.append_basic_block("vectors"), function.append_basic_block("stored")
        start = [b.load(slot, align=4) for slot in slots]
        b.cbranch(b.icmp_signed(">", self.vectors, constant64(0)), loop, end)
        b.position_at_end(loop)
        i = b.phi(_I64)
        i.add_incoming(constant64(0), entry)
        running = [b.phi(self.ints) for _ in slots]
        after = self._step(i, running)
        following = b.add(i, constant64(1))
        i.add_incoming(following, loop)
        for phi, first, again in zip(running, start, after, strict=True):
            phi.add_incoming(first, entry)
            phi.add_incoming(again, loop)
        b.cbranch(b.icmp_signed("<", following, self.vectors), loop, end)
        b.position_at_end(end)
        final = [b.phi(self.ints) for _ in slots]
        for phi, first, again in zip(final, start, after, strict=True):
            phi.add_incoming(first, entry)
            phi.add_incoming(again, loop)
        for phi, slot in zip(final, slots, strict=True):
            b.store(phi, slot, align=4)
