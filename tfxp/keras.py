"""The one place that says which Keras: `tf_keras`, as TensorFlow Model Optimization demands.

Everything else writes `from tfxp.keras import keras, layers`. No environment variable is needed.
A second opinion anywhere else would break isinstance checks silently.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from tfxp.autograph import leave_as_written
from tfxp.dependencies import check_tf_keras, importing
from tfxp.retracing import OwnRetracing

# Loading TensorFlow writes these lines whatever its log level, before Python can configure it.
_NOISE = (
    b"before absl::InitializeLog()",
    b"cudart_stub.cc",
    b"oneDNN custom operations are on",
)


@contextlib.contextmanager
def _quiet_import() -> Iterator[None]:
    """Holds back what TensorFlow writes while it loads; everything else is passed on afterwards.

    TensorFlow's own logger is raised to errors meanwhile, because importing tf_keras beside
    TensorFlow 2.16+ warns about names that tf_keras itself uses.
    """
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held, contextlib.ExitStack() as undo:
        kept = os.dup(2)
        undo.callback(os.close, kept)
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            logger.setLevel(level)
            held.seek(0)
            for line in held:
                if not any(mark in line for mark in _NOISE):
                    os.write(2, line)


# TensorFlow's C++ side reads the level once, when it is loaded. Its errors reach Python as
# exceptions anyway, and what is left tells CPU users that they have no GPU. A user's own choice
# stands, and asking for messages (0) gets all of them.
_CHATTY = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "0"

with contextlib.nullcontext() if _CHATTY or sys.stderr is None else _quiet_import():
    with importing("tensorflow"):
        import tensorflow as tf
    check_tf_keras(tf.__version__)
    with importing("tf_keras"):
        import tf_keras as keras
        from tf_keras import backend, layers

leave_as_written()
tf.get_logger().addFilter(OwnRetracing())
# Exactness rests on float32 sums of whole numbers below 2^24; TensorFloat-32, the default of GPUs
# that have it, keeps 10 bits of every factor.
if os.environ.get("TFXP_TF32") != "1":
    tf.config.experimental.enable_tensor_float_32_execution(False)

__all__ = ["backend", "is_keras3_model", "keras", "keras3", "layers", "tf"]


def keras3(load: bool = False) -> Any:
    """Keras 3, which users' models may be made with; None if it is absent.

    Args:
        load: import it; otherwise it is returned only if somebody has imported it already.
    """
    if "keras" not in sys.modules and not load:
        return None
    try:
        module = importlib.import_module("keras")
    except ImportError:
        return None
    return module if str(getattr(module, "__version__", "")).startswith("3") else None


def is_keras3_model(model: object) -> bool:
    """Whether an object is a Keras 3 model; Keras 3 is not imported to find out."""
    module = keras3()
    return module is not None and isinstance(model, module.Model)
