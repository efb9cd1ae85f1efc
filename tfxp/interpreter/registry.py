"""Which function runs which operator: one dictionary, one decorator, one lookup.

A kernel is a function `kernel(node, inputs) -> outputs` on arrays of codes. It is prepared once per
operator (`prepare(node)`, after the file was checked and before anything runs) and run often. It
must take shapes from its inputs, not from `node.outputs`: inputs may have been resized.

    @kernel("ADD", "SUB", prepare=prepare_add, batch=True)
    def add(node: Node, inputs: list[Array | None]) -> list[Array]: ...
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tfxp.graph.integer_graph import IntegerGraph, Operator, Tensor
from tfxp.interpreter.counters import Counters
from tfxp.interpreter.step import Step

Array = NDArray[Any]
Arithmetic = Literal["litert", "builtin"]
Engine = Literal["fast", "reference"]


@dataclass
class Node:
    """One operator made ready to run.

    Args:
        index: its position in the graph.
        operator: as read from the file.
        inputs: its input tensors; None where an optional input is absent.
        outputs: its output tensors.
        options: the option table with the schema's defaults filled in.
        arithmetic: whose rounding to follow.
        engine: compiled kernels or their definition.
        graph: the graph it belongs to.
        skip_zeros: whether zero operands are skipped (results do not change).
        accumulator_bits: width of a narrower accumulator to study, or None.
        accumulator_overflow: what such an accumulator does past its limits.
        intermediates: scratch tensors with scales (LSTM, SVDF).
        cache: what `prepare` computed; read-only afterwards (threads share it).
        counters: where runs are counted.
        step: what the last run did as one compiled step, if it did.
        static: whether no constant of it follows from shapes; XNNPACK leaves the others to LiteRT.
        largest_tensor: elements that a result may have.
    """

    index: int
    operator: Operator
    inputs: list[Tensor | None]
    outputs: list[Tensor]
    options: dict[str, Any]
    arithmetic: Arithmetic
    engine: Engine
    graph: IntegerGraph
    skip_zeros: bool = True
    accumulator_bits: int | None = None
    accumulator_overflow: Literal["wrap", "saturate"] = "wrap"
    intermediates: list[Tensor | None] = field(default_factory=list)
    cache: dict[str, Any] = field(default_factory=dict)
    counters: Counters = field(default_factory=Counters)
    step: Step | None = None
    static: bool = True
    largest_tensor: int = 2**24

    @property
    def name(self) -> str:
        """How messages call it, for example "operator 3 (CONV_2D)"."""
        kind = self.operator.custom_code or self.operator.name
        return f"operator {self.index} ({kind})"

    def constant(self, position: int) -> Array | None:
        """The constant data of input `position`, or None if it is absent or computed."""
        if position >= len(self.inputs):
            return None
        tensor = self.inputs[position]
        return None if tensor is None else tensor.data


Run = Callable[[Node, Sequence[Any]], list[Array]]
Prepare = Callable[[Node], None]
#: "codes": results by single elements; "pairs": by two; "moves": elements of the inputs; "fills":
#: likewise, between constants.
Form = Literal["codes", "pairs", "moves", "fills"]
BatchRule = bool | Callable[[Node], bool]


@dataclass(frozen=True)
class Kernel:
    """A registered kernel.

    Args:
        run: computes outputs from inputs.
        prepare: checks the node and precomputes; raises UnsupportedOpError for what it cannot do
            (types, options) and TfliteFormatError for what cannot be meant (shapes).
        batch: whether inputs with a leading dimension of 1 may be given with N instead, with N
            results stacked in the outputs' leading dimension; a function decides per node.
        form: what a run may be repeated as; see `forms.py`.
    """

    run: Run
    prepare: Prepare | None
    batch: BatchRule
    form: Form | None = None

    def batches(self, node: Node) -> bool:
        """Whether `node` may run on stacked images in one pass."""
        return self.batch(node) if callable(self.batch) else self.batch


_KERNELS: dict[str, Kernel] = {}


def kernel(
    *names: str,
    prepare: Prepare | None = None,
    batch: BatchRule = False,
    form: Form | None = None,
) -> Callable[[Run], Run]:
    """Registers the decorated function for operators of these names (custom code for CUSTOM).

    Args:
        names: the schema's BuiltinOperator names.
        prepare: see `Kernel.prepare`.
        batch: see `Kernel.batch`.
        form: see `Kernel.form`.
    """

    def register(run: Run) -> Run:
        for name in names:
            if name in _KERNELS:
                raise ValueError(f"kernel {name} is registered twice")
            _KERNELS[name] = Kernel(run, prepare, batch, form)
        return run

    return register


def find_kernel(operator: Operator) -> Kernel | None:
    """The kernel of an operator, or None."""
    return _KERNELS.get(operator.custom_code or operator.name)


def known_operators() -> list[str]:
    """Names of all operators that have a kernel."""
    return sorted(_KERNELS)


def as_ints(array: Array) -> list[int]:
    """A shape-like tensor as Python integers."""
    return [int(v) for v in np.asarray(array).reshape(-1)]
