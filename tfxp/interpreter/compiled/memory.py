"""Memory by address, inside compiled code.

Compiled kernels take addresses instead of arrays: handing an array to compiled code costs a third
of a microsecond, a kernel wants some twenty, and addresses can stand in a table that a whole
network runs from. Who fills the table keeps the arrays alive; see `layer.Plan`. An address becomes
a plain pointer, not an array: Numba's arrays bring counting of references, negative indices and
errors, which take three quarters of the time that a kernel needs to compile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tfxp.interpreter.compiled.llvm import Builder, Call, Context, Kind, Typing, Values

#: For parts of a kernel that one place calls: taken into it before anything is compiled, where a
#: function of its own would be optimised again at every level of calls above it.
inlined = numba.njit(nogil=True, inline="always", error_model="numpy")
#: For what many places call: compiled once, and for the optimiser to take into its callers.
shared = numba.njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


def _pointer_to(kind: Kind) -> Callable[[int], Any]:
    @intrinsic
    def pointer(typing: Typing, address: int) -> Any:
        def codegen(context: Context, builder: Builder, signature: Call, arguments: Values) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(types.CPointer(kind)))

        return types.CPointer(kind)(types.int64), codegen

    return pointer


#: Elements that begin at an address, by their type.
bytes_at, unsigned_bytes_at = _pointer_to(types.int8), _pointer_to(types.uint8)
shorts_at, ints_at, longs_at = (_pointer_to(t) for t in (types.int16, types.int32, types.int64))
floats_at, doubles_at = _pointer_to(types.float32), _pointer_to(types.float64)


@intrinsic
def call(typing: Typing, address: Kind, x_at: Kind, y_at: Kind, out_at: Kind, count: Kind,
         record_at: Kind, scratch_at: Kind, counts_at: Kind) -> Any:  # fmt: skip
    """Runs the kernel at an address; see `native.KERNELS` for what it takes."""

    def codegen(context: Context, builder: Builder, signature: Call, arguments: Values) -> Any:
        address, *others = arguments
        plain = context.get_value_type(types.int64)
        kind = ir.FunctionType(ir.VoidType(), [plain] * len(others))
        builder.call(builder.inttoptr(address, kind.as_pointer()), others)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 8), codegen


@shared
def fill_ints(address: int, size: int, value: int) -> None:
    """Sets int32 elements to a value."""
    elements = ints_at(address)
    for i in range(size):
        elements[i] = value


@shared
def copy_ints(to: int, source: int, size: int) -> None:
    """Copies int32 elements."""
    elements, values = ints_at(to), ints_at(source)
    for i in range(size):
        elements[i] = values[i]
