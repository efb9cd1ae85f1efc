"""Products of two tensors' matrices."""

from __future__ import annotations

from tfxp.export.graph_builder import GraphBuilder
from tfxp.export.operators.writers import writes
from tfxp.transforms.layer_graph import Call, LayerSpec


@writes("tf.matmul", operators="BATCH_MATMUL", exact="sums below 2^24")
def write_product(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """The last two axes; leading ones broadcast."""
    left, right = builder.read(call)
    output = builder.output(number, spec)
    options = {
        "adj_x": bool(call.kwargs.get("transpose_a")),
        "adj_y": bool(call.kwargs.get("transpose_b")),
        "asymmetric_quantize_inputs": False,
    }
    builder.emit("BATCH_MATMUL", [left.index, right.index], output, options)
    builder.put(number, builder.finish(output, None, False, spec.name))
