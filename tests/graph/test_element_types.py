"""Packed codes: every code, every padding."""

import numpy as np
import pytest

from tfxp.graph.element_types import pack_codes, stored_bytes, unpack_codes


@pytest.mark.parametrize("kind,low,bits", [("INT4", -8, 4), ("UINT4", 0, 4), ("INT2", -2, 2)])
@pytest.mark.parametrize("count", range(9))
def test_round_trip_of_every_code(kind, low, bits, count):
    codes = (np.arange(count) % 2**bits + low).astype(np.int8)
    packed = pack_codes(codes, kind)
    assert packed.size == stored_bytes(kind, count)
    # by hand: code i sits at bit i * bits of the little-endian number
    number = sum((int(code) % 2**bits) << (i * bits) for i, code in enumerate(codes))
    assert int.from_bytes(packed.tobytes(), "little") == number
    np.testing.assert_array_equal(unpack_codes(packed, kind, count), codes)
