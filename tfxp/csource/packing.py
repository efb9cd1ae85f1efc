"""Integer weights in the bits that they need, as the C kernels read them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True)
class PackedCodes:
    """Codes of `bits` bits, two's complement, from the lowest bit of the first byte on.

    Args:
        data: bytes; one more than the codes fill, because kernels read two at a time.
        bits: of one code, 2 to 8; 0 where all codes are the same.
        factor: what every code was divided by.
        count: how many codes there are.
    """

    data: NDArray[np.uint8]
    bits: int
    factor: int
    count: int


def pack_codes(weights: NDArray[Any]) -> PackedCodes:
    """Pack integers of at most 8 bits into as few bits each as their range needs.

    Args:
        weights: integers in [-128, 127], in the order in which they are read.

    Example:
        >>> packed = pack_codes(np.array([-4, 0, 4, 12]))
        >>> packed.bits, packed.factor, packed.data.tolist()
        (3, 4, [71, 6, 0])
        >>> packed = pack_codes(np.array([5, 5, 5]))
        >>> packed.bits, packed.factor, packed.data.tolist()
        (0, 5, [0])
    """
    codes = weights.reshape(-1).astype(np.int64)
    if codes.size and (codes == codes[0]).all():
        return PackedCodes(np.zeros(1, np.uint8), 0, int(codes[0]), codes.size)
    factor = common_power_of_two(codes)
    codes = codes // factor
    low, high = int(codes.min(initial=0)), int(codes.max(initial=0))
    bits = max(2, (max(high, -low - 1)).bit_length() + 1)
    planes = (codes[:, None] >> np.arange(bits)) & 1
    data = np.packbits(planes.astype(np.uint8).reshape(-1), bitorder="little")
    return PackedCodes(np.append(data, np.uint8(0)), bits, factor, codes.size)


def common_power_of_two(codes: NDArray[Any]) -> int:
    """The largest power of two that divides all codes; 1 if all are zero.

    Example:
        >>> common_power_of_two(np.array([[-4, 12], [0, 8]]))
        4
    """
    together = int(np.bitwise_or.reduce(np.abs(codes.astype(np.int64)), axis=None))
    return together & -together or 1
