"""What the scores of a search depend on besides the precision map."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np


def scores_fingerprint(model: Any, inputs: Any, metric: str = "accuracy") -> str:
    """A short string that differs when the metric, the samples or the weights differ.

    Args:
        model: the float tf_keras model.
        inputs: samples as the model takes them, a list of arrays for several inputs.
        metric: what is measured.
    """
    digest = hashlib.sha256()
    parts = inputs if isinstance(inputs, list | tuple) else [inputs]
    for array in [*parts, *model.get_weights()]:
        digest.update(np.ascontiguousarray(array).tobytes())
    return f"{metric} {digest.hexdigest()[:16]}"
