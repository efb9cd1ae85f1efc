"""Which operators of a file a runtime computes otherwise, each on the interpreter's inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tfxp.comparison.compare import TensorDifference, steps_apart
from tfxp.comparison.trace import shown_tensors, trace_interpreter
from tfxp.graph import IntegerGraph, write_tflite
from tfxp.interpreter.registry import Array
from tfxp.runtimes import Runtime, open_runtime


def operator_differences(
    graph: IntegerGraph, feeds: Sequence[Array], runtime: Runtime
) -> tuple[TensorDifference, ...]:
    """Compare every operator by itself: all of them read what the interpreter computed.

    In a comparison of whole runs a difference goes on through all later tensors; here it does not,
    so that each operator that a runtime rounds otherwise is seen.

    Args:
        graph: the file.
        feeds: codes per input, samples first.
        runtime: what is compared with the interpreter.

    Returns:
        A row for each computed tensor that the runtime can show, in the file's order.

    Raises:
        EngineError: the runtime is missing, or does not run the operators.

    Example:
        >>> from tfxp.graph import Operator, Tensor
        >>> from tfxp.runtimes import RUNTIMES
        >>> x, y = Tensor("x", (1, 3), "FLOAT32"), Tensor("y", (1, 3), "FLOAT32")
        >>> relu = IntegerGraph([x, y], [Operator("RELU", [0], [1])], [0], [1])
        >>> feeds = [np.array([[1, -2, 3]], np.float32)]
        >>> operator_differences(relu, feeds, RUNTIMES["litert"])[0].differing
        0
    """
    computed = shown_tensors(graph, runtime)
    ours = trace_interpreter(graph, feeds).tensors
    wanted = [ours[graph.tensors[index].name] for index in computed]
    inner = [tensor.codes for tensor in wanted if tensor.codes is not None]
    with open_runtime(
        runtime, write_tflite(_apart(graph, computed)), name=repr(graph.name)
    ) as engine:
        found = engine.run([*feeds, *inner], singly=True)
    rows = []
    for want, codes, got in zip(wanted, inner, found, strict=True):
        steps = steps_apart(codes.ravel(), got.ravel())
        differing, largest = int((steps > 0).sum()), int(steps.max(initial=0))
        rows.append(TensorDifference(want.name, want.operator, steps.size, differing, largest))
    return tuple(rows)


def _apart(graph: IntegerGraph, computed: Sequence[int]) -> IntegerGraph:
    """The graph with each computed tensor twice: an output, and an input that others read."""
    tensors, fed = list(graph.tensors), {}
    for index in computed:
        fed[index] = len(tensors)
        name = f"{tensors[index].name}/fed"
        tensors.append(dataclasses.replace(tensors[index], name=name))
    operators = [
        dataclasses.replace(operator, inputs=[fed.get(index, index) for index in operator.inputs])
        for operator in graph.operators
    ]
    return dataclasses.replace(
        graph,
        tensors=tensors,
        operators=operators,
        inputs=[*graph.inputs, *fed.values()],
        outputs=list(fed),
        signatures=[],
    )
