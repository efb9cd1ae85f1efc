"""Keras 3 itself, or one sentence where it is absent."""

from __future__ import annotations

from tfxp.errors import ModelError
from tfxp.keras import keras3

K = keras3(load=True)
if K is None:
    raise ModelError(
        "tfxp.keras3: expected Keras 3, which is not installed. Install it with pip install "
        "'keras>=3'."
    )
