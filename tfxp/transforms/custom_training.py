"""What a model's own code adds to its training: losses, metrics, and steps of the user's class."""

from __future__ import annotations

from typing import Any

from tfxp.errors import ModelError
from tfxp.keras import keras
from tfxp.keras_types import KerasLayer, KerasModel
from tfxp.transforms.call_graph import Call, CallGraph, Ref
from tfxp.transforms.named_outputs import NamedOutputs

# Layers that Keras makes of `model.add_loss(tensor)` and `model.add_metric(tensor)`.
LOSS_KINDS = ("AddLoss", "AddMetric")
_STEPS = (
    "train_step", "test_step", "predict_step", "compute_loss", "compute_metrics", "metrics",
    "make_train_function", "make_test_function", "make_predict_function", "compile", "fit",
    "evaluate",
)  # fmt: skip
# What Keras calls the loss that is a weight's regularizer.
_REGULARIZER = "_loss_for_variable"
_COMPILED = ("optimizer", "loss", "history", "compiled_loss", "compiled_metrics", "stop_training")


def split_losses(graph: CallGraph) -> None:
    """Take calls that lead to added losses and metrics only out of a graph's network."""
    ends = [n for n, call in graph.calls.items() if graph.layers[call.layer].kind in LOSS_KINDS]
    if not ends:
        return
    network = _leading_to(graph, [ref.call for ref in graph.inputs + graph.outputs])
    in_network = {graph.calls[number].layer for number in network}
    branch: set[int] = set()
    for end in ends:
        calls = _leading_to(graph, [end]) - network
        shared = sorted({graph.calls[number].layer for number in calls} & in_network)
        if shared:
            graph.left_behind.append(f"a loss or metric with calls of its own of {shared[0]!r}")
        else:
            branch |= calls
    place = {number: -i for i, number in enumerate(sorted(branch), 1)}
    for number, new in place.items():
        call = graph.calls[number]
        args, kwargs = call.map_refs(lambda ref: Ref(place.get(ref.call, ref.call), ref.index))
        graph.loss_calls[new] = Call(call.layer, args, kwargs)
        graph.loss_layers[call.layer] = graph.layers[call.layer]


def _leading_to(graph: CallGraph, numbers: list[int]) -> set[int]:
    found: set[int] = set()
    while numbers:
        number = numbers.pop()
        if number not in found:
            found.add(number)
            numbers += [ref.call for ref in graph.calls[number].refs()]
    return found


def read_training(original: KerasModel, model: KerasModel, graph: CallGraph) -> None:
    """Keep the user's class of a model that trains or tests in steps of its own.

    Args:
        original: the user's model.
        model: the same, or what became of it if Keras 3 made it.
        graph: takes the class, or a word that it is left behind.
    """
    kind = type(original)
    steps = _own(kind, _STEPS)
    if not steps:
        return
    if original is not model or isinstance(model, keras.Sequential):
        graph.left_behind.append(f"{', '.join(steps)} of class {kind.__name__}")
        return
    graph.model_class = kind
    layers = {id(layer) for layer in model.layers}
    graph.attributes = {
        name: value
        for name, value in vars(model).items()
        if not name.startswith("_") and name not in _COMPILED and id(value) not in layers
    }


def require_own_layers(model: KerasModel) -> None:
    """Refuse a functional model whose class computes otherwise than its layers say.

    Raises:
        ModelError: the class has a call of its own.
    """
    kind = type(model)
    if getattr(model, "_is_graph_network", False) and _own(kind, ("call", "__call__")):
        raise ModelError(
            f"model {model.name!r}: got class {kind.__name__} with a call of its own; expected one "
            "whose layers say all that it computes. Put the computation into the functional model."
        )


def losses_without_tensors(layer: KerasLayer) -> list[str]:
    """Losses that a layer or model was given as functions, which know its variables only."""
    functions = [tagged.args[0] for tagged in layer._callable_losses]
    own = [f for f in functions if getattr(getattr(f, "func", f), "__name__", "") != _REGULARIZER]
    return [f"a function as a loss of {layer.name!r}"] if own else []


def vars_of_user(model: KerasModel, attributes: dict[str, Any]) -> None:
    """Give a model what the user's code stored in the one that it was made of."""
    known = vars(model)
    for name, value in attributes.items():
        if name not in known:
            setattr(model, name, value)


def _own(kind: type, names: tuple[str, ...]) -> list[str]:
    """Which of these methods a user's class defines itself."""
    users = [
        part
        for part in kind.__mro__
        if not part.__module__.startswith(("tf_keras.", "keras.")) and part is not NamedOutputs
    ]
    return [name for name in names if any(name in vars(part) for part in users)]
