"""A graph made ready to run: nodes in order, prepared kernels, values by tensor index."""

from __future__ import annotations

import copy
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tfxp.errors import ModelError, TfliteFormatError, TfxpError, UnsupportedOpError
from tfxp.graph import IntegerGraph, Operator
from tfxp.graph.schema import default_options, default_options_type
from tfxp.interpreter.counters import Counters
from tfxp.interpreter.registry import Arithmetic, Array, Engine, Kernel, Node, find_kernel

#: No computed tensor may be larger: a damaged shape must not exhaust memory.
MAX_TENSOR_BYTES = 2**30
#: Memory for the activations of the images that pass together.
_PASS_BYTES = 2**25
_DAMAGED = (
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    ZeroDivisionError,
    OverflowError,
    FloatingPointError,
    MemoryError,
)


@dataclass(frozen=True)
class Settings:
    """How to run; see Interpreter."""

    arithmetic: Arithmetic
    engine: Engine
    skip_zeros: bool = True
    accumulator_bits: int | None = None
    accumulator_overflow: Literal["wrap", "saturate"] = "wrap"


class Executor:
    """The prepared operators of one graph."""

    def __init__(self, graph: IntegerGraph, settings: Settings) -> None:
        self.graph = graph
        self.settings = settings
        _check_order(graph)
        _check_sizes(graph)
        self.nodes = [self._node(i, op) for i, op in enumerate(graph.operators)]
        self.kernels = self._prepare()
        self.variables: dict[int, Array] = {}
        self.reset_variables()
        self._last_use = _last_uses(graph)
        self._lock = threading.Lock()

    def _node(self, index: int, operator: Operator) -> Node:
        tensors, settings = self.graph.tensors, self.settings
        table = operator.options_type or default_options_type(operator.name)
        return Node(
            index,
            operator,
            [tensors[i] if i >= 0 else None for i in operator.inputs],
            [tensors[i] for i in operator.outputs],
            {**default_options(table), **operator.options},
            settings.arithmetic,
            settings.engine,
            self.graph,
            settings.skip_zeros,
            settings.accumulator_bits,
            settings.accumulator_overflow,
            [tensors[i] if i >= 0 else None for i in operator.intermediates],
        )

    def _prepare(self) -> list[Kernel]:
        """Looks up and prepares all kernels; collects every refusal before raising."""
        kernels, refusals = [], []
        for node in self.nodes:
            kernel = find_kernel(node.operator)
            if kernel is None:
                refusals.append(f"{node.name} has no kernel")
                continue
            kernels.append(kernel)
            try:
                if kernel.prepare is not None:
                    with np.errstate(all="ignore"):  # damaged scales overflow; kernels refuse them
                        kernel.prepare(node)
            except UnsupportedOpError as error:
                refusals.append(str(error))
            except TfxpError:
                raise
            except _DAMAGED as error:
                raise TfliteFormatError(
                    f"{node.name}: got inputs {_shapes(node)} and options that do not fit "
                    f"together ({type(error).__name__}: {error}); expected what the operator "
                    "specification asks for. The file is damaged"
                ) from error
        if refusals:
            raise UnsupportedOpError(
                f"operators of the model: got {len(refusals)} that the interpreter cannot run: "
                + "; ".join(refusals)
                + ". Run the file with LiteRT or leave these operators out"
            )
        return kernels

    def reset_variables(self) -> None:
        """Fills variable tensors with their zero: 8-bit zero points, else 0."""
        for index, tensor in enumerate(self.graph.tensors):
            if tensor.is_variable:
                zero = tensor.zero_point if tensor.type == "INT8" else 0
                self.variables[index] = np.full(tensor.shape, zero, tensor.dtype)

    def run(self, values: dict[int, Array], keep: bool = False) -> dict[int, Array]:
        """Runs every operator.

        Args:
            values: arrays of the model inputs by tensor index; results are added to it.
            keep: whether intermediate results stay in `values` to the end.
        """
        for node, kernel in zip(self.nodes, self.kernels, strict=True):
            results = self.call(node, kernel, self.arguments(node, values))
            node.counters.runs += 1
            values.update(zip(node.operator.outputs, results, strict=False))
            if not keep:
                self.drop_used(node, values)
        return values

    def dry_run(self, values: dict[int, Array]) -> dict[int, Array]:
        """A run that leaves no trace in counters and variables, for the shapes of its results."""
        state = {index: array.copy() for index, array in self.variables.items()}
        saved = [copy.copy(node.counters) for node in self.nodes]
        try:
            return self.run(values, keep=True)
        finally:
            for index, array in state.items():
                self.variables[index][...] = array
            for node, counters in zip(self.nodes, saved, strict=True):
                node.counters = counters

    def arguments(self, node: Node, values: dict[int, Array]) -> list[Array | None]:
        """The arrays an operator reads."""
        return [self._value(index, values) for index in node.operator.inputs]

    def _value(self, index: int, values: dict[int, Array]) -> Array | None:
        if index < 0:
            return None
        if index in values:
            return values[index]
        if index in self.variables:
            return self.variables[index]
        return self.graph.tensors[index].data

    @staticmethod
    def call(node: Node, kernel: Kernel, arguments: Sequence[Array | None]) -> list[Array]:
        """One operator on its arrays; errors name the operator."""
        try:
            return kernel.run(node, arguments)
        except TfxpError:
            raise
        except _DAMAGED as error:
            shapes = [None if a is None else a.shape for a in arguments]
            raise ModelError(
                f"{node.name}: got arrays {shapes} that it cannot run on ({type(error).__name__}: "
                f"{error}); expected shapes that fit the operator. Check the model or the resize"
            ) from error

    def drop_used(self, node: Node, values: dict[int, Array]) -> None:
        """Forgets arrays that no later operator reads."""
        for index in (*node.operator.inputs, *node.operator.outputs):
            if self._last_use.get(index, -1) <= node.index:
                values.pop(index, None)

    def count(self, nodes: Sequence[Node]) -> None:
        """Adds counters of a thread's own nodes to the shared ones."""
        with self._lock:
            for mine, other in zip(self.nodes, nodes, strict=True):
                mine.counters.add(other.counters)

    def private_nodes(self) -> list[Node]:
        """Copies of the nodes with counters of their own, for one thread."""
        nodes = [copy.copy(node) for node in self.nodes]
        for node in nodes:
            node.counters = Counters()
        return nodes

    def images_per_pass(self) -> int:
        """How many images run together: as many as keep activations within tens of MB."""
        largest = max(
            (t.size * t.dtype.itemsize for t in self.graph.tensors if t.data is None), default=1
        )
        return int(max(1, min(256, _PASS_BYTES // max(1, largest))))


def _shapes(node: Node) -> list[str]:
    return ["absent" if t is None else f"{t.type}{list(t.shape)}" for t in node.inputs]


def _last_uses(graph: IntegerGraph) -> dict[int, int]:
    last: dict[int, int] = {}
    for position, operator in enumerate(graph.operators):
        for index in operator.inputs:
            last[index] = position
    end = len(graph.operators)
    return {**last, **dict.fromkeys(graph.outputs, end)}


def _check_order(graph: IntegerGraph) -> None:
    """Every input is fed, constant, a variable or computed before; nothing is computed twice."""
    known = set(graph.inputs)
    known |= {
        i for i, t in enumerate(graph.tensors) if t.data is not None or t.is_variable
    }
    for position, operator in enumerate(graph.operators):
        where = f"operator {position} ({operator.name})"
        for index in operator.inputs:
            if index >= 0 and index not in known:
                raise TfliteFormatError(
                    f"input of {where}: got tensor {index}, which nothing has computed by then; "
                    "expected operators in the order they run. The file is damaged"
                )
        for index in operator.outputs:
            if graph.tensors[index].data is not None or index in graph.inputs:
                raise TfliteFormatError(
                    f"output of {where}: got tensor {index}, a constant or a model input; expected "
                    "a computed tensor. The file is damaged"
                )
        known.update(operator.outputs)
    repeated = [i for i, n in Counter(graph.inputs).items() if n > 1]
    if repeated:
        raise TfliteFormatError(f"model inputs: got {repeated} twice; expected each tensor once")
    for index in graph.outputs:
        if index not in known:
            raise TfliteFormatError(
                f"model output: got tensor {index}, which no operator computes; expected a "
                "computed tensor. The file is damaged"
            )


def _check_sizes(graph: IntegerGraph) -> None:
    for index, tensor in enumerate(graph.tensors):
        if tensor.data is None and tensor.size * tensor.dtype.itemsize > MAX_TENSOR_BYTES:
            raise TfliteFormatError(
                f"shape of tensor {index} ({tensor.name!r}): got {list(tensor.shape)}, which is "
                f"over {MAX_TENSOR_BYTES} bytes; expected less. The file is damaged"
            )
