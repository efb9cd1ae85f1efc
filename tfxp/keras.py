"""The one place that says which Keras: `tf_keras`, as TensorFlow Model Optimization demands.

Everything else writes `from tfxp.keras import keras, layers`. No environment variable is needed.
A second opinion anywhere else would break isinstance checks silently.
"""

from __future__ import annotations

import logging
import os

# TensorFlow's C++ side reads this once, when it is loaded; a user's own choice stands.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

_LOGGER = logging.getLogger("tensorflow")
_LEVEL = _LOGGER.level
# Importing tf_keras beside TensorFlow 2.16+ warns about names that tf_keras itself uses.
_LOGGER.setLevel(logging.ERROR)

import tensorflow as tf  # noqa: E402
import tf_keras as keras  # noqa: E402
from tf_keras import backend, layers  # noqa: E402

_LOGGER.setLevel(_LEVEL)

__all__ = ["backend", "keras", "layers", "tf"]
