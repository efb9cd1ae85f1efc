"""Whether a device computes what exactness rests on: float32 sums of whole numbers below 2^24."""

from __future__ import annotations

import os

import numpy as np

from tfxp.commands.doctor import Finding

# (size, kernel, stride, channels in, channels out): shapes for which libraries choose other ways.
_SHAPES = ((16, 3, 1, 16, 16), (16, 3, 1, 64, 64), (15, 3, 2, 8, 24), (12, 5, 1, 8, 8),
           (8, 1, 1, 256, 256), (9, 7, 2, 3, 16))  # fmt: skip
_SUM_LIMIT = 2**24
_WORDS = "expected 0; do not rely on exactness there"


def check_device() -> list[Finding]:
    """Compare the devices that TensorFlow sees with sums of int64; GPUs, or else the processor."""
    from tfxp.keras import tf

    gpus = [device.name for device in tf.config.list_logical_devices("GPU")]
    found = [
        _said("TensorFloat-32", not tf.config.experimental.tensor_float_32_execution_enabled(),
              "off", "on", "sums of products keep 10 bits; unset TFXP_TF32"),
        _said("oneDNN's precision", _strict(), "strict", "reduced",
              "unset ONEDNN_DEFAULT_FPMATH_MODE"),
    ]  # fmt: skip
    for device in gpus or [tf.config.list_logical_devices("CPU")[0].name]:
        with tf.device(device):
            where = ":".join(device.split(":")[-2:])
            found.append(_counted(f"{where}: convolutions", *_convolutions()))
            found.append(_counted(f"{where}: depthwise convolutions", *_depthwise()))
            found.append(_counted(f"{where}: matrix products", *_product()))
            found.append(_counted(f"{where}: rounding of ties", *_ties()))
    return found


def _said(subject: str, good: bool, words: str, other: str, advice: str) -> Finding:
    return Finding(subject, words if good else other, "" if good else advice, wrong=not good)


def _counted(subject: str, wrong: int, elements: int) -> Finding:
    text = f"{wrong:,} of {elements:,} elements are not exact"
    return Finding(subject, text, _WORDS if wrong else "", wrong=wrong > 0)


def _strict() -> bool:
    return os.environ.get("ONEDNN_DEFAULT_FPMATH_MODE", "STRICT").upper() == "STRICT"


def _codes(shape: tuple[int, ...], terms: int, seed: int) -> np.ndarray:
    """Whole numbers as large as `terms` products of them may be."""
    limit = min(int(np.sqrt((_SUM_LIMIT - 1) / terms)), 127)
    return np.random.default_rng(seed).integers(-limit, limit + 1, shape)


def _convolutions() -> tuple[int, int]:
    from tfxp.keras import tf

    wrong = elements = 0
    for number, (size, side, stride, read, written) in enumerate(_SHAPES):
        terms = side * side * read
        x = _codes((2, size, size, read), terms, number)
        kernel = _codes((side, side, read, written), terms, number + 100)
        wanted = _convolved(x, kernel, stride)
        got = tf.nn.conv2d(x.astype(np.float32), kernel.astype(np.float32), stride, "VALID")
        wrong += int((got.numpy() != wanted).sum())
        elements += wanted.size
    return wrong, elements


def _convolved(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    side = kernel.shape[:2]
    windows = np.lib.stride_tricks.sliding_window_view(x, side, axis=(1, 2))
    return np.einsum("bhwcij,ijco->bhwo", windows[:, ::stride, ::stride], kernel)


def _depthwise() -> tuple[int, int]:
    from tfxp.keras import tf

    wrong = elements = 0
    for number, (size, side, stride, channels, _) in enumerate(_SHAPES):
        x = _codes((2, size, size, channels), side * side, number + 200)
        kernel = _codes((side, side, channels, 1), side * side, number + 300)
        windows = np.lib.stride_tricks.sliding_window_view(x, (side, side), axis=(1, 2))
        wanted = np.einsum("bhwcij,ijco->bhwc", windows[:, ::stride, ::stride], kernel)
        strides = (1, stride, stride, 1)
        got = tf.nn.depthwise_conv2d(
            x.astype(np.float32), kernel.astype(np.float32), strides, "VALID"
        )
        wrong += int((got.numpy() != wanted).sum())
        elements += wanted.size
    return wrong, elements


def _product() -> tuple[int, int]:
    from tfxp.keras import tf

    a, b = _codes((64, 1000), 1000, 1), _codes((1000, 48), 1000, 2)
    got = tf.linalg.matmul(a.astype(np.float32), b.astype(np.float32)).numpy()
    return int((got != a @ b).sum()), got.size


def _ties() -> tuple[int, int]:
    """Division by a power of two and rounding half to even, as every quantizer does."""
    from tfxp.keras import tf

    codes = np.arange(-4096, 4097)
    got = tf.round(tf.constant(codes * 2.0**-9, tf.float32) / tf.constant(2.0**-6)).numpy()
    low, rest = codes // 8, codes % 8
    wanted = low + ((rest > 4) | ((rest == 4) & (low % 2 == 1)))
    return int((got != wanted).sum()), codes.size
