"""Running sums along an axis, as a dense layer of ones that is not trained."""

from __future__ import annotations

import numpy as np

from tfxp.keras import layers
from tfxp.transforms.layer_graph import LayerGraph, Ref, weight_names
from tfxp.transforms.normalize.function_calls import parts_of

_LONGEST = 1024  # elements; the kernel has the square of it


def cumsum(graph: LayerGraph, number: int) -> None:
    """tf.cumsum: y = x K, where K has a one at every row that a column adds up."""
    call, spec, use = parts_of(graph, number)
    rank = len(use.inputs[0])
    axis = int(use.argument(1, "axis", 0)) % rank
    size = use.inputs[0][axis]
    if axis == 0 or size is None or size > _LONGEST:
        return
    kernel = np.triu(np.ones((size, size), np.float32), int(use.argument(2, "exclusive", False)))
    dense = layers.Dense(size, use_bias=False, trainable=False, name=f"{spec.name}_sums")
    dense.build((None, size))
    dense.set_weights([kernel.T if use.argument(3, "reverse", False) else kernel])
    source = call.refs()[0]
    if axis == rank - 1:
        spec.become(dense)
        spec.weights, spec.weight_names = list(dense.weights), weight_names(dense)
        call.read(source)
        return
    swap = [rank - 1 if i == axis else axis if i == rank - 1 else i for i in range(rank)]
    shape = tuple(use.inputs[0][i] for i in swap)
    turned = graph.append(layers.Permute(swap[1:], name=f"{spec.name}_axis"), source, shape=shape)
    sums = graph.append(dense, turned, shape=shape)
    spec.become(layers.Permute(swap[1:]))
    call.read(sums)
    assert graph.shape_of(Ref(number)) == use.output
