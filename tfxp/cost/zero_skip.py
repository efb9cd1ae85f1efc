"""What a machine saves that skips zero activations: operations, cycles, traffic."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from tfxp.cost.bits import tensor_bits
from tfxp.errors import ConfigError
from tfxp.precision import LayerPrecision, LayerStats, ModelStats


@dataclasses.dataclass(frozen=True)
class ZeroSkipMachine:
    """A machine that stores maps as one bit per value and a list of the values that are not zero.

    Args:
        mac_units: multipliers that work on as many output channels at a time; each takes one
            non-zero input value and one tap per cycle.
        map_bits: bits of the sparsity map per value.

    Raises:
        ConfigError: no multipliers.

    References:
        NullHop (Aimar et al., 2019) is such a machine, with 128 multipliers and 16-bit values;
        ADaPTION exports to it. Left out here: loading kernels, and layers whose maps do not fit.
    """

    mac_units: int = 128
    map_bits: int = 1

    def __post_init__(self) -> None:
        if self.mac_units < 1 or self.map_bits < 0:
            raise ConfigError(
                f"machine: got {self.mac_units} multipliers and {self.map_bits} map bits; expected "
                "at least one multiplier and no negative bits."
            )


@dataclasses.dataclass(frozen=True)
class ZeroSkipRow:
    """One layer.

    Args:
        name: layer.
        zeros: share of zeros in what the layer reads.
        macs: multiply-accumulates of one sample, padding included.
        macs_executed: those with a non-zero input.
        cycles_dense: cycles if zeros are multiplied too.
        cycles: cycles if they are skipped.
        input_bits: bits of the layer's input, value by value.
        compressed_bits: bits as map and list.
    """

    name: str
    zeros: float
    macs: int
    macs_executed: float
    cycles_dense: float
    cycles: float
    input_bits: float
    compressed_bits: float


def zero_skip(
    model: ModelStats,
    precision: Mapping[str, LayerPrecision],
    zeros: Mapping[str, float],
    machine: ZeroSkipMachine | None = None,
) -> list[ZeroSkipRow]:
    """Operations, cycles and traffic of every layer with weights, zeros skipped or not.

        executed   = macs (1 - z)
        cycles     = macs / channels * ceil(channels / units) (1 - z)
        compressed = inputs (map_bits + (1 - z) bits)

    Args:
        model: sizes of the layers.
        precision: the precision of every layer.
        zeros: layer -> z, the share of zeros in its output; between a layer and its reader, pools
            and reshapes are taken to leave the share as it is, which overstates z behind a
            max pool.
        machine: the machine; NullHop's figures by default.

    Returns:
        One row per layer with weights, in order.

    Example:
        >>> from tfxp.models import count_network
        >>> from tfxp.cost import resolve_precision
        >>> from tfxp.precision import PrecisionMap
        >>> net = count_network("vgg16")
        >>> rules = resolve_precision(net, PrecisionMap.uniform(16, 16))
        >>> rows = zero_skip(net, rules, {"block1_conv1": 0.5})
        >>> rows[1].macs_executed / rows[1].macs
        0.5
    """
    machine = machine or ZeroSkipMachine()
    rows = []
    for layer in model.layers.values():
        if not layer.weight_count:
            continue
        share, bits, inputs = _input(model, layer, precision, zeros)
        channels = _channels(layer)
        dense = layer.macs / channels * math.ceil(channels / machine.mac_units)
        rows.append(
            ZeroSkipRow(
                layer.name,
                share,
                layer.macs,
                layer.macs * (1 - share),
                dense,
                dense * (1 - share),
                float(inputs * bits),
                inputs * (machine.map_bits + (1 - share) * bits),
            )
        )
    return rows


def _input(
    model: ModelStats,
    layer: LayerStats,
    precision: Mapping[str, LayerPrecision],
    zeros: Mapping[str, float],
) -> tuple[float, int, int]:
    """Share of zeros, bits and number of the values a layer reads."""
    if not layer.inputs:
        return 0.0, 32, 0
    direct = model.layers.get(layer.inputs[0])
    source = direct
    while source is not None and source.name not in precision and source.inputs:
        source = model.layers.get(source.inputs[0])
    inputs = direct.output_count if direct is not None else 0
    if source is None or source.name not in precision:
        return 0.0, 32, inputs
    share = zeros.get(source.name, 0.0)
    return share, int(tensor_bits(precision[source.name].activations)), inputs


def _channels(layer: LayerStats) -> int:
    return layer.output_shape[-1] if layer.output_shape else max(layer.weight_shape[-1], 1)
