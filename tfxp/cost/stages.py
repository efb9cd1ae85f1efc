"""Which layers store their output: layers grouped into stages, and who reads whom."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping

from tfxp.errors import ModelError
from tfxp.precision import LayerKind, LayerStats, ModelStats

# Only another view of the same elements: nothing is read or written.
VIEWS = frozenset({LayerKind.RESHAPE, LayerKind.DROPOUT})
POOLS = frozenset({LayerKind.POOL, LayerKind.MEAN})
# Computed while the output of the layer before is still at hand (Judd's stage: a convolution or
# dense layer with the activation function, pooling and normalization behind it).
FUSED = POOLS | {
    LayerKind.ACTIVATION, LayerKind.SOFTMAX, LayerKind.BATCH_NORM, LayerKind.NORMALIZATION,
    LayerKind.PAD, LayerKind.RESIZE, LayerKind.SLICE, LayerKind.TRANSPOSE,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Stage:
    """Layers that share one stored output.

    Args:
        name: the first layer of the stage.
        members: the stage's layers in order, `name` first.
        owner: the layer whose precision the stored output has; in an earlier stage if the whole
            stage only passes a format on.
        sources: the stages whose outputs are read, each once.
        output_count: elements that one sample leaves behind, in all calls of a shared layer.
        is_input: whether this is a network input, which is stored but not computed.
    """

    name: str
    members: tuple[str, ...]
    owner: str
    sources: tuple[str, ...]
    output_count: int
    is_input: bool = False


def stages_of(model: ModelStats, fuse_pools: bool = True) -> dict[str, Stage]:
    """Group a network's layers into stages, in the order they run.

    A layer joins the stage before it if it can be computed on the fly (activation function,
    normalization, pooling) and nothing else reads what it reads. Views (reshape, flatten) join
    always. A network input is a stage of its own, and so is a layer that is called several times:
    it reads what each call reads, and leaves behind what each call computes.

    Args:
        model: sizes of the layers.
        fuse_pools: whether pooling joins the stage before it, as Judd counts; otherwise a pooling
            layer reads and writes its data.

    Raises:
        ModelError: a layer reads one that does not come before it.
    """
    readers = Counter(name for layer in model.layers.values() for name in layer.inputs)
    groups: dict[str, list[LayerStats]] = {}
    head: dict[str, str] = {}
    for layer in model.layers.values():
        missing = [name for name in layer.inputs if name not in head]
        later = layer.calls > 1 and all(name in model.layers for name in missing)
        if missing and not later:
            raise ModelError(
                f"inputs of layer {layer.name!r}: got {missing[0]!r}; expected layers that come "
                "before it. List the layers in the order they run."
            )
        home = head[layer.inputs[0]] if layer.inputs and layer.calls == 1 else ""
        if not (home and _joins(layer, groups[home], model, readers, fuse_pools)):
            home = layer.name
            groups[home] = []
        groups[home].append(layer)
        head[layer.name] = home
    owners = model.format_owners
    return {name: _stage(name, members, head, owners) for name, members in groups.items()}


def _joins(
    layer: LayerStats,
    stage: list[LayerStats],
    model: ModelStats,
    readers: Mapping[str, int],
    fuse_pools: bool,
) -> bool:
    if layer.kind in VIEWS:
        return True
    fusable = layer.kind in FUSED and (fuse_pools or layer.kind not in POOLS)
    before = layer.inputs[0]
    return (
        fusable
        and stage[-1].calls == 1
        and len(layer.inputs) == 1
        and stage[0].kind != LayerKind.INPUT
        and stage[-1].name == before
        and readers[before] == 1
        and before not in model.outputs
    )


def _stage(
    name: str, members: list[LayerStats], head: Mapping[str, str], owners: Mapping[str, str]
) -> Stage:
    sources = dict.fromkeys(head[source] for layer in members for source in layer.inputs)
    sources.pop(name, None)
    count = [
        layer.computed_count for layer in members if layer.kind not in VIEWS or len(members) == 1
    ]
    # A network of which only parameters are known has no output shapes: nothing to move.
    known = bool(members[0].output_shape)
    return Stage(
        name,
        tuple(layer.name for layer in members),
        owners[members[-1].name],
        tuple(sources),
        (count[-1] if count else members[0].computed_count) if known else 0,
        members[0].kind == LayerKind.INPUT,
    )


def weighted_layers(model: ModelStats) -> Iterator[LayerStats]:
    """The layers with a kernel, in order."""
    return (layer for layer in model.layers.values() if layer.weight_count)


def live_sets(stages: Mapping[str, Stage], outputs: tuple[str, ...]) -> Iterator[set[str]]:
    """For every stage in order, the stages whose outputs are in memory while it runs."""
    order = list(stages)
    last_use = {name: index for index, name in enumerate(order)}
    for index, name in enumerate(order):
        for source in stages[name].sources:
            last_use[source] = max(last_use[source], index)  # a shared layer reads later ones
        if any(member in outputs for member in stages[name].members):
            last_use[name] = len(order)
    for index in range(len(order)):
        born = {name for position, name in enumerate(order) if position <= index}
        # Inputs are there from the start.
        born |= {name for name in order if stages[name].is_input}
        yield {name for name in born if last_use[name] >= index}
