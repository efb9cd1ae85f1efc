"""From the operators of an integer graph to calls of C kernels; the rest is refused by name.

Arithmetic comes from the interpreter's prepared operators, so it is decided once. Functions of one
code become tables that its kernels fill, a mean over any number of positions becomes the sums at
which its code changes, and a rearrangement the places that its kernel moves numbers to. All three
are exact by construction.
"""

from __future__ import annotations

from tfxp.csource.code_ranges import code_ranges
from tfxp.csource.float_ends import without_float_ends
from tfxp.csource.operators import LOWERINGS, Site
from tfxp.csource.operators.gathers import Counted, count
from tfxp.csource.operators.moves import VIEWS
from tfxp.csource.operators.sixteen_bits import ExactSum, absorb, emit
from tfxp.csource.program import Step, identifiers
from tfxp.errors import UnsupportedOpError
from tfxp.graph import IntegerGraph, Tensor
from tfxp.interpreter.executor import Executor, Settings
from tfxp.interpreter.registry import Node


def lower(graph: IntegerGraph) -> tuple[IntegerGraph, list[Step]]:
    """The kernel calls of a graph, in order, and the graph of codes that they compute.

    Float tensors at its ends are left out, and tensors between two steps of one operator added.

    Raises:
        UnsupportedOpError: an operator, type, shape or scale that the C kernels lack; all are
            named.
    """
    graph = without_float_ends(graph)
    _require_sizes(graph)
    executor = Executor(graph, Settings("litert", "reference"))
    graph = executor.graph  # its own, to which steps may add tensors
    steps: list[Step] = []
    refusals: list[str] = []
    names = identifiers(tensor.name for tensor in graph.tensors)
    known: dict[int, ExactSum | Counted] = {}
    ranges = code_ranges(graph)
    for node in executor.nodes:
        try:
            steps += _lower_node(Site(node, names[node.operator.outputs[0]], known, ranges))
        except UnsupportedOpError as error:
            refusals.append(str(error))
    wide = [t for t in map(graph.tensors.__getitem__, graph.outputs) if t.type != "INT8"]
    refusals += [f"output {t.name!r} of type {t.type}; expected INT8" for t in wide]
    if refusals:
        raise UnsupportedOpError(
            f"operators of the network: got {len(refusals)} that have no C kernel:\n  - "
            + "\n  - ".join(refusals)
            + f"\nExpected {', '.join(known_operators())} on int8 codes."
        )
    return graph, steps


def known_operators() -> list[str]:
    """Names of the operators that can be written as C."""
    return sorted(LOWERINGS)


def _require_sizes(graph: IntegerGraph) -> None:
    inputs = (graph.tensors[index] for index in graph.inputs)
    free = [t.name for t in inputs if -1 in (t.shape_signature or ())[1:]]
    if free:
        raise UnsupportedOpError(
            f"sizes of inputs {', '.join(map(repr, free))}: got open ones; expected numbers, which "
            "the memory of the program is planned for."
        )


def _lower_node(site: Site) -> list[Step]:
    if site.operator not in LOWERINGS:
        raise site.refusal("no such kernel")
    if site.output.type == "INT16":
        absorb(site)
        return []
    if site.output.type == "INT32" and site.operator not in VIEWS:
        count(site)
        return []
    if site.operator == "QUANTIZE" and isinstance(site.known.get(site.index(0)), ExactSum):
        return emit(site)
    for tensor in (*_computed(site.node), *site.node.outputs):
        if tensor.type != "INT8" and site.operator not in VIEWS:
            raise site.refusal(f"tensor {tensor.name!r} of type {tensor.type}; expected INT8")
    if site.output.shape[:1] != (1,):
        shape = list(site.output.shape)
        raise site.refusal(f"output shape {shape}; expected a first dimension of 1")
    return LOWERINGS[site.operator](site)


def _computed(node: Node) -> list[Tensor]:
    """Inputs that hold activations: not constants, and not the indices of a table."""
    tensors = node.inputs[:1] if node.operator.name == "GATHER" else node.inputs
    return [tensor for tensor in tensors if tensor is not None and tensor.data is None]
