"""Keras model to new Keras model; no quantizers involved."""

import tfxp.keras  # noqa: F401  first, because it loads TensorFlow quietly
