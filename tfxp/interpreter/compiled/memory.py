"""Arrays over addresses, inside compiled code.

Compiled kernels take addresses instead of arrays: handing an array to compiled code costs a third
of a microsecond, a kernel wants some twenty, and addresses can stand in a table that a whole
network runs from. Who fills the table keeps the arrays alive; see `layer.Plan`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

#: For parts of a kernel that one place calls: taken into it before anything is compiled, where a
#: function of its own would be optimised again at every level of calls above it.
inlined = numba.njit(nogil=True, inline="always")
#: For what many places call: compiled once, and for the optimiser to take into its callers.
shared = numba.njit(nogil=True)


def cached(function: Callable[..., Any]) -> Callable[..., Any]:
    """For what stays compiled on disk until a file that it is made of changes.

    Numba itself looks at the function's own file only, and would go on running what other files
    said when it compiled.
    """
    dispatcher = numba.njit(cache=True, nogil=True)(function)
    kept = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if kept is not None:
        kept._source_stamp = _SOURCES
    return dispatcher


def _sources() -> tuple[tuple[str, int, int], ...]:
    folder = Path(__file__).parent
    constants = folder.parent / "numerics" / "arithmetic.py", folder.parent / "step.py"
    states = ((path, path.stat()) for path in (*folder.glob("*.py"), *constants))
    return tuple(sorted((p.name, state.st_mtime_ns, state.st_size) for p, state in states))


_SOURCES = _sources()


@intrinsic
def _pointer(typing: Any, address: int) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), codegen


@shared
def bytes_at(address: int, size: int) -> NDArray[np.int8]:
    """int8 array of `size` elements."""
    return numba.carray(_pointer(address), (size,), np.int8)


@shared
def unsigned_bytes_at(address: int, size: int) -> NDArray[np.uint8]:
    """uint8 array of `size` elements."""
    return numba.carray(_pointer(address), (size,), np.uint8)


@shared
def shorts_at(address: int, size: int) -> NDArray[np.int16]:
    """int16 array of `size` elements."""
    return numba.carray(_pointer(address), (size,), np.int16)


@shared
def ints_at(address: int, size: int) -> NDArray[np.int32]:
    """int32 array of `size` elements."""
    return numba.carray(_pointer(address), (size,), np.int32)


@shared
def longs_at(address: int, size: int) -> NDArray[np.int64]:
    """int64 array of `size` elements."""
    return numba.carray(_pointer(address), (size,), np.int64)


@shared
def floats_at(address: int, size: int) -> NDArray[np.float32]:
    """float32 array of `size` elements."""
    return numba.carray(_pointer(address), (size,), np.float32)


@shared
def doubles_at(address: int, size: int) -> NDArray[np.float64]:
    """float64 array of `size` elements."""
    return numba.carray(_pointer(address), (size,), np.float64)


@shared
def fill_ints(address: int, size: int, value: int) -> None:
    """Sets int32 elements to a value; `array[:] = value` would compile error messages as well."""
    array = ints_at(address, size)
    for i in range(size):
        array[i] = value


@shared
def copy_ints(to: int, source: int, size: int) -> None:
    """Copies int32 elements."""
    array, values = ints_at(to, size), ints_at(source, size)
    for i in range(size):
        array[i] = values[i]
