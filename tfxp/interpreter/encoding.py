"""Between real values and the codes of a model's inputs and outputs."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tfxp.errors import DataError
from tfxp.graph import Tensor
from tfxp.graph.element_types import CODE_LIMITS

InputKind = Literal["auto", "codes", "real"]


def encode_input(tensor: Tensor, values: NDArray[Any], kind: InputKind = "auto") -> NDArray[Any]:
    """Values as the codes that a model input takes.

        code = clip(half_even(float32(value) / scale) + zero_point)

    Args:
        tensor: the model input.
        values: real values, or codes already.
        kind: "codes" passes them through, "real" encodes them; "auto" takes integers of the input's
            own type, and whatever goes into an input without a scale, for codes and everything else
            for real values.

    Raises:
        DataError: codes outside the input's type, real values that are not numbers, or an integer
            input without a scale to encode by.

    Example:
        >>> from tfxp.graph import Quantization
        >>> x = Tensor("x", (1, 2), "INT8", Quantization([0.5], [-128]))
        >>> encode_input(x, np.array([[0.0, 1.0]]))
        array([[-128, -126]], dtype=int8)
    """
    if tensor.dtype.kind == "f":
        return values.astype(tensor.dtype, copy=False)
    plain = values.dtype == tensor.dtype or tensor.scale <= 0
    if kind == "codes" or (kind == "auto" and plain):
        return _checked_codes(tensor, values)
    if tensor.scale <= 0:
        raise DataError(
            f"values for input {tensor.name!r}: got real ones; expected codes of {tensor.type}, "
            "since the input has no scale. Use input_kind=codes"
        )
    if np.isnan(values).any():
        raise DataError(
            f"values for input {tensor.name!r}: got NaN; expected numbers. Check the data"
        )
    low, high = CODE_LIMITS[tensor.type]
    codes = np.rint(values.astype(np.float32) / np.float32(tensor.scale)) + tensor.zero_point
    return np.clip(codes, low, high).astype(tensor.dtype)


def _checked_codes(tensor: Tensor, values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype == tensor.dtype:
        return values
    low, high = CODE_LIMITS.get(tensor.type, (0, 1))
    whole = values if values.dtype.kind in "iu" else np.rint(values)
    if values.size and (whole.min() < low or whole.max() > high or np.any(whole != values)):
        advice = ". Shift them, or use input_kind=real"
        if tensor.scale <= 0:
            advice = ", since the input has no scale to encode real values by"
        raise DataError(
            f"codes for input {tensor.name!r}: got {values.min()} to {values.max()}; expected "
            f"whole numbers {low} to {high}{advice}"
        )
    return whole.astype(tensor.dtype)


def decode_output(tensor: Tensor, codes: NDArray[Any]) -> NDArray[np.float32]:
    """Codes of a model output as real values: scale * (code - zero_point).

    Example:
        >>> from tfxp.graph import Quantization
        >>> y = Tensor("y", (1, 2), "INT8", Quantization([0.5], [-128]))
        >>> decode_output(y, np.array([[-128, -126]], np.int8)).tolist()
        [[0.0, 1.0]]
    """
    if tensor.dtype.kind == "f" or tensor.quantization is None:
        return codes.astype(np.float32)
    centred = codes.astype(np.int64) - tensor.zero_point
    return (centred * np.float64(tensor.scale)).astype(np.float32)
