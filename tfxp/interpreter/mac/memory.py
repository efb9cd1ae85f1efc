"""Arrays over addresses, inside compiled code.

Compiled kernels take addresses instead of arrays: handing an array to compiled code costs a third
of a microsecond, a kernel wants some twenty, and addresses can stand in a table that a whole
network runs from. Who fills the table keeps the arrays alive; see `compiled.Plan`.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic


@intrinsic
def _pointer(typing: Any, address: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), codegen


@numba.njit(cache=True, nogil=True, inline="always")
def bytes_at(address: Any, size: Any) -> Any:
    """int8 array of `size` elements."""
    return numba.carray(_pointer(address), (size,), np.int8)


@numba.njit(cache=True, nogil=True, inline="always")
def unsigned_bytes_at(address: Any, size: Any) -> Any:
    """uint8 array of `size` elements."""
    return numba.carray(_pointer(address), (size,), np.uint8)


@numba.njit(cache=True, nogil=True, inline="always")
def shorts_at(address: Any, size: Any) -> Any:
    """int16 array of `size` elements."""
    return numba.carray(_pointer(address), (size,), np.int16)


@numba.njit(cache=True, nogil=True, inline="always")
def ints_at(address: Any, size: Any) -> Any:
    """int32 array of `size` elements."""
    return numba.carray(_pointer(address), (size,), np.int32)


@numba.njit(cache=True, nogil=True, inline="always")
def longs_at(address: Any, size: Any) -> Any:
    """int64 array of `size` elements."""
    return numba.carray(_pointer(address), (size,), np.int64)


@numba.njit(cache=True, nogil=True, inline="always")
def floats_at(address: Any, size: Any) -> Any:
    """float32 array of `size` elements."""
    return numba.carray(_pointer(address), (size,), np.float32)


@numba.njit(cache=True, nogil=True, inline="always")
def doubles_at(address: Any, size: Any) -> Any:
    """float64 array of `size` elements."""
    return numba.carray(_pointer(address), (size,), np.float64)
