"""Memory at a time: what is alive during inference, and WRPN's memory of training."""

from __future__ import annotations

from collections.abc import Mapping

from tfxp.cost.bits import bias_bits, tensor_bits
from tfxp.cost.stages import live_sets, stages_of, weighted_layers
from tfxp.precision import LayerPrecision, ModelStats


def memory_bits(
    model: ModelStats,
    precision: Mapping[str, LayerPrecision],
    batch_size: int = 1,
    fuse_pools: bool = True,
) -> dict[str, float]:
    """Memory for inference and for training, in bits.

        inference = max(IFM) + max(OFM) + sum(W)
        training  = N sum(A) + sum(W) + N max(dZ) + N max(dX)

    IFM and OFM are the maps that a layer reads and writes, A all activations (the input
    included), dZ and dX the gradients of a layer's output and input, N the batch size. Gradients
    take `activation_gradients` of the map where given, else 32 bits.

    Args:
        model: sizes of the layers.
        precision: the precision of every layer.
        batch_size: N, samples per training step; inference is of one sample.
        fuse_pools: whether pooling is part of the stage before it.

    Returns:
        `activation_peak_bits` (largest sum of live activations, by liveness in the order of the
        layers), `inference_memory_bits`, `training_memory_bits`, `training_activation_share` (of
        activations and their gradients, the part that grows with N).

    References:
        Mishra et al., "WRPN: Wide Reduced-Precision Networks", ICLR 2018, sec. 2.
    """
    stages = stages_of(model, fuse_pools)
    maps = {
        name: stage.output_count * tensor_bits(precision[stage.owner].activations)
        for name, stage in stages.items()
    }
    gradients = {
        name: stage.output_count * tensor_bits(precision[stage.owner].activation_gradients)
        for name, stage in stages.items()
    }
    read = {name: sum(maps[source] for source in stage.sources) for name, stage in stages.items()}
    weights = sum(
        layer.weight_count * tensor_bits(precision[layer.name].weights)
        + layer.bias_count * bias_bits(precision[layer.name])
        for layer in weighted_layers(model)
    )
    computed = [name for name, stage in stages.items() if not stage.is_input]
    inputs = [sum(gradients[source] for source in stages[name].sources) for name in computed]
    stored = batch_size * sum(maps.values())
    back = max((gradients[name] for name in computed), default=0) + max(inputs, default=0)
    training = stored + weights + batch_size * back
    return {
        "activation_peak_bits": max(
            sum(maps[name] for name in live) for live in live_sets(stages, model.outputs)
        ),
        "inference_memory_bits": max(read.values())
        + max((maps[name] for name in computed), default=0)
        + weights,
        "training_memory_bits": training,
        "training_activation_share": 1 - weights / training if training else 0.0,
    }
