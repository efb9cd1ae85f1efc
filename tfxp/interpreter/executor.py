"""A graph made ready to run: nodes in order, prepared kernels, values by tensor index."""

from __future__ import annotations

import copy
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tfxp.errors import DataError, ModelError, TfliteFormatError, TfxpError, UnsupportedOpError
from tfxp.graph import IntegerGraph, Operator, Tensor
from tfxp.graph.schema import default_options, default_options_type
from tfxp.interpreter.counters import Counters
from tfxp.interpreter.registry import Arithmetic, Array, Engine, Kernel, Node, find_kernel
from tfxp.interpreter.shape_arithmetic import ShapeArithmetic
from tfxp.interpreter.size_limit import largest_tensor

#: Bytes of activations alive at once, and images, that one pass over a stack has at most; and
#: likewise where images are large, but a few of them still share loads of weights.
_PASS_BYTES, _PASS_IMAGES = 2**21, 32
_LARGE_PASS_BYTES, _LARGE_PASS_IMAGES = 2**25, 4
#: Elements of the largest tensor of a graph whose stated sizes are placeholders.
_SMALL = 2**16
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
    largest_tensor: int | None = None


class Executor:
    """The prepared operators of one graph.

    Where sizes differ from those that the file states, or may, each operator is prepared on the
    tensors that those before it give, as LiteRT does: a run on zeros finds them. What follows from
    shapes alone is computed once, and counts as constant for the operators behind it.

    Args:
        graph: what to run; it is not changed.
        settings: how.
        shapes: by model input, another shape than the file states.
    """

    def __init__(
        self,
        graph: IntegerGraph,
        settings: Settings,
        shapes: Mapping[int, tuple[int, ...]] | None = None,
    ) -> None:
        _check_order(graph)
        in_a_run = bool(shapes) or _has_free_sizes(graph)
        self.graph = _own_tensors(graph, shapes or {}, in_a_run)
        self.settings = settings
        self._largest = settings.largest_tensor or largest_tensor(graph)
        _check_sizes(self.graph, self._largest)
        self.variables: dict[int, Array] = {}
        self.reset_variables()
        self.last_use = _last_uses(graph)
        self._lock = threading.Lock()
        self.nodes: list[Node] = []
        self.kernels: list[Kernel] = []
        self._prepare(in_a_run)

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
            largest_tensor=self._largest,
        )

    def _prepare(self, in_a_run: bool) -> None:
        """Prepares all kernels; collects every refusal before raising."""
        tensors, refusals = self.graph.tensors, []
        values: dict[int, Array] = {}
        if in_a_run:
            values = {i: np.full(tensors[i].shape, _zero(tensors[i])) for i in self.graph.inputs}
        shapes = ShapeArithmetic(self.graph)
        for index, operator in enumerate(self.graph.operators):
            node, kernel = self._node(index, operator), find_kernel(operator)
            node.static = shapes.known.isdisjoint(operator.inputs)
            try:
                if kernel is None:
                    raise UnsupportedOpError(f"{node.name} has no kernel")
                _prepare_node(node, kernel)
            except UnsupportedOpError as error:
                refusals.append(str(error))
                if in_a_run:
                    break
                continue
            constant = shapes.take(node)
            if in_a_run:
                self._try(node, kernel, values)
            elif constant:
                placeholders = [np.broadcast_to(_zero(t), t.shape) for t in node.inputs if t]
                given = placeholders if operator.name == "SHAPE" else self.arguments(node, {})
                values = dict(zip(operator.outputs, self.call(node, kernel, given), strict=True))
            if constant:
                for output in operator.outputs:
                    tensors[output].data = values.pop(output, None)
            else:
                self.nodes.append(node)
                self.kernels.append(kernel)
        if refusals:
            raise UnsupportedOpError(
                f"operators of the model: got {len(refusals)} that the interpreter cannot run: "
                + "; ".join(refusals)
                + ". Run the file with LiteRT or leave these operators out"
            )
        self.reset_variables()

    def _try(self, node: Node, kernel: Kernel, values: dict[int, Array]) -> None:
        """Runs a node for the shapes of its results, which its output tensors take."""
        try:
            results = self.call(node, kernel, self.arguments(node, values))
        except DataError:  # zeros are not what this operator is meant for; their shape is
            known = node.cache.get("output_shapes", {})
            results = [np.zeros(known.get(i, t.shape), t.dtype) for i, t in enumerate(node.outputs)]
        for tensor, index, result in zip(node.outputs, node.operator.outputs, results, strict=True):
            tensor.shape, values[index] = np.shape(result), np.asarray(result)
        node.counters, node.step = Counters(), None
        self.drop_used(node, values)

    def reset_variables(self) -> None:
        """Fills variable tensors with their zero: 8-bit zero points, else 0."""
        for index, tensor in enumerate(self.graph.tensors):
            if tensor.is_variable:
                self.variables[index] = np.full(tensor.shape, _zero(tensor))

    def run(self, values: dict[int, Array]) -> dict[int, Array]:
        """Runs every operator.

        Args:
            values: arrays of the model inputs by tensor index; results are added to it.
        """
        for node, kernel in zip(self.nodes, self.kernels, strict=True):
            results = self.call(node, kernel, self.arguments(node, values))
            node.counters.runs += 1
            values.update(zip(node.operator.outputs, results, strict=False))
        return values

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
            # NumPy's functions make numbers, not arrays, of arrays without dimensions
            return [np.asarray(result) for result in kernel.run(node, arguments)]
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
            if self.last_use.get(index, -1) <= node.index:
                values.pop(index, None)

    def count(self, nodes: Sequence[Node]) -> None:
        """Adds counters of a thread's own nodes to the shared ones."""
        with self._lock:
            for mine, other in zip(self.nodes, nodes, strict=True):
                mine.counters.add(other.counters)

    def take_counters(self, other: Executor) -> None:
        """Goes on counting where an executor of the same graph in other sizes stopped."""
        counted = {node.index: node.counters for node in other.nodes}
        for node in self.nodes:
            node.counters = counted.get(node.index, node.counters)

    def private_nodes(self) -> list[Node]:
        """Copies of the nodes with counters of their own, for one thread."""
        nodes = [copy.copy(node) for node in self.nodes]
        for node in nodes:
            node.counters = Counters()
        return nodes

    def images_per_pass(self) -> int:
        """How many images run together: as many as stay in the nearest caches, or a few."""
        alive = max(1, self._most_alive())
        near = min(_PASS_IMAGES, _PASS_BYTES // alive)
        return int(max(1, near, min(_LARGE_PASS_IMAGES, _LARGE_PASS_BYTES // alive)))

    def _most_alive(self) -> int:
        """Bytes of the activations that are needed at once, where they are most."""
        sizes = {i: t.size * t.dtype.itemsize for i, t in enumerate(self.graph.tensors)}
        alive = {index: sizes[index] for index in self.graph.inputs}
        most = sum(alive.values())
        for node in self.nodes:
            alive.update((index, sizes[index]) for index in node.operator.outputs)
            most = max(most, sum(alive.values()))
            ended = [index for index in alive if self.last_use.get(index, -1) <= node.index]
            for index in ended:
                del alive[index]
        return most


def prepare(
    graph: IntegerGraph, settings: Settings, shapes: Mapping[int, tuple[int, ...]]
) -> Executor:
    """An executor; see `Executor` for the arguments.

    Raises:
        ModelError: sizes are open, and the file's placeholders for them do not fit the operators.
    """
    try:
        return Executor(graph, settings, shapes)
    except (TfliteFormatError, ModelError) as error:
        inputs = (graph.tensors[index] for index in graph.inputs)
        free = [f"{t.name!r} {list(t.free_shape)}" for t in inputs if -1 in t.free_shape]
        if not free or shapes:
            raise
        raise ModelError(
            f"sizes of the model inputs: got {', '.join(free)}, where -1 is open, and placeholders "
            f"that do not fit ({error}). Give sizes with resize_tensor_input, or call predict"
        ) from None


def _has_free_sizes(graph: IntegerGraph) -> bool:
    """Whether an input leaves a size open besides the number of images, of a graph stated small."""
    signatures = (graph.tensors[index].shape_signature or () for index in graph.inputs)
    # a damaged file must not make `allocate_tensors` run a large network
    return any(-1 in signature[1:] for signature in signatures) and all(
        tensor.size <= _SMALL for tensor in graph.tensors if tensor.data is None
    )


def _own_tensors(
    graph: IntegerGraph, shapes: Mapping[int, tuple[int, ...]], any_shape: bool
) -> IntegerGraph:
    """A copy with these input shapes; with `any_shape` no computed tensor has a fixed one."""
    tensors = []
    for index, tensor in enumerate(graph.tensors):
        computed = tensor.data is None and not tensor.is_variable and index not in graph.inputs
        shape = shapes.get(index, tensor.shape)
        free = (-1,) * len(shape) if any_shape and computed else tensor.shape_signature
        tensors.append(replace(tensor, shape=shape, shape_signature=free))
    return replace(graph, tensors=tensors)


def _zero(tensor: Tensor) -> Array:
    """The code that stands for 0; 0 itself for codes other than INT8, as LiteRT has it."""
    zero = tensor.zero_point if tensor.type == "INT8" else 0
    return np.asarray(zero).clip(-128, 127).astype(tensor.dtype)


def _prepare_node(node: Node, kernel: Kernel) -> None:
    try:
        if kernel.prepare is not None:
            with np.errstate(all="ignore"):  # damaged scales overflow; kernels refuse them
                kernel.prepare(node)
    except TfxpError:
        raise
    except _DAMAGED as error:
        raise TfliteFormatError(
            f"{node.name}: got inputs {_shapes(node)} and options that do not fit "
            f"together ({type(error).__name__}: {error}); expected what the operator "
            "specification asks for. The file is damaged"
        ) from error


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
    known |= {i for i, t in enumerate(graph.tensors) if t.data is not None or t.is_variable}
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


def _check_sizes(graph: IntegerGraph, largest: int) -> None:
    for index, tensor in enumerate(graph.tensors):
        if tensor.data is None and tensor.size > largest:
            raise TfliteFormatError(
                f"shape of tensor {index} ({tensor.name!r}): got {list(tensor.shape)}; expected at "
                f"most {largest} elements in a file of this size. The file is damaged; if it is "
                "not, allow more with Interpreter(largest_tensor=)"
            )
