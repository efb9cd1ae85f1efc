"""How vectors of this processor are laid out: what records are made by, without loading Numba."""

from __future__ import annotations

import os
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from numpy.typing import NDArray


def cpu_name() -> str:
    """The processor that code is compiled for; NUMBA_CPU_NAME names another."""
    return os.environ.get("NUMBA_CPU_NAME") or llvm.get_host_cpu_name()


def cpu_features() -> str:
    """Its features as LLVM writes them; NUMBA_CPU_FEATURES gives others."""
    if "NUMBA_CPU_FEATURES" in os.environ:
        return os.environ["NUMBA_CPU_FEATURES"]
    if os.environ.get("NUMBA_CPU_NAME"):
        return ""  # code is compiled for another processor than this one
    return str(llvm.get_host_cpu_features().flatten())


def _has(feature: str) -> bool:
    return os.environ.get("NUMBA_ENABLE_AVX", "1") != "0" and f"+{feature}" in _FEATURES


_FEATURES = cpu_features().split(",")
#: Whether x86 instructions are used; else plain integer arithmetic of the same result.
USE_AVX2 = _has("avx2")
USE_AVX512 = USE_AVX2 and _has("avx512bw") and _has("avx512vl")
#: Whether four bytes are multiplied and added in one instruction, twice as fast as two of 16 bits.
USE_BYTES = USE_AVX512 and _has("avx512vnni")
#: int32 lanes of a vector register.
LANES = 16 if USE_AVX512 else 8
#: What `microkernel.scatter_pixels` has loops for: groups of 16 accumulators that fit the registers
#: together.
SCATTER_SIZES = (1, 2, 3, 4, 6, 8, 9, 12, 16, 18) if USE_AVX512 else (1, 2, 3, 4, 6)
#: Tiles of `microkernel_dense.dense_tile`: vectors of channels, the most first; vectors of sums of
#: a full one; pixels where a row has too few for that.
DENSE_VECTORS, DENSE_SUMS = ((4, 2, 1), 16) if USE_AVX512 else ((2, 1), 8)
DENSE_SHORT = 4
#: Pixels that one call of `microkernel_planes.add_weights` computes.
PIXELS = 4 * LANES


def interleaved(half: int) -> list[int]:
    """How two vectors interleave within 128-bit lanes (x86 vpunpcklwd, vpunpckhwd)."""
    places = [8 * lane + 4 * half + i for lane in range(LANES // 4) for i in range(4)]
    return [place for p in places for place in (p, p + 2 * LANES)]


def row_order(vectors: int) -> NDArray[np.int64]:
    """Which of `16 * vectors` outputs sits in each place of a weight row; -1 is padding.

    The order undoes the interleaving, so that accumulators come out in the order of outputs.
    """
    lanes = np.arange(vectors * 16).reshape(-1, LANES)  # one row per register of accumulators
    if len(lanes) % 2:
        lanes = np.concatenate([lanes, np.full((1, LANES), -1)])
    fours = lanes.reshape(len(lanes) // 2, 2, LANES // 4, 4)
    return fours.transpose(0, 2, 1, 3).reshape(-1)


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
