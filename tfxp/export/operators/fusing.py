"""The activation function that an operator applies on its way."""

from __future__ import annotations


def fused(relu: float | None) -> str:
    """The fused activation function that stands for a ReLU with this limit, or for none."""
    if relu is None:
        return "NONE"
    return "RELU6" if relu == 6.0 else "RELU"
