"""Element types of tensors: the schema's names, their NumPy twins, and packed sub-byte codes.

Codes of INT4, UINT4 and INT2 are held one per byte in memory and packed in files, lowest bits
first, over the flattened tensor.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_DTYPES: dict[str, str] = {
    "FLOAT32": "float32",
    "FLOAT16": "float16",
    "INT32": "int32",
    "UINT8": "uint8",
    "INT64": "int64",
    "STRING": "uint8",
    "BOOL": "bool",
    "INT16": "int16",
    "COMPLEX64": "complex64",
    "INT8": "int8",
    "FLOAT64": "float64",
    "COMPLEX128": "complex128",
    "UINT64": "uint64",
    "RESOURCE": "uint8",
    "VARIANT": "uint8",
    "UINT32": "uint32",
    "UINT16": "uint16",
    "INT4": "int8",
    "BFLOAT16": "uint16",
    "INT2": "int8",
    "UINT4": "uint8",
    "FLOAT8_E4M3FN": "uint8",
    "FLOAT8_E5M2": "uint8",
}
_PACKED_BITS = {"INT4": 4, "UINT4": 4, "INT2": 2}
#: Types whose stored size does not follow from the shape.
OPAQUE = frozenset({"STRING", "RESOURCE", "VARIANT"})
#: Inclusive code limits of the integer types that quantized tensors use.
CODE_LIMITS: dict[str, tuple[int, int]] = {
    "INT2": (-2, 1),
    "INT4": (-8, 7),
    "UINT4": (0, 15),
    "INT8": (-128, 127),
    "UINT8": (0, 255),
    "INT16": (-32768, 32767),
    "UINT16": (0, 65535),
    "INT32": (-(2**31), 2**31 - 1),
    "INT64": (-(2**63), 2**63 - 1),
}


def numpy_type(name: str) -> np.dtype:
    """The NumPy type that holds a tensor of schema type `name` in memory.

    Example:
        >>> numpy_type("INT4")
        dtype('int8')
    """
    return np.dtype(_DTYPES[name])


def element_bits(name: str) -> int:
    """Bits that one element of schema type `name` takes in a file.

    Example:
        >>> element_bits("INT4"), element_bits("INT16")
        (4, 16)
    """
    return _PACKED_BITS.get(name) or numpy_type(name).itemsize * 8


def stored_bytes(name: str, elements: int) -> int:
    """Bytes that `elements` elements of type `name` take in a file, the last byte padded."""
    return (elements * element_bits(name) + 7) // 8


def unpack_codes(raw: NDArray[np.uint8], name: str, elements: int) -> NDArray[np.generic]:
    """Sub-byte codes, one per byte, from their packed bytes.

    Args:
        raw: packed bytes, lowest bits first.
        name: "INT4", "UINT4" or "INT2".
        elements: number of codes; the padding of the last byte is dropped.

    Example:
        >>> unpack_codes(np.array([0xF1], np.uint8), "INT4", 2)
        array([ 1, -1], dtype=int8)
    """
    bits = _PACKED_BITS[name]
    per_byte = 8 // bits
    shifts = np.arange(per_byte, dtype=np.uint8) * np.uint8(bits)
    fields = (raw[:, None] >> shifts) & np.uint8(2**bits - 1)
    codes = fields.reshape(-1)[:elements]
    if name.startswith("U"):
        return codes
    up = np.uint8(8 - bits)
    return (codes << up).view(np.int8) >> np.int8(8 - bits)


def pack_codes(codes: NDArray[np.generic], name: str) -> NDArray[np.uint8]:
    """Packed bytes of sub-byte codes: the inverse of `unpack_codes`.

    Example:
        >>> pack_codes(np.array([1, -1], np.int8), "INT4")
        array([241], dtype=uint8)
    """
    bits = _PACKED_BITS[name]
    per_byte = 8 // bits
    flat = codes.reshape(-1).astype(np.int8).view(np.uint8) & np.uint8(2**bits - 1)
    padded = np.zeros(-(-flat.size // per_byte) * per_byte, np.uint8)
    padded[: flat.size] = flat
    shifts = np.arange(per_byte, dtype=np.uint8) * np.uint8(bits)
    return np.bitwise_or.reduce(padded.reshape(-1, per_byte) << shifts, axis=1).astype(np.uint8)
