"""Whose format a tensor has, and the layers that a selector stands for: decided here only."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from tfxp.errors import PrecisionError, did_you_mean
from tfxp.precision.layer_kind import LayerKind

SELECTORS = {
    "@inputs": "the network's input tensors",
    "@outputs": "the layers whose outputs the network returns",
    "@first": "the layers with weights that the network's inputs reach first",
    "@last": "the layers with weights from which the network's outputs are reached last",
    "@norms": "the means, rows and directions that layer normalizations compute on their way",
    "@means": "means over whole axes, such as a global average pool: one value a channel",
    "@addends": "the layers whose outputs are only added up or subtracted, never multiplied",
}
# Where the default gives activations fewer bits than this, what these selectors stand for has as
# many all the same: no layer's output between two layers, or one value of many.
KEPT_BITS = 8
KEPT = ("@inputs", "@outputs", "@norms", "@means")
# The output has the format of the first input.
_PASS_ON = frozenset(
    {
        LayerKind.RESHAPE, LayerKind.DROPOUT, LayerKind.ACTIVATION, LayerKind.POOL, LayerKind.PAD,
        LayerKind.SLICE, LayerKind.TRANSPOSE, LayerKind.RESIZE, LayerKind.BATCH_NORM,
    }
)  # fmt: skip
# Their weights are constants, slopes and gains, one beside every activation or channel.
_ELEMENTWISE = frozenset(
    {
        LayerKind.ADD, LayerKind.SUBTRACT, LayerKind.MULTIPLY, LayerKind.DIVIDE, LayerKind.MAXIMUM,
        LayerKind.MINIMUM, LayerKind.ACTIVATION, LayerKind.LOOKUP, LayerKind.NORMALIZATION,
        LayerKind.BATCH_NORM,
    }
)  # fmt: skip

Key = TypeVar("Key", bound=Hashable)


@dataclasses.dataclass(frozen=True)
class Node(Generic[Key]):
    """One call of a layer, as selectors see it.

    Args:
        name: the layer's name.
        kind: its operation.
        reads: keys of the nodes that it reads, in order.
        weighted: whether it has weights.
        owns_format: whether its output has a format of its own, not that of its first input.
        is_float: whether its output has no format at all.
    """

    name: str
    kind: LayerKind
    reads: Sequence[Key]
    weighted: bool
    owns_format: bool
    is_float: bool = False

    @property
    def has_kernel(self) -> bool:
        """Whether it has weights that a selector of layers with weights means."""
        return self.weighted and self.kind not in _ELEMENTWISE


def owns_by_kind(kind: LayerKind, is_read: bool) -> bool:
    """Whether a layer of which only the kind is known has a format of its own.

    Args:
        kind: the layer's operation.
        is_read: whether a layer reads its output; a softmax at the network's end passes on.
    """
    return kind not in _PASS_ON and (kind != LayerKind.SOFTMAX or is_read)


def without_index_formats(nodes: Mapping[Key, Node[Key]]) -> dict[Key, Node[Key]]:
    """The nodes, where inputs that only embeddings read own no format: they hold indices.

    Args:
        nodes: calls by key, in the order they run.
    """
    readers, result = _readers(nodes), dict(nodes)
    embeds = {
        key for key, node in nodes.items() if node.kind == LayerKind.EMBEDDING and node.weighted
    }
    for key, node in reversed(list(nodes.items())):
        if not readers[key] or not all(reader in embeds for reader in readers[key]):
            continue
        if node.kind == LayerKind.INPUT:
            result[key] = dataclasses.replace(node, owns_format=False)
        elif not node.owns_format:  # moves indices about
            embeds.add(key)
    return result


def format_owners(nodes: Mapping[Key, Node[Key]]) -> dict[Key, Key]:
    """Node -> the node whose format its output has; one without a format stands for itself."""
    owners: dict[Key, Key] = {}
    for key, node in nodes.items():
        passes_on = node.reads and not (node.owns_format or node.is_float)
        owners[key] = owners.get(node.reads[0], key) if passes_on else key
    return owners


def select(nodes: Mapping[Key, Node[Key]], outputs: Iterable[Key]) -> dict[str, list[str]]:
    """Selector -> names of the layers it stands for.

    Args:
        nodes: calls by key, in the order they run.
        outputs: keys of the calls whose results the network returns.
    """
    owners, outputs = format_owners(nodes), list(outputs)
    inputs = [key for key, node in nodes.items() if node.kind == LayerKind.INPUT]
    reads = {key: _known(node.reads, nodes) for key, node in nodes.items()}
    # A network of which only the layers with weights are known begins with the first of them.
    begin = inputs or [key for key, node in nodes.items() if node.has_kernel][:1]
    returned = [nodes[owners[key]] for key in outputs]
    found = {
        "@inputs": [nodes[key] for key in inputs if nodes[key].owns_format],
        "@outputs": [node for node in returned if node.owns_format],
        "@first": _nearest(nodes, begin, _readers(nodes)),
        "@last": _nearest(nodes, outputs, reads),
        "@norms": _norm_parts(nodes),
        "@means": [
            node for node in nodes.values() if node.kind == LayerKind.MEAN and node.owns_format
        ],
        "@addends": _addends(nodes, owners, {owners[key] for key in outputs}),
    }
    return {key: list(dict.fromkeys(node.name for node in group)) for key, group in found.items()}


def _known(keys: Iterable[Key], nodes: Mapping[Key, Node[Key]]) -> list[Key]:
    return [key for key in keys if key in nodes]


def _readers(nodes: Mapping[Key, Node[Key]]) -> dict[Key, list[Key]]:
    readers: dict[Key, list[Key]] = {key: [] for key in nodes}
    for key, node in nodes.items():
        for source in _known(node.reads, nodes):
            readers[source].append(key)
    return readers


def _nearest(
    nodes: Mapping[Key, Node[Key]], start: Iterable[Key], neighbours: Mapping[Key, Sequence[Key]]
) -> list[Node[Key]]:
    """The nodes with kernels that a walk from `start` meets first, in the network's order."""
    todo, seen, found = list(start), set[Key](), set[Key]()
    while todo:
        key = todo.pop()
        if key in seen:
            continue
        seen.add(key)
        if nodes[key].has_kernel:
            found.add(key)
        else:
            todo += neighbours[key]
    return [node for key, node in nodes.items() if key in found]


