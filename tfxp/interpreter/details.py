"""A tensor as `tf.lite.Interpreter` describes it."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfxp.graph import Tensor


def tensor_details(tensor: Tensor, index: int, shape: tuple[int, ...]) -> dict[str, Any]:
    """The dictionary of `get_input_details` and its kin.

    Args:
        tensor: as the file states it.
        index: its number.
        shape: what it has now.
    """
    scheme = tensor.quantization
    none = np.zeros(0)
    return {
        "name": tensor.name,
        "index": index,
        "shape": np.array(shape, np.int32),
        "shape_signature": np.array(tensor.shape_signature or shape, np.int32),
        "dtype": tensor.dtype.type,
        "quantization": (tensor.scale, tensor.zero_point),
        "quantization_parameters": {
            "scales": none.astype(np.float32) if scheme is None else scheme.scale,
            "zero_points": (none if scheme is None else scheme.zero_point).astype(np.int32),
            "quantized_dimension": 0 if scheme is None else scheme.axis,
        },
        "sparsity_parameters": {},
    }
