"""Means along any axes of a sample, as steps that have integer operators."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfxp.keras import layers
from tfxp.transforms.layer_graph import Shape
from tfxp.transforms.normalize.function_layers import function_spec
from tfxp.transforms.normalize.steps import Step

_OF_POSITIONS = {3: layers.GlobalAveragePooling1D, 4: layers.GlobalAveragePooling2D}
_CHANNEL_MEAN = {"axis": -1}


def mean_steps(name: str, shape: Shape, axes: Sequence[int], output: Shape) -> list[Step]:
    """Steps that average a tensor; none where the result has no axis left, or a size is unknown.

    Args:
        name: what the steps are called after.
        shape: of the tensor, batch included.
        axes: sorted, without the batch.
        output: shape of the result; of the tensor's rank where the axes are kept with size 1.
    """
    rank, kept = len(shape), len(output) == len(shape)
    if rank in _OF_POSITIONS and list(axes) == list(range(1, rank - 1)):
        return [Step(_OF_POSITIONS[rank](keepdims=kept, name=f"{name}_mean"), output)]
    mean = function_spec(tf.reduce_mean, f"{name}_mean")
    if list(axes) == [rank - 1]:
        return [Step(mean, output, {**_CHANNEL_MEAN, "keepdims": kept})] if len(output) > 1 else []
    return _last_axis_steps(name, shape, axes, output) if len(output) > 1 else []


def _last_axis_steps(name: str, shape: Shape, axes: Sequence[int], output: Shape) -> list[Step]:
    """Other axes go last and become one, of which the mean is taken."""
    rest = [axis for axis in range(1, len(shape)) if axis not in axes]
    order = [*rest, *axes]
    if any(shape[axis] is None for axis in order):
        return []
    steps, sizes = [], [int(shape[axis] or 0) for axis in rest]
    if order != sorted(order):
        moved = (shape[0], *(shape[axis] for axis in order))
        steps.append(Step(layers.Permute(order, name=f"{name}_moved"), moved))
    row = [*sizes, int(np.prod([int(shape[axis] or 0) for axis in axes]))]
    if len(axes) > 1:
        merged = layers.Reshape(row, name=f"{name}_row")
        steps.append(Step(merged, (shape[0], *row)))
    mean = function_spec(tf.reduce_mean, f"{name}_mean")
    short = {**_CHANNEL_MEAN, "keepdims": not rest}
    steps.append(Step(mean, (shape[0], *(sizes or [1])), short))
    if tuple(output[1:]) != tuple(sizes or [1]):
        steps.append(Step(layers.Reshape(output[1:], name=f"{name}_shape"), output))
    return steps
