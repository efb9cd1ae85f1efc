"""A file in any of the runtimes."""

from __future__ import annotations

from tfxp.runtimes.c_engine import CEngine
from tfxp.runtimes.child_engine import ChildEngine
from tfxp.runtimes.engine import Engine
from tfxp.runtimes.runtime import Runtime, runtime_named


def open_runtime(
    runtime: Runtime | str,
    content: bytes,
    *,
    threads: int = 1,
    patience: float | None = 300.0,
    name: str = "the file",
) -> Engine:
    """A `.tflite` file in a runtime, which runs outside this process until it is closed.

    Args:
        runtime: one of `RUNTIMES`, or its name: "litert" (the default engine: XNNPACK and its
            fallbacks), "reference" (BUILTIN_REF), "builtin" (BUILTIN_WITHOUT_DEFAULT_DELEGATES),
            "tflm" (LiteRT for Microcontrollers), "compiled_model", or "c" (the network as a C
            program, compiled here).
        content: the file.
        threads: threads of LiteRT's interpreter.
        patience: longest time for one call in seconds; None waits for ever.
        name: what errors call the file.

    Raises:
        ConfigError: no such runtime.
        EngineError: the runtime is missing, refuses the file, ends its process, or takes too long.
            `run` raises the same.

    Example:
        >>> from tfxp.graph import IntegerGraph, Operator, Tensor, write_tflite
        >>> x, y = Tensor("x", (1, 3), "FLOAT32"), Tensor("y", (1, 3), "FLOAT32")
        >>> relu = IntegerGraph([x, y], [Operator("RELU", [0], [1])], [0], [1])
        >>> with open_runtime("litert", write_tflite(relu)) as engine:
        ...     engine.run([np.array([[1, -2, 3]], np.float32)])[0].tolist()
        [[1.0, 0.0, 3.0]]
    """
    if isinstance(runtime, str):
        runtime = runtime_named(runtime)
    if runtime.family == "c":
        return CEngine(runtime, content, patience, name)
    return ChildEngine(runtime, content, threads, patience, name)