def _addends(
    nodes: Mapping[Key, Node[Key]], owners: Mapping[Key, Key], outputs: set[Key]
) -> list[Node[Key]]:
    """Nodes whose formats only sums read, through whatever passes them on."""
    kinds: dict[Key, set[LayerKind]] = {}
    for key, node in nodes.items():
        if owners[key] == key:  # else it hands on another's format
            for source in _known(node.reads, nodes):
                kinds.setdefault(owners[source], set()).add(node.kind)
    sums = {LayerKind.ADD, LayerKind.SUBTRACT}
    return [
        node
        for key, node in nodes.items()
        if node.owns_format and key not in outputs and kinds.get(key) and kinds[key] <= sums
    ]


def _norm_parts(nodes: Mapping[Key, Node[Key]]) -> list[Node[Key]]:
    """Nodes whose outputs a layer normalization computes on its way: means, rows, directions."""
    found: list[Node[Key]] = []
    for node in nodes.values():
        if node.kind != LayerKind.L2_NORMALIZE:
            continue
        parts = [node]
        before = [nodes[key] for key in _known(node.reads[:1], nodes)]
        if before and before[0].kind == LayerKind.PAD:  # epsilon, an element of the row
            parts += before
            before = [nodes[key] for key in _known(before[0].reads[:1], nodes)]
        if before and before[0].kind == LayerKind.SUBTRACT:
            operands = [nodes[key] for key in _known(before[0].reads[1:], nodes)]
            parts += [*before, *(part for part in operands if part.kind == LayerKind.MEAN)]
        found += reversed(parts)
    return found


def check_rule_keys(keys: Iterable[str]) -> None:
    """Complain about keys of a map's rules that are neither names, selectors nor patterns.

    Raises:
        PrecisionError: an unknown selector, or a pattern that is none.
    """
    for key in keys:
        if key.startswith("@") and key not in SELECTORS:
            known = ", ".join(SELECTORS)
            hint = did_you_mean(key, SELECTORS)
            raise PrecisionError(f"selector: got {key!r}; expected one of {known}.{hint}")
        try:
            re.compile(key)
        except re.error as error:
            raise PrecisionError(f"pattern {key!r}: {error}.") from None


def rule_targets(
    keys: Iterable[str],
    what: str,
    names: Sequence[str],
    aliases: Mapping[str, str],
    selected: Mapping[str, Iterable[str]],
) -> dict[str, list[str]]:
    """The layers that each key of a map's rules means.

    Args:
        keys: layer names, selectors, or patterns that must match a whole name.
        what: "precision map", for complaints.
        names: the network's layers.
        aliases: folded layer -> the layer it went into.
        selected: selector -> the layers it stands for, none perhaps: an input of indices has no
            format.

    Raises:
        PrecisionError: keys match no layer; all of them are named.
    """
    targets = {key: _targets(key, names, aliases, selected) for key in keys}
    # some networks have no layer behind a selector
    unmatched = [key for key, found in targets.items() if not found and key not in selected]
    if unmatched:
        known = [*names, *aliases]
        hint = did_you_mean(unmatched[0], known)
        raise PrecisionError(
            f"layers of the {what}: got {', '.join(map(repr, unmatched))}, which match "
            f"no layer; expected names or patterns of {', '.join(known)}.{hint}"
        )
    return targets


def _targets(
    key: str,
    names: Sequence[str],
    aliases: Mapping[str, str],
    selected: Mapping[str, Iterable[str]],
) -> list[str]:
    if key.startswith("@"):
        return [name for name in selected.get(key, ()) if name in names]
    if key in names:
        return [key]
    pattern = re.compile(key)
    hits = [name for name in names if pattern.fullmatch(name)]
    folded = [aliases[name] for name in aliases if pattern.fullmatch(name)]
    if key in aliases:
        hits, folded = [], [aliases[key]]
    return list(dict.fromkeys(hits + [name for name in folded if name in names]))
