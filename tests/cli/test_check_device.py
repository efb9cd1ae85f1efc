"""The check of a device: it passes here, and sees what is not exact."""

import numpy as np
import pytest

from tfxp.commands import check_device
from tfxp.keras import tf


def test_processor_is_exact():
    found = check_device.check_device()
    assert len(found) >= 5 and not [row for row in found if row.wrong]


def test_tensor_float_32_is_switched_off_and_noticed():
    assert not tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(True)
    try:
        first = check_device.check_device()[0]
        assert first.wrong and "TFXP_TF32" in first.note
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(False)


def test_factors_of_ten_bits_are_noticed(monkeypatch):
    def short(x):
        bits = np.asarray(x, np.float32).view(np.uint32) & np.uint32(0xFFFFE000)
        return bits.view(np.float32)

    product = tf.linalg.matmul
    monkeypatch.setattr(tf.linalg, "matmul", lambda a, b: product(short(a / 3) * 3, b))
    wrong, elements = check_device._product()
    assert 0 < wrong <= elements


@pytest.mark.parametrize("stride", [1, 2])
def test_oracle_is_the_definition(stride, rng):
    x, kernel = rng.integers(-5, 5, (1, 5, 5, 2)), rng.integers(-5, 5, (3, 3, 2, 3))
    got = check_device._convolved(x, kernel, stride)
    for h in range(got.shape[1]):
        for w in range(got.shape[2]):
            part = x[0, h * stride : h * stride + 3, w * stride : w * stride + 3]
            assert (got[0, h, w] == (part[..., None] * kernel).sum((0, 1, 2))).all()
