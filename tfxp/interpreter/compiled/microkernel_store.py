"""Requantizing a vector of accumulators the way XNNPACK does, as LLVM IR."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tfxp.interpreter.compiled.microkernel import I32, constant64, splat


def store_vectors(code_type: str, lanes: int) -> Callable[..., None]:
    """Requantizes accumulators `lanes` at a time, and counts what it sees.

    The returned intrinsic takes (accumulators, scales, restart, out, vectors, limits, sums):
    addresses of int32 accumulators, of float32 scales, of int32 values that the accumulators start
    again from, and of codes; how many vectors; the address of seven float32 limits relative to the
    zero point (least, most, type low, type high, low, high, zero point), and of 5 x `lanes` int32
    sums (below, above, zeros, smallest, largest), updated.

    Args:
        code_type: "int8", "uint8" or "int16": how wide a code is stored.
        lanes: 8 or 16.
    """
    element = ir.IntType(16 if code_type == "int16" else 8)

    @intrinsic
    def store(typing: Any, accumulators: Any, scales: Any, restart: Any, out: Any, vectors: Any,
              limits: Any, sums: Any) -> Any:  # fmt: skip
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _StoreVectors(builder, element, lanes, arguments).build()
            return context.get_dummy_value()

        return types.void(*[types.int64] * 7), codegen

    return store


class _StoreVectors:
    """Builds the IR of the requantizing loop."""

    def __init__(self, builder: Any, element: Any, lanes: int, arguments: Any) -> None:
        self.b = builder
        self.lanes = lanes
        self.ints, self.floats = ir.VectorType(I32, lanes), ir.VectorType(ir.FloatType(), lanes)
        accumulators, scales, restart, out, self.vectors, limits, sums = arguments
        self.accumulators = builder.inttoptr(accumulators, self.ints.as_pointer())
        self.scales = builder.inttoptr(scales, self.floats.as_pointer())
        self.restart = builder.inttoptr(restart, self.ints.as_pointer())
        self.codes = ir.VectorType(element, lanes)
        self.out = builder.inttoptr(out, self.codes.as_pointer())
        self.element_bytes = element.width // 8
        floats = builder.inttoptr(limits, ir.FloatType().as_pointer())
        self.limits = [
            splat(builder, builder.load(builder.gep(floats, [constant64(i)]), align=4), lanes)
            for i in range(7)
        ]
        self.sums = builder.inttoptr(sums, self.ints.as_pointer())

    def _pick(self, condition: Any, first: Any, second: Any) -> Any:
        return self.b.select(condition, first, second)

    def _step(self, i: Any, sums: list[Any]) -> list[Any]:
        b = self.b
        least, most, type_low, type_high, low, high, zero = self.limits
        slot = b.gep(self.accumulators, [i])
        acc = b.load(slot, align=4)
        b.store(b.load(b.gep(self.restart, [i]), align=4), slot, align=4)
        scale = b.load(b.gep(self.scales, [i]), align=4)
        v = b.fmul(b.sitofp(acc, self.floats), scale)
        v = self._pick(b.fcmp_ordered("<", v, least), least, v)
        v = self._pick(b.fcmp_ordered(">", v, most), most, v)
        # adding and taking away 1.5 * 2^23 leaves no fractional bits, ties to even
        magic = ir.Constant(self.floats, [12582912.0] * self.lanes)
        v = b.fsub(b.fadd(v, magic), magic)
        below, above = b.fcmp_ordered("<", v, type_low), b.fcmp_ordered(">", v, type_high)
        v = self._pick(b.fcmp_ordered("<", v, low), low, v)
        v = self._pick(b.fcmp_ordered(">", v, high), high, v)
        is_zero = b.fcmp_ordered("==", v, ir.Constant(self.floats, [0.0] * self.lanes))
        code = b.fptosi(b.fadd(v, zero), self.ints)
        b.store(b.trunc(code, self.codes), b.gep(self.out, [i]), align=self.element_bytes)
        seen = [b.sub(s, b.sext(flag, self.ints)) for s, flag in zip(
            sums[:3], (below, above, is_zero), strict=True
        )]  # fmt: skip
        smaller, larger = b.icmp_signed("<", acc, sums[3]), b.icmp_signed(">", acc, sums[4])
        return [*seen, self._pick(smaller, acc, sums[3]), self._pick(larger, acc, sums[4])]

    def build(self) -> None:
        """A loop over vectors."""
        b, function, entry = self.b, self.b.function, self.b.block
        slots = [b.gep(self.sums, [constant64(k)]) for k in range(5)]
        start = [b.load(slot, align=4) for slot in slots]
        loop, end = function.append_basic_block("vectors"), function.append_basic_block("stored")
        b.cbranch(b.icmp_signed(">", self.vectors, constant64(0)), loop, end)
        b.position_at_end(loop)
        i = b.phi(ir.IntType(64))
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
