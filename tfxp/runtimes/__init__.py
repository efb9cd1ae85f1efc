"""Runtimes that execute `.tflite` files outside this process, whatever becomes of them there."""

from tfxp.runtimes.engine import Engine
from tfxp.runtimes.open_runtime import open_runtime
from tfxp.runtimes.runtime import RUNTIMES, Runtime, runtime_named, runtimes_of

__all__ = ["RUNTIMES", "Engine", "Runtime", "open_runtime", "runtime_named", "runtimes_of"]
