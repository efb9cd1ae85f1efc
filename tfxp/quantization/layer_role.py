"""How a class of layers is quantized: its role, where its kernels lie, its bias."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from tfxp.precision import LayerKind
from tfxp.quantization.role import INTERPOLATE, Role
from tfxp.transforms.layer_graph import LayerSpec


@dataclasses.dataclass(frozen=True)
class WeightSpec:
    """A kernel to quantize.

    Args:
        attribute: path from the layer, such as "kernel" or "cell.recurrent_kernel".
        channel_axes: how many axes number output channels; they lie together.
        trailing: how many axes follow them, 1 for the kernel of a transposed convolution
            (height, width, out, in).

    Example:
        >>> from tfxp.quantization import WeightSpec
        >>> WeightSpec("kernel", trailing=1).as_matrix(np.zeros((3, 3, 8, 4))).shape
        (36, 8)
    """

    attribute: str
    channel_axes: int = 1
    trailing: int = 0

    def channels(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Sizes of the axes that number output channels."""
        end = len(shape) - self.trailing
        return tuple(shape)[end - self.channel_axes : end]

    def as_matrix(self, kernel: np.ndarray) -> np.ndarray:
        """The kernel as (taps, channels)."""
        count = int(np.prod(self.channels(kernel.shape)))
        return self._channels_last(kernel).reshape(-1, count)

    def from_matrix(self, matrix: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """The inverse of `as_matrix`."""
        split = len(shape) - self.trailing - self.channel_axes
        moved = (*shape[len(shape) - self.trailing :], *shape[: split + self.channel_axes])
        kernel = matrix.reshape(moved)
        return np.moveaxis(kernel, range(self.trailing), range(-self.trailing, 0))

    def _channels_last(self, kernel: np.ndarray) -> np.ndarray:
        return np.moveaxis(kernel, range(-self.trailing, 0), range(self.trailing))


def _accept(spec: LayerSpec) -> str | None:
    return None


@dataclasses.dataclass(frozen=True, init=False)
class LayerRole:
    """How a layer class is quantized.

    Args:
        role: what the layer does to its input's grid, a `Role` or its name: "keep", "mac".
        kind: the word of cost models for it, a `LayerKind` or its spelling.
        weights: kernels to quantize.
        bias: attribute of the bias, which goes to the accumulator's grid.
        accepts: says why a layer of the class is not supported, or None if it is.
        write: how the layer is written into an integer file, for layers of users' own:
            `write(builder, number, call, spec)` with a `tfxp.export.GraphBuilder`.
        finds_weights: the kernels are all weights whose path ends in "kernel": layers that hold
            other layers.
        one_format: all kernels have one format, whatever the map says of channels, because the
            integer operator has one.

    Raises:
        ConfigError: there is no such role.

    Example:
        >>> LayerRole("keep", "reshape").role.owns_format
        False
    """

    role: Role
    kind: LayerKind
    weights: tuple[WeightSpec, ...]
    bias: str | None
    accepts: Callable[[LayerSpec], str | None]
    write: Callable[..., None] | None
    finds_weights: bool
    one_format: bool

    def __init__(
        self,
        role: Role | str,
        kind: LayerKind | str,
        weights: tuple[WeightSpec, ...] = (),
        bias: str | None = None,
        accepts: Callable[[LayerSpec], str | None] = _accept,
        write: Callable[..., None] | None = None,
        finds_weights: bool = False,
        one_format: bool = False,
    ) -> None:
        values = {
            "role": Role.of(role),
            "kind": LayerKind(kind),
            "weights": weights,
            "bias": bias,
            "accepts": accepts,
            "write": write,
            "finds_weights": finds_weights,
            "one_format": one_format,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def wide_rounding(self) -> str | None:
        """The rounding beside activations of 9 to 16 bits, where it differs; None elsewhere.

        LiteRT's builtin kernels take these. Convolutions add up in 64 bits and round half up
        once; dense layers multiply in float64 and round half away from zero, as ADD and
        RESIZE_BILINEAR do.
        """
        if self.role.adds_up:
            return "half_away" if self.kind is LayerKind.DENSE else "half_up"
        return "half_away" if self.role.sums or self.role == INTERPOLATE else None
