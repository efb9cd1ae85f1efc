"""Float32 operators of audio front ends: RFFT2D and COMPLEX_ABS.

Transforms are computed in double precision and rounded once; LiteRT's differ in the last places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfxp.interpreter.kernels import requirements as need
from tfxp.interpreter.registry import Array, Node, kernel


def _prepare_rfft(node: Node) -> None:
    need.require_counts(node, 2)
    need.require_type(node, 0, ("FLOAT32",))
    need.require_output_type(node, ("COMPLEX64",))
    shape, lengths = need.tensor(node, 0).shape, need.constant_ints(node, 1)
    powers = all(0 < n <= need.MAX_SIDE and n & (n - 1) == 0 for n in lengths)
    if len(lengths) != 2 or not powers or len(shape) < 2:
        raise need.malformed(node, "lengths", lengths, "two powers of two")
    node.cache["lengths"] = tuple(lengths)
    need.require_output_shape(node, (*shape[:-2], lengths[0], lengths[1] // 2 + 1))


@kernel("RFFT2D", prepare=_prepare_rfft)
def rfft_2d(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Two-dimensional discrete Fourier transform of real numbers, padded with zeros or cut."""
    spectrum = np.fft.rfft2(inputs[0].astype(np.float64), s=node.cache["lengths"], axes=(-2, -1))
    return [spectrum.astype(np.complex64)]


def _prepare_abs(node: Node) -> None:
    need.require_counts(node, 1)
    need.require_type(node, 0, ("COMPLEX64",))
    need.require_output_type(node, ("FLOAT32",))
    need.require_output_shape(node, need.tensor(node, 0).shape)


@kernel("COMPLEX_ABS", prepare=_prepare_abs)
def complex_abs(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Sizes of complex numbers."""
    return [np.abs(inputs[0].astype(np.complex128)).astype(np.float32)]
