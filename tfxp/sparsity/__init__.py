"""Zeros made: masks for weights, sparsity maps, zeros of activations, channels taken out.

Names are resolved on first use, so that maps are read without TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfxp.sparsity.activation_penalty import ActivationZeros as ActivationZeros
    from tfxp.sparsity.activation_penalty import regularize_activations as regularize_activations
    from tfxp.sparsity.activation_threshold import threshold_activations as threshold_activations
    from tfxp.sparsity.channels import remove_channels as remove_channels
    from tfxp.sparsity.masks import make_mask as make_mask
    from tfxp.sparsity.pattern import SparsityPattern as SparsityPattern
    from tfxp.sparsity.pruning import prune_model as prune_model
    from tfxp.sparsity.sparsity_map import SparsityMap as SparsityMap
    from tfxp.transforms.zero_mask import ZeroMask as ZeroMask

# public name -> module
_NAMES = {
    "ActivationZeros": "tfxp.sparsity.activation_penalty",
    "SparsityMap": "tfxp.sparsity.sparsity_map",
    "SparsityPattern": "tfxp.sparsity.pattern",
    "ZeroMask": "tfxp.transforms.zero_mask",
    "make_mask": "tfxp.sparsity.masks",
    "prune_model": "tfxp.sparsity.pruning",
    "remove_channels": "tfxp.sparsity.channels",
    "regularize_activations": "tfxp.sparsity.activation_penalty",
    "threshold_activations": "tfxp.sparsity.activation_threshold",
}
_PLAIN = ("SparsityMap", "SparsityPattern", "make_mask")

__all__ = list(_NAMES)


def __getattr__(name: str) -> object:
    if name not in _NAMES:
        raise AttributeError(f"module 'tfxp.sparsity' has no attribute {name!r}")
    if name not in _PLAIN:
        importlib.import_module("tfxp.keras")  # first, because it loads TensorFlow quietly
    value: object = getattr(importlib.import_module(_NAMES[name]), name)
    globals()[name] = value
    return value
