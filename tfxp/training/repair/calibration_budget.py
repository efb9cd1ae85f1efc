"""How many samples a calibration holds and runs at a time, by the size of the network."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from tfxp.keras_types import KerasModel

_MOST, _LEAST = 1024, 32  # samples of a stream that are held
_VALUES = 1 << 29  # of all layers' outputs, in one run over the samples of a stream
_BATCH_VALUES = 1 << 24  # of the largest tensor of a batch


def samples_of_stream(qmodel: KerasModel) -> int:
    """Samples of a stream: every step of a calibration runs over all of them."""
    return int(np.clip(_VALUES // sum(_layer_values(qmodel)), _LEAST, _MOST))


def samples_of_step(qmodel: KerasModel) -> int:
    """Samples of a batch, fewer where a tensor of it is large."""
    return int(np.clip(_BATCH_VALUES // max(_layer_values(qmodel)), 1, 256))


def _layer_values(qmodel: KerasModel) -> list[int]:
    """Values that each layer gives for a sample."""
    outputs = [tf.nest.flatten(layer.get_output_at(0)) for layer in qmodel.layers]
    return [
        math.prod(int(size or 1) for size in tensor.shape[1:])
        for tensors in outputs
        for tensor in tensors
    ]
