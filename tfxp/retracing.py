"""TensorFlow's advice about retracing, where it is tfxp that traces."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

_PACKAGE = str(Path(__file__).resolve().parent)


class OwnRetracing(logging.Filter):
    """Drops "triggered tf.function retracing" when it comes of a call from within tfxp.

    TensorFlow counts graph functions by where they are written: one for each of many models looks
    like one that is traced again and again. What users' own functions do is still said.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is shown."""
        if "tf.function retracing" not in record.getMessage():
            return True
        frame = sys._getframe()
        while frame.f_back is not None:
            frame = frame.f_back
            path = frame.f_code.co_filename
            if path.startswith(_PACKAGE) and path != __file__:
                return False
        return True
