"""What the scores of a search depend on besides the precision map."""

from __future__ import annotations

import hashlib

import numpy as np

from tfxp.data import ModelData, Source
from tfxp.data.source import parts_of
from tfxp.keras_types import KerasModel, Samples

_SEEN = 256  # samples of a source that tell it from others


def scores_fingerprint(
    model: KerasModel, inputs: Samples | Source, metric: str = "accuracy"
) -> str:
    """A short string that differs when the metric, the samples or the weights differ.

    Args:
        model: the float tf_keras model.
        inputs: samples as the model takes them, a list of arrays for several inputs; or a source,
            of whose stream the first samples count.
        metric: what is measured.
    """
    digest = hashlib.sha256()
    if isinstance(inputs, Source):
        inputs = (inputs if isinstance(inputs, ModelData) else inputs.in_memory(_SEEN)).x
    parts = inputs if isinstance(inputs, list | tuple) else [inputs]
    for array in [*parts, *model.get_weights()]:
        digest.update(np.ascontiguousarray(array).tobytes())
    return f"{metric} {digest.hexdigest()[:16]}"


def samples_fingerprint(source: Source) -> bytes:
    """Differs between sources whose first samples or answers differ."""
    digest = hashlib.sha256()
    for batch in source.take(_SEEN).batches(64):
        for array in [*batch.inputs, *parts_of(batch.y)]:
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.digest()
