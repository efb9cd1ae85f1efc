"""How large sums of products can become, in accumulator steps."""

from __future__ import annotations

import math

import numpy as np

from tfxp.quantization.integer_layer import row_blocks
from tfxp.quantization.quantized_network import QuantizedNetwork
from tfxp.quantization.registry import mean_count


def largest_sum(network: QuantizedNetwork, name: str) -> int:
    """Largest possible |accumulator| of a layer, biases included, in accumulator steps."""
    layer, grids = network.integers(name), network.integer_inputs(name)
    largest = max(max(abs(fmt.qmin), fmt.qmax) for fmt in grids)
    matrix = network.role(name).weights[0].as_matrix(layer.weights)
    blocks = (np.abs(matrix[rows].astype(np.int64)) for rows in row_blocks(matrix))
    sums = sum(block.sum(axis=0) for block in blocks) * largest
    if layer.bias is not None:
        sums = sums + np.abs(layer.bias)
    return int(sums.max())


def depth_and_product(network: QuantizedNetwork, name: str) -> tuple[int | None, int]:
    """Terms of every sum in a product of matrices, None if free, and the largest of them."""
    grids = network.integer_inputs(name)
    largest = math.prod(max(-fmt.qmin, fmt.qmax) for fmt in grids)
    call = network.graph.calls[network.graph.uses(name)[0]]
    shape = network.graph.shape_of(call.refs()[0])
    return shape[-2 if call.kwargs.get("transpose_a") else -1], largest


def largest_mean_sum(network: QuantizedNetwork, name: str) -> int:
    """Largest possible |sum| in a mean, of codes or of stored codes; 0 if the size is free."""
    grids = network.integer_inputs(name)
    codes = max((max(-grid.qmin, grid.qmax, 128) for grid in grids), default=0)
    return mean_count(network.graph, name) * codes
