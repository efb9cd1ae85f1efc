"""Convolutions and dense layers as one-operator models: one table of cases for all tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.interpreter.litert_oracle import Model, T

LIMIT = {"INT8": 127, "INT4": 7, "INT2": 1, "INT16": 32767, "UINT8": 255}


def pack4(codes: np.ndarray) -> np.ndarray:
    """Two 4-bit codes a byte, the first in the low half."""
    flat = np.append(codes.reshape(-1) & 15, 0)
    return (flat[0 : codes.size : 2] | flat[1 : codes.size + 1 : 2] << 4).astype(np.uint8)


@dataclass
class Case:
    """A multiply-accumulate operator with drawn weights; the defaults are a small CONV_2D."""

    op: str = "CONV_2D"
    shape: tuple[int, ...] = (1, 7, 6, 5)
    units: int = 7
    taps: tuple[int, int] = (3, 3)
    stride: int = 1
    dilation: int = 1
    padding: int = 0
    groups: int = 1
    multiplier: int = 1
    activation: int = 0
    x: str = "INT8"
    w: str = "INT8"
    bias: str | None = "INT32"
    declared: int = 0
    per_channel: bool = True
    out: tuple[int, int] | None = None
    weight_zeros: float = 0.3
    keep: bool = False
    seed: int = 0
    zero: int | None = None

    def __str__(self) -> str:
        usual = Case()
        parts = [f"{k}={v}" for k, v in vars(self).items() if v != getattr(usual, k)]
        return " ".join(parts) or "plain"

    def weights(self) -> np.ndarray:
        """Weight codes in the file's layout."""
        rng = np.random.default_rng(self.seed)
        channels = self.shape[-1]
        shape = {
            "CONV_2D": (self.units, *self.taps, channels // self.groups),
            "DEPTHWISE_CONV_2D": (1, *self.taps, channels * self.multiplier),
            "TRANSPOSE_CONV": (self.units, *self.taps, channels),
            "FULLY_CONNECTED": (self.units, channels),
        }[self.op]
        limit = LIMIT[self.w]
        codes = rng.integers(0 if self.w == "UINT8" else -limit, limit + 1, shape)
        codes[rng.random(shape) < self.weight_zeros] = self.weight_zero
        return codes

    @property
    def weight_zero(self) -> int:
        """Zero point of the weights."""
        return 100 if self.w == "UINT8" else 0

    @property
    def input_zero(self) -> int:
        """Zero point of the input."""
        return {"INT8": 3, "UINT8": 120, "INT16": 0}[self.x] if self.zero is None else self.zero

    @property
    def out_channels(self) -> int:
        """Output channels."""
        if self.op == "DEPTHWISE_CONV_2D":
            return self.shape[-1] * self.multiplier
        return self.units

    def scales(self) -> tuple[float, np.ndarray, float]:
        """Of input, weights and output: chosen so that few outputs saturate."""
        rng = np.random.default_rng(self.seed + 1)
        count = self.out_channels if self.per_channel else 1
        weight = (rng.uniform(0.5, 1.5, count) / LIMIT[self.w]).astype(np.float32)
        depth = self.weights().size / self.out_channels
        return 0.05, weight, 0.06 * float(np.sqrt(depth)) * (4 if self.x == "INT16" else 1)

    def output_shape(self) -> tuple[int, ...]:
        """By LiteRT's SAME (0) and VALID (1) rules."""
        if self.op == "FULLY_CONNECTED":
            return (*self.shape[:-1], self.units)
        if self.op == "TRANSPOSE_CONV":
            return (self.shape[0], *(self.out or (0, 0)), self.units)
        sizes = []
        for size, taps in zip(self.shape[1:3], self.taps, strict=True):
            reach = (taps - 1) * self.dilation + 1
            free = size if self.padding == 0 else size - reach + 1
            sizes.append(-(-free // self.stride))
        return (self.shape[0], *sizes, self.out_channels)

    def model(self) -> Model:
        """The model for LiteRT and tfxp."""
        scale, weight_scales, out_scale = self.scales()
        codes = self.weights()
        axis = {"DEPTHWISE_CONV_2D": 3}.get(self.op, 0) if self.per_channel else 0
        weights = T(codes.shape, self.w, weight_scales, self.weight_zero, codes, axis)
        x = T(self.shape, self.x, scale, self.input_zero)
        zero = {"INT8": -5, "UINT8": 30, "INT16": 0}[self.x]
        y = T(self.output_shape(), self.x, out_scale, zero)
        inputs: list[T | None] = [x, weights]
        if self.op == "TRANSPOSE_CONV":
            inputs = [T((4,), "INT32", data=self.output_shape()), weights, x]
        if self.bias:
            rng = np.random.default_rng(self.seed + 2)
            bias = rng.integers(-3000, 3000, self.out_channels)
            inputs.append(T(bias.shape, self.bias, weight_scales * np.float32(scale), 0, bias))
        table, options, version = self._options()
        return PackedModel(self.op, inputs, [y], table, options, version)

    def _options(self) -> tuple[str, dict[str, int], int]:
        if self.op == "FULLY_CONNECTED":
            options = {"fusedActivationFunction": self.activation, "keepNumDims": self.keep}
            return "FullyConnectedOptions", {**options, "quantizedBiasType": self.declared}, 12
        options = {
            "padding": self.padding,
            "strideW": self.stride,
            "strideH": self.stride,
            "fusedActivationFunction": self.activation,
        }
        if self.op == "TRANSPOSE_CONV":
            return "TransposeConvOptions", {**options, "quantizedBiasType": self.declared}, 4
        options |= {"dilationWFactor": self.dilation, "dilationHFactor": self.dilation}
        if self.op == "DEPTHWISE_CONV_2D":
            return "DepthwiseConv2DOptions", {**options, "depthMultiplier": self.multiplier}, 6
        return "Conv2DOptions", {**options, "quantizedBiasType": self.declared}, 5


class PackedModel(Model):
    """A model whose INT4 and INT2 constants are packed."""

    @staticmethod
    def _tensor(model, graph, spec):
        if spec.type not in ("INT4", "INT2"):
            return Model._tensor(model, graph, spec)
        from ai_edge_litert import schema_py_generated as S

        plain = T(spec.shape, "INT8", spec.scale, spec.zero, spec.data, spec.axis)
        index = Model._tensor(model, graph, plain)
        graph.tensors[index].type = getattr(S.TensorType, spec.type)
        codes = np.asarray(spec.data)
        if spec.type == "INT4":
            packed = pack4(codes)
        else:
            fields = np.pad(codes.reshape(-1) & 3, (0, -codes.size % 4)).reshape(-1, 4)
            packed = (fields << np.array([0, 2, 4, 6])).sum(1).astype(np.uint8)
        model.buffers[-1].data = packed
        return index


D, F, C = "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"
SAME_EVERYWHERE = [
    # more zeros among weights than among activations
    Case(shape=(2, 12, 11, 9), units=13, weight_zeros=0.9),
    Case(shape=(1, 9, 14, 8), units=12, groups=2, padding=1, dilation=2, weight_zeros=0.9),
    Case(shape=(1, 12, 12, 6), units=6, x="INT16", bias="INT64", weight_zeros=0.9, taps=(2, 3)),
    Case(shape=(1, 40, 5, 3), units=5, x="UINT8", w="UINT8", per_channel=False, weight_zeros=0.9),
    Case(shape=(1, 10, 10, 7), units=4, taps=(1, 1), weight_zeros=0.97, activation=1),
    # channels behind the last whole eight round otherwise in these two
    Case(op=D, shape=(1, 9, 11, 21), w="INT4"),
    Case(op=D, shape=(1, 9, 8, 5), w="INT4", multiplier=2, stride=2),
    Case(op=C, shape=(1, 12, 11, 10), units=15, stride=2, x="INT16", declared=2, out=(23, 21)),
    Case(),
    Case(shape=(2, 8, 9, 16), units=20, stride=2),
    Case(shape=(1, 11, 9, 8), units=70, taps=(3, 2), dilation=2, activation=1),
    Case(shape=(1, 8, 8, 8), units=12, groups=2, padding=1),
    Case(shape=(1, 6, 6, 64), units=130, taps=(1, 1), activation=3),
    Case(shape=(2, 7, 7, 24), units=48, taps=(5, 5), per_channel=False, activation=2),
    Case(shape=(1, 9, 40, 3), units=16, stride=3, padding=1),
    Case(shape=(1, 1, 1, 40), units=33, taps=(1, 1)),
    Case(shape=(1, 5, 5, 12), units=60, taps=(5, 5), padding=1),
    Case(x="INT16", bias="INT64"),
    Case(x="INT16", w="INT4", bias="INT64", shape=(1, 8, 8, 12), units=9),
    Case(x="UINT8", w="UINT8", per_channel=False, units=9),
    Case(op=D, shape=(2, 8, 8, 12)),
    Case(op=D, shape=(1, 9, 8, 12), multiplier=2, stride=2, activation=1),
    Case(op=D, shape=(1, 9, 8, 16), dilation=2, padding=1),
    Case(op=D, shape=(1, 9, 8, 16), x="INT16", bias="INT64"),
    Case(op=D, shape=(1, 5, 5, 1), multiplier=8),
    Case(op=C, shape=(1, 5, 4, 10), units=9, stride=2, out=(10, 8)),
    Case(op=C, shape=(2, 5, 4, 10), units=20, stride=2, padding=1, out=(11, 9)),
    Case(op=C, shape=(1, 5, 4, 3), units=9, taps=(2, 2), stride=3, out=(14, 12)),
    Case(op=C, shape=(1, 5, 4, 10), units=9, stride=2, out=(10, 8), x="INT16", bias="INT64"),
    Case(op=C, shape=(1, 5, 4, 10), units=9, stride=2, out=(9, 7), x="UINT8", w="UINT8",
         per_channel=False),
    Case(op=F, shape=(9, 40), units=33),
    Case(op=F, shape=(9, 40), units=33, per_channel=False, bias=None, activation=1),
    Case(op=F, shape=(3, 2, 40), units=5, keep=True),
    Case(op=F, shape=(50, 40), units=33, w="INT4"),
    Case(op=F, shape=(50, 41), units=33, w="INT4"),
    Case(op=F, shape=(50, 40), units=33, w="INT2"),
    Case(op=F, shape=(50, 40), units=33, x="UINT8", w="UINT8", per_channel=False),
    Case(op=F, shape=(50, 40), units=33, x="INT16", bias="INT64", declared=4),
    Case(op=F, shape=(50, 40), units=33, x="INT16", declared=2),
    Case(op=F, shape=(50, 40), units=33, x="INT16", bias=None),
    Case(op=F, shape=(50, 40), units=33, x="INT16", w="INT16", bias="INT64", declared=4),
    Case(shape=(1, 15, 15, 12), units=39, w="INT4"),
    Case(shape=(1, 15, 15, 12), units=39, w="INT4", groups=3),
    Case(shape=(1, 15, 15, 12), units=39, x="INT16", declared=2),
    Case(op=D, shape=(1, 9, 18, 16), w="INT4"),
    Case(op=C, shape=(1, 9, 9, 10), units=16, stride=2, out=(18, 18), x="INT16", declared=2),
]  # fmt: skip
# what only tfxp runs: its own 16-bit and 2-bit convolution weights
OURS_ALONE = [
    Case(w="INT2", shape=(1, 6, 6, 6), units=9),
    Case(x="INT16", w="INT16", bias="INT64", shape=(1, 6, 6, 6), units=9),
    Case(op=D, w="INT2", shape=(1, 6, 6, 6)),
]
