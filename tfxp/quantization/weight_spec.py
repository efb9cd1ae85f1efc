"""A kernel to quantize: where a layer keeps it and which of its axes number output channels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class WeightSpec:
    """A kernel to quantize.

    Args:
        attribute: path from the layer, such as "kernel" or "cell.recurrent_kernel".
        channel_axes: how many axes number output channels; they lie together.
        trailing: how many axes follow them, 1 for the kernel of a transposed convolution
            (height, width, out, in).

    Example:
        >>> from tfxp.quantization.weight_spec import WeightSpec
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
