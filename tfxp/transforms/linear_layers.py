"""The layers that multiply by a kernel and add up: one line per class, for every part of tfxp."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class LinearForm:
    """What the classes of a form of linear layers have in common.

    Args:
        name: the form's word in cost models, a value of `tfxp.precision.LayerKind`.
        kernel: attribute of the kernel.
        channel_axes: how many axes of the kernel number output channels; they lie together.
        trailing: how many axes follow them.
        counts: setting with the number of output channels; None where the inputs decide.

    Example:
        >>> LINEAR_LAYERS["Conv2DTranspose"].channels((3, 3, 8, 4))
        (8,)
    """

    name: str
    kernel: str = "kernel"
    channel_axes: int = 1
    trailing: int = 0
    counts: str | None = "filters"

    def channels(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Sizes of the kernel's axes that number output channels."""
        end = len(shape) - self.trailing
        return shape[end - self.channel_axes : end]


DENSE = LinearForm("dense", counts="units")
CONV = LinearForm("conv")
TRANSPOSED = LinearForm("transposed_conv", trailing=1)
DEPTHWISE = LinearForm("depthwise_conv", "depthwise_kernel", channel_axes=2, counts=None)

LINEAR_LAYERS: dict[str, LinearForm] = {
    "Dense": DENSE,
    "Conv1D": CONV,
    "Conv2D": CONV,
    "Conv3D": CONV,
    "Conv1DTranspose": TRANSPOSED,
    "Conv2DTranspose": TRANSPOSED,
    "Conv3DTranspose": TRANSPOSED,
    "DepthwiseConv1D": DEPTHWISE,
    "DepthwiseConv2D": DEPTHWISE,
}
