"""Layers of Keras' own applications, written as layers that everybody has.

A class of the user's with the name of one of them may compute anything, and is left alone.
"""

from __future__ import annotations

from tfxp.keras import keras, layers
from tfxp.transforms.application_layers import application_layers
from tfxp.transforms.layer_graph import LayerGraph, Ref
from tfxp.transforms.normalize.steps import Rewrite


def _of_keras(rewrite: Rewrite) -> Rewrite:
    def checked(graph: LayerGraph, number: int) -> None:
        if graph.spec_of(Ref(number)).cls in application_layers(keras).values():
            rewrite(graph, number)

    return checked


def _layer_scale(graph: LayerGraph, number: int) -> None:
    """ConvNeXt's gamma * x per channel, which goes into the dense layer in front."""
    spec = graph.layers[graph.calls[number].layer]
    (gamma,) = spec.arrays().values()
    spec.become(layers.Rescaling(gamma.tolist()))


def _stochastic_depth(graph: LayerGraph, number: int) -> None:
    """ConvNeXt's branches that training leaves out, an image at a time."""
    spec, rank = graph.layers[graph.calls[number].layer], len(graph.input_shape(number))
    shape = (None, *[1] * (rank - 1))
    spec.become(layers.Dropout(spec.config["drop_path_rate"], noise_shape=shape))


def _scaled_sum(graph: LayerGraph, number: int) -> None:
    """InceptionResNetV2's x + scale * y."""
    call = graph.calls[number]
    spec, (x, y) = graph.layers[call.layer], call.refs()
    scaling = layers.Rescaling(spec.config["scale"], name=f"{spec.name}_scaled")
    scaled = graph.append(scaling, y, shape=graph.shape_of(y))
    spec.become(layers.Add())
    call.read([x, scaled])


APPLICATION_LAYERS: dict[str, Rewrite] = {
    "LayerScale": _of_keras(_layer_scale),
    "StochasticDepth": _of_keras(_stochastic_depth),
    "CustomScaleLayer": _of_keras(_scaled_sum),
}
