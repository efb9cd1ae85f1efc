"""Embeddings: rows of a table of codes, by indices that stay plain integers."""

from __future__ import annotations

import numpy as np

from tfxp.export.graph_builder import GraphBuilder
from tfxp.export.operators.writers import writes
from tfxp.formats import encode
from tfxp.quantization.layer_formats import LayerFormats
from tfxp.transforms.layer_graph import Call, LayerSpec


@writes("Embedding", operators="GATHER")
def write_embedding(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """The table holds the codes of the output, so that nothing is left to compute."""
    indices, output = builder.read(call)[0], builder.output(number, spec)
    codes = _table(builder, spec, builder.formats[spec.name]) + builder.zero_point(output.fmt)
    name = f"{spec.name}/embeddings"
    stored = codes.astype(np.int8 if builder.storage == "INT8" else np.int16)
    table = builder.constant(name, stored, builder.storage, builder.scheme(output.fmt))
    builder.tensor_formats[name] = str(output.fmt)
    options = {"axis": 0, "batch_dims": 0}
    builder.put(number, builder.emit("GATHER", [table, indices.index], output, options))


def _table(builder: GraphBuilder, spec: LayerSpec, formats: LayerFormats) -> np.ndarray:
    """Codes of every row as the layer would give it out: on the grid of the weights, then of the
    output."""
    values = spec.arrays()["embeddings"]
    if formats.weights:
        layer = builder.integers(spec.name)
        values = (layer.weights * layer.weight_scale).astype(np.float32)
    assert formats.activations is not None  # checked before building
    return encode(values, formats.activations, formats.code_rounding)
