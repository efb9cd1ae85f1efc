"""The operator that is lowered, with its names; and the table of functions that lower one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.csource.code_ranges import CodeRange
from tfxp.csource.program import Constant, Step, Structure
from tfxp.errors import UnsupportedOpError
from tfxp.graph import Quantization, Tensor
from tfxp.interpreter.registry import Node, find_kernel


@dataclasses.dataclass(frozen=True)
class Site:
    """One operator, prepared by the interpreter, and what it is called in C.

    Args:
        node: in the arithmetic of LiteRT's default engine.
        c_name: prefix of its constants; no other operator's begin so.
        known: what tensors of 16 and 32 bits are made of, which are computed nowhere, by their
            numbers; all operators share it.
        ranges: the codes that tensors can hold, by their numbers.
    """

    node: Node
    c_name: str
    known: dict[int, Any] = dataclasses.field(default_factory=dict)
    ranges: Mapping[int, CodeRange] = dataclasses.field(default_factory=dict)

    @property
    def operator(self) -> str:
        """The operator's name in the file."""
        return self.node.operator.name

    @property
    def layer(self) -> str:
        """Name of the tensor that it computes."""
        return self.output.name

    @property
    def output(self) -> Tensor:
        """The first tensor that it computes."""
        return self.node.outputs[0]

    def tensor(self, position: int) -> Tensor:
        """An input that must be there."""
        tensor = self.node.inputs[position]
        assert tensor is not None  # the interpreter has checked it
        return tensor

    def index(self, position: int) -> int:
        """The number of an input in the graph."""
        return self.node.operator.inputs[position]

    def refusal(self, why: str) -> UnsupportedOpError:
        """The error for an operator that has no C kernel as it stands."""
        return UnsupportedOpError(f"{self.layer} ({self.operator}): {why}")

    def step(
        self,
        call: str,
        inputs: Sequence[int],
        *,
        structure: Structure | None = None,
        constants: Sequence[Constant] = (),
        output: int | None = None,
        sums: int = 0,
        codes: int = 0,
    ) -> Step:
        """A call of a kernel for this operator; `output` is its first unless another is given."""
        to = self.node.operator.outputs[0] if output is None else output
        return Step(
            self.layer, self.operator, call, tuple(inputs), to, sums, codes, structure,
            tuple(constants),
        )  # fmt: skip

    def structure(self, type_: str, *fields: object) -> Structure:
        """The constant struct of this operator."""
        return Structure(type_, f"{self.c_name}_layer", fields)

    def constant(self, word: str, type_: str, values: NDArray[Any]) -> Constant:
        """A constant array of this operator."""
        return Constant(f"{self.c_name}_{word}", type_, values)

    def temporary(self, word: str, shape: Sequence[int]) -> int:
        """A new tensor of codes in the graph, for an operator that takes two steps."""
        scale = Quantization(np.ones(1, np.float32), np.zeros(1, np.int64))
        graph = self.node.graph
        return graph.add_tensor(Tensor(f"{self.layer}_{word}", tuple(shape), "INT8", scale))

    def evaluate(self, *inputs: NDArray[Any] | None) -> list[NDArray[Any]]:
        """What the interpreter's kernel makes of arrays."""
        kernel = find_kernel(self.node.operator)
        assert kernel is not None  # the graph was prepared with it
        return kernel.run(self.node, inputs)


Lowering = Callable[[Site], list[Step]]
#: Operator -> the function that makes kernel calls of it.
LOWERINGS: dict[str, Lowering] = {}


def lowers(*operators: str) -> Callable[[Lowering], Lowering]:
    """Register a function for operators of these names."""

    def register(lowering: Lowering) -> Lowering:
        LOWERINGS.update(dict.fromkeys(operators, lowering))
        return lowering

    return register
