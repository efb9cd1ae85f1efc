"""Files for LiteRT for Microcontrollers: as C arrays, with compressed weights, and their memory."""

from tfxp.tflm.c_array import CArray, write_c_array
from tfxp.tflm.compression import CompressedFile, compress_weights, write_compressed
from tfxp.tflm.memory import arena_bytes
from tfxp.tflm.operators import resolver_calls

__all__ = [
    "CArray",
    "CompressedFile",
    "arena_bytes",
    "compress_weights",
    "resolver_calls",
    "write_c_array",
    "write_compressed",
]
