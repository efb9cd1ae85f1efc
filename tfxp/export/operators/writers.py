"""The table of layers with integer operators: `writes` adds a line, `writer_of` looks it up."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from tfxp.export.graph_builder import GraphBuilder
from tfxp.precision import LayerKind
from tfxp.quantization.layer_roles import role_of, table_name
from tfxp.transforms.layer_graph import Call, LayerSpec
from tfxp.transforms.normalize.activations import is_tabulated, unary_of
from tfxp.transforms.normalize.normalize import is_softmax
from tfxp.transforms.normalize.unrolled import UNROLLED, WHAT_IS_UNROLLED

# write(builder, number of the call, call, layer)
Write = Callable[[GraphBuilder, int, Call, LayerSpec], None]


@dataclasses.dataclass(frozen=True)
class Writer:
    """How a layer goes into an integer file.

    Args:
        write: appends the layer's operators to a `GraphBuilder`'s graph.
        operators: their names, for people.
        exact: whether power-of-two formats of up to 8 bits come out the same on every element;
            otherwise in which cases they do.
        refuses: says why a layer with these settings cannot be written, or None if it can.
    """

    write: Write
    operators: str
    exact: str = "yes"
    refuses: Callable[[LayerSpec, Call], str | None] = lambda spec, call: None


WRITERS: dict[str, Writer] = {}
# Why the other layers of the table have none.
_REASONS = {
    "Conv3D": "LiteRT's CONV_3D takes float only",
    "Conv3DTranspose": "LiteRT's CONV_3D_TRANSPOSE takes float only",
    "LayerNormalization": "its axes are not the last one, or it hands on a mask that is read",
    "MultiHeadAttention": "its mask is a tensor or one by head, or plain attention lacks its axes",
}


# Why an operator that states the size of its output cannot be written for any size.
UNKNOWN_SIZE = "the size of its output is unknown"


def writes(
    *keys: str,
    operators: str,
    exact: str = "yes",
    refuses: Callable[[LayerSpec, Call], str | None] | None = None,
) -> Callable[[Write], Write]:
    """Register a function as the writer of layers: class names, or functions of activations."""

    def register(write: Write) -> Write:
        writer = Writer(write, operators, exact, *([refuses] if refuses else []))
        WRITERS.update({key: writer for key in keys})
        return write

    return register


def key_of(spec: LayerSpec) -> str:
    """Under what a layer is looked up: its class, or the function of an activation layer."""
    role, unary = role_of(spec).role, unary_of(spec)
    if is_tabulated(spec):
        return "tf.math"
    if is_softmax(spec):
        return "final softmax" if role.is_final else "Softmax"
    if unary is not None:
        return unary.function
    if role.closes:
        return "ReLU"
    return table_name(spec)


def writer_of(spec: LayerSpec) -> Writer | None:
    """The writer of a layer; None if no integer operator computes it."""
    return WRITERS.get(key_of(spec))


def no_operator(spec: LayerSpec) -> str:
    """Why a layer has no integer operator, in a sentence."""
    reason = _REASONS.get(spec.kind)
    if reason is None and role_of(spec).kind == LayerKind.RECURRENT:
        reason = "its state is computed in float between the steps"
        if spec.kind in UNROLLED:
            reason += f"; {WHAT_IS_UNROLLED}"
    reason = reason or "LiteRT has none for it"
    return f"has no integer operator ({reason}); it is quantized in Keras only"
