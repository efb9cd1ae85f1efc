"""Write a network down layer by layer and count its sizes and work, without building it."""

from __future__ import annotations

import math

from tfxp.errors import ConfigError
from tfxp.precision import LayerKind, LayerStats, ModelStats

PADDINGS = ("same", "valid")


class NetworkCounter:
    """Collects layers in the order they run; every method returns the new layer's name.

    A layer reads the one added before it unless `source` names another. Shapes are (height,
    width, channels) or (features,).

    Args:
        input_shape: shape of one sample.
        bias: whether convolutions and dense layers have a bias (those followed by batch
            normalization end up with one after folding).

    Raises:
        ConfigError: a layer of this name is there already, or its padding has another name.

    Example:
        >>> net = NetworkCounter((8, 8, 3))
        >>> net.conv("conv", 4, 3, padding="valid"), net.shape("conv")
        ('conv', (6, 6, 4))
        >>> net.stats().macs
        3888
    """

    def __init__(self, input_shape: tuple[int, ...], bias: bool = True) -> None:
        self._bias = bias
        self._layers: dict[str, LayerStats] = {}
        self._last = ""
        self._add(LayerStats("input", LayerKind.INPUT, (), tuple(input_shape)))

    def shape(self, name: str | None = None) -> tuple[int, ...]:
        """Output shape of a layer; of the last one by default."""
        return self._layers[name or self._last].output_shape

    def conv(
        self,
        name: str,
        filters: int,
        kernel: int,
        stride: int = 1,
        padding: str = "same",
        groups: int = 1,
        source: str | None = None,
    ) -> str:
        """Add a convolution with a square kernel.

        Raises:
            ConfigError: groups do not divide the channels, or the padding has another name.
        """
        source = source or self._last
        height, width, channels = self.shape(source)
        if channels % groups or filters % groups:
            raise ConfigError(
                f"groups of {name!r}: got {groups}; expected a divisor of {channels} and {filters}."
            )
        out = (*_windows((height, width), kernel, stride, padding), filters)
        kernel_shape = (kernel, kernel, channels // groups, filters)
        macs = out[0] * out[1] * math.prod(kernel_shape)
        return self._weighted(name, LayerKind.CONV, source, out, kernel_shape, macs, filters)

    def dense(self, name: str, units: int, source: str | None = None) -> str:
        """Add a dense layer over the flattened input."""
        source = source or self._last
        kernel_shape = (math.prod(self.shape(source)), units)
        macs = math.prod(kernel_shape)
        return self._weighted(name, LayerKind.DENSE, source, (units,), kernel_shape, macs, units)

    def pool(
        self,
        name: str,
        size: int,
        stride: int | None = None,
        padding: str = "valid",
        source: str | None = None,
    ) -> str:
        """Add a pooling layer."""
        source = source or self._last
        height, width, channels = self.shape(source)
        out = (*_windows((height, width), size, stride or size, padding), channels)
        return self._add(LayerStats(name, LayerKind.POOL, (source,), out))

    def add(self, name: str, *sources: str) -> str:
        """Add a layer that adds others of the same shape."""
        return self._add(LayerStats(name, LayerKind.ADD, sources, self.shape(sources[0])))

    def concatenate(self, name: str, *sources: str) -> str:
        """Add a layer that puts the channels of others side by side."""
        *place, _ = self.shape(sources[0])
        channels = sum(self.shape(source)[-1] for source in sources)
        return self._add(LayerStats(name, LayerKind.CONCATENATE, sources, (*place, channels)))

    def stats(self) -> ModelStats:
        """The network so far; its output is the last layer."""
        return ModelStats(dict(self._layers), (self._last,))

    def _weighted(
        self,
        name: str,
        kind: LayerKind,
        source: str,
        out: tuple[int, ...],
        kernel_shape: tuple[int, ...],
        macs: int,
        units: int,
    ) -> str:
        bias = units if self._bias else 0
        return self._add(LayerStats(name, kind, (source,), out, kernel_shape, macs, bias))

    def _add(self, layer: LayerStats) -> str:
        if layer.name in self._layers:
            raise ConfigError(f"layer name: got {layer.name!r} twice; expected different names.")
        self._layers[layer.name] = layer
        self._last = layer.name
        return layer.name


def _windows(sizes: tuple[int, int], kernel: int, stride: int, padding: str) -> tuple[int, int]:
    if padding not in PADDINGS:
        raise ConfigError(f"padding: got {padding!r}; expected one of {PADDINGS}.")
    if padding == "same":
        return -(-sizes[0] // stride), -(-sizes[1] // stride)
    return (sizes[0] - kernel) // stride + 1, (sizes[1] - kernel) // stride + 1
