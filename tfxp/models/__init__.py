"""The networks of the papers: counted without TensorFlow, and as Keras builders for training."""

from __future__ import annotations

import importlib
from typing import Any

# name -> module; resolved on first use so that counting a network loads no TensorFlow
_NAMES = {
    "NetworkCounter": "tfxp.models.network_counter",
    "PAPER_NETWORKS": "tfxp.models.paper_networks",
    "caffe_alexnet": "tfxp.models.paper_networks",
    "count_network": "tfxp.models.paper_networks",
    "googlenet": "tfxp.models.judd_networks",
    "lin_alexnet_like": "tfxp.models.paper_networks",
    "lin_cifar10": "tfxp.models.paper_networks",
    "nin": "tfxp.models.judd_networks",
    "sakr_convnet": "tfxp.models.paper_networks",
    "sakr_resnet20": "tfxp.models.paper_networks",
    "vgg16": "tfxp.models.paper_networks",
    "vgg19": "tfxp.models.paper_networks",
    "wrpn_alexnet": "tfxp.models.paper_networks",
    "wrpn_resnet34": "tfxp.models.paper_networks",
    "KERAS_MODELS": "tfxp.models.keras_models",
    "build_model": "tfxp.models.keras_models",
    "convnet": "tfxp.models.keras_models",
    "lenet": "tfxp.models.keras_models",
    "plain6": "tfxp.models.keras_models",
    "preact_resnet8": "tfxp.models.keras_models",
    "resnet8": "tfxp.models.keras_models",
    "vgg16_keras": "tfxp.models.keras_models",
}

__all__ = list(_NAMES)


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'tfxp.models' has no attribute {name!r}")
    return getattr(importlib.import_module(_NAMES[name]), name)
