"""WRPN as a scheme: which tensors of a network get its grids, and which do not."""

from __future__ import annotations

import dataclasses
from typing import Any

from tfxp.errors import ConfigError
from tfxp.formats import WrpnFormat
from tfxp.keras_types import KerasModel
from tfxp.precision import FLOAT, LayerPrecision, ModelStats, PrecisionMap
from tfxp.quantization.annotated.scheme import FormatScheme
from tfxp.quantization.plan import QuantizationPlan
from tfxp.quantization.read_network import plan_of_any
from tfxp.transforms.fold_batch_norm import is_channel_scale

EDGES = ("float", "8", "wrpn")


def wrpn_precision(
    model: KerasModel,
    weights: int | str,
    activations: int | str,
    *,
    edges: str = "float",
    signed: int | str = FLOAT,
    per_channel: bool = False,
) -> PrecisionMap:
    """The precision map of a WRPN network: its grids where they belong, and nowhere else.

    What a ReLU (or a pool or concatenation of such) gives is on the activation grid. Tensors that
    may be negative, such as those in front of a residual sum, must not be: the grid starts at 0.
    They stay float, as in the paper, or get a fixed-point format for an integer export. So do the
    factors of a BatchNormalization that stands alone.

    Args:
        model: Sequential or functional tf_keras model, float or quantized.
        weights: k of the weights, 1 to 16; 1 is sign(w) * mean|w|; "float" leaves them alone.
        activations: k of the activations, 1 to 16; "float" leaves them alone, unclipped.
        edges: "float" (default, the paper): weights of the first and last layers and what they
            read and the network returns stay float; "8": the same tensors in 8 bits, which needs
            measurements; "wrpn": weights of all layers on the grid, and activations that cannot be
            negative; images, logits and what else is signed in 8 bits.
        signed: bits or "float" for tensors between layers that may be negative.
        per_channel: mean|w| per output channel (k = 1 only).

    Raises:
        ConfigError: no such kind of edges.
        FormatError: k outside 1 to 16.
        UnsupportedLayerError: a layer cannot be quantized; all are named.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> relu = dict(activation="relu")
        >>> stack = [layers.Dense(8, **relu, name=f"d{i}", input_shape=(8,)) for i in range(3)]
        >>> wrpn_precision(keras.Sequential(stack), 2, 4).layers["d1"].to_dict()
        {'weights': 'wrpn:2', 'activations': 'float'}

    References:
        Mishra et al., "WRPN: Wide Reduced-Precision Networks", ICLR 2018, sec. 3 and 5.
    """
    if edges not in EDGES:
        raise ConfigError(f"edges of WRPN: got {edges!r}; expected one of {', '.join(EDGES)}.")
    grids = (_grid(weights, "weights"), _grid(activations, "activations"))
    plan = plan_of_any(model)
    scales = {name for name, spec in plan.graph.layers.items() if is_channel_scale(spec)}
    edge_macs, edge_points = _edges(plan, scales)
    edge: int | str = FLOAT if edges == "float" else 8
    rules = {}
    for name, point in plan.points.items():
        tensor: Any = grids[1] if point.nonnegative else signed
        kernel: Any = grids[0] if name in plan.macs else None
        if name in scales:
            kernel = edge
        if name in edge_points and not (edges == "wrpn" and point.nonnegative):
            tensor = edge
        if name in edge_macs and edges != "wrpn":
            kernel = edge
        rules[name] = LayerPrecision(
            kernel,
            tensor,
            # Eight-bit edges are fixed point, whose channels may differ in size.
            per_channel=True if kernel == 8 or (per_channel and kernel is not None) else None,
        )
    return PrecisionMap(LayerPrecision(FLOAT, FLOAT), rules)


class WrpnScheme(FormatScheme):
    """WRPN as a tfmot QuantizeScheme, for code that is built around `quantize_apply`.

        annotated = tfmot.quantization.keras.quantize_annotate_model(model)
        quantized = rebuild(quantize_apply(annotated, WrpnScheme(model, 2, 4)))

    Args:
        model: the network, float.
        weights, activations: k of either, or "float".
        stats: measurements; needed for 8-bit edges.
        options: `edges`, `signed` and `per_channel` of `wrpn_precision`.

    References:
        Mishra et al., "WRPN: Wide Reduced-Precision Networks", ICLR 2018, sec. 3 and 5.
    """

    def __init__(
        self,
        model: KerasModel,
        weights: int | str,
        activations: int | str,
        stats: ModelStats | None = None,
        **options: Any,
    ) -> None:
        precision = wrpn_precision(model, weights, activations, **options)
        super().__init__(precision, stats, fold_batch_norm=False)


def _grid(bits: int | str, role: str) -> WrpnFormat | str:
    return FLOAT if bits == FLOAT else WrpnFormat(bits, role)  # type: ignore[arg-type]


def _edges(plan: QuantizationPlan, scales: set[str]) -> tuple[set[str], set[str]]:
    """First and last layers with weights; and the tensors that only they read or that leave."""
    nodes = {
        number: dataclasses.replace(node, weighted=node.weighted and node.name not in scales)
        for number, node in plan.nodes.items()
    }
    selected = dataclasses.replace(plan, nodes=nodes).selected()
    macs = {*selected["@first"], *selected["@last"]}
    readers: dict[str, set[str]] = {name: set() for name in plan.points}
    for name in plan.points:  # other layers pass their input's grid on
        for owner in plan.input_owners(name):
            readers[owner].add(name)
    points = {name for name, who in readers.items() if who and who <= macs}
    return macs, points | {*selected["@inputs"], *selected["@outputs"]}
