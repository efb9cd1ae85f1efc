"""A network cut into pieces that run one after the other, and what each piece depends on."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

from tfxp.quantization.plan import QuantizationPlan
from tfxp.quantization.quantized_network import QuantizedNetwork
from tfxp.quantization.set_precision import owners_of
from tfxp.quantization.wrapper import FormatWrapper, QuantizeInput
from tfxp.transforms.layer_graph import LayerGraph, Ref

# (owner, "weights" or "activations"): a format that decides what a layer computes; or HALF_STEP.
Dependency = tuple[str, str]
# What sums carry besides their formats; it seldom follows a change of the output's format.
HALF_STEP = "half_step"


@dataclasses.dataclass(frozen=True)
class Cut:
    """A place between two calls where evaluation can stop and go on.

    Args:
        position: how many calls lie before it.
        alive: tensors made before it that are read behind it, or are outputs.
        depends: formats that everything before it depends on, in a fixed order.
    """

    position: int
    alive: tuple[Ref, ...]
    depends: tuple[Dependency, ...]


def dependencies(layer: object, plan: QuantizationPlan) -> set[Dependency]:
    """The formats that a layer of a quantized model depends on.

    A bias lies on the accumulator's grid, a mean and a pool know their input's: so the formats of
    what a layer reads count too, those of all its calls if it is shared. Sums of products may carry
    half a step, which is a dependency of its own.
    """
    if not isinstance(layer, FormatWrapper | QuantizeInput):
        return set()
    found = {(owner, "activations") for owner in owners_of(layer, plan)}
    if isinstance(layer, FormatWrapper):
        if layer.quantize_config.output_quantizer is None or layer.owner != layer.name:
            found.discard((layer.name, "activations"))  # quantized behind a later layer
        if layer.quantize_config.weight_quantizers:
            found.add((layer.name, "weights"))
        if layer.quantize_config.portable:
            found.add((layer.name, HALF_STEP))
    return found


def dependency_value(network: QuantizedNetwork, dependency: Dependency) -> object:
    """What a dependency is in a network of given formats; equal values, equal tensors."""
    owner, tensor = dependency
    if tensor != HALF_STEP:
        return getattr(network.formats[owner], tensor)
    half = network.half_step(owner)
    return None if half is None else half.tobytes()


def find_cuts(
    graph: LayerGraph,
    depends: Mapping[str, Collection[Dependency]],
    at_most: int = 32,
) -> list[Cut]:
    """Cuts before every layer that depends on a format which nothing before it depends on.

    There a change of that format can set in while all before is known. The first cut lies before
    all calls, the last behind them.

    Args:
        graph: the network, its calls in order.
        depends: layer -> formats it depends on.
        at_most: how many cuts at most; of more, every so many-th is kept.
    """
    calls = list(graph.calls.items())
    needed = _last_reads(graph, [number for number, _ in calls])
    known: set[Dependency] = set()
    cuts: list[Cut] = []
    alive: list[Ref] = []
    for position, (number, call) in enumerate(calls):
        own = set(depends.get(call.layer, ()))
        if not own <= known:
            cuts.append(_cut(position, alive, known))
        known |= own
        alive.extend(Ref(number, i) for i in range(max(1, len(call.output_shapes))))
        alive = [ref for ref in alive if needed.get(ref, -1) > position]
    end = _cut(len(calls), list(graph.outputs), known)
    start = _cut(0, [], set())
    inner = [cut for cut in cuts if 0 < cut.position < len(calls)]
    return [start, *_thin(inner, max(at_most - 2, 0)), end]


def _last_reads(graph: LayerGraph, order: Sequence[int]) -> dict[Ref, int]:
    """Tensor -> position of the last call that reads it; outputs are read at the very end."""
    place = {number: position for position, number in enumerate(order)}
    last: dict[Ref, int] = {}
    for number, call in graph.calls.items():
        for ref in call.refs():
            last[ref] = max(last.get(ref, -1), place[number])
    last.update({ref: len(order) for ref in graph.outputs})
    return last


def _cut(position: int, alive: Sequence[Ref], depends: set[Dependency]) -> Cut:
    return Cut(position, tuple(alive), tuple(sorted(depends)))


def _thin(cuts: list[Cut], at_most: int) -> list[Cut]:
    if len(cuts) <= at_most:
        return cuts
    return [cuts[(2 * i + 1) * len(cuts) // (2 * at_most)] for i in range(at_most)]
