"""Where the taps of a convolution fall: padding, output size, ranges of valid taps."""

from __future__ import annotations

from dataclasses import dataclass

from tfxp.errors import TfliteFormatError


@dataclass(frozen=True)
class Axis:
    """One spatial direction of a convolution.

    Args:
        size: input size.
        taps: kernel size.
        stride, dilation: in input pixels.
        out: output size.
        pad: zeros before the first pixel.
    """

    size: int
    taps: int
    stride: int
    dilation: int
    out: int
    pad: int

    def source(self, position: int, tap: int) -> int:
        """The input pixel that `tap` of output `position` reads; may lie outside."""
        return position * self.stride - self.pad + tap * self.dilation


def single_pixels(size: int) -> Axis:
    """The axis of windows that are one pixel each.

    Example:
        >>> single_pixels(7).source(5, 0)
        5
    """
    return Axis(size, 1, 1, 1, size, 0)


def convolution_axis(size: int, taps: int, stride: int, dilation: int, padding: str) -> Axis:
    """An axis with LiteRT's SAME or VALID padding.

    SAME: out = ceil(size / stride), pad = max(0, (out - 1) stride + reach - size) // 2 with
    reach = (taps - 1) dilation + 1. VALID: out = ceil((size - reach + 1) / stride), pad = 0.

    Raises:
        TfliteFormatError: sizes below 1, or a kernel larger than the unpadded input.

    Example:
        >>> convolution_axis(32, 3, 2, 1, "SAME")
        Axis(size=32, taps=3, stride=2, dilation=1, out=16, pad=0)
    """
    if min(taps, stride, dilation) < 1 or size < 0:
        raise TfliteFormatError(
            f"convolution: got input {size}, kernel {taps}, stride {stride}, dilation {dilation}; "
            "expected 1 or more. The file is damaged"
        )
    reach = (taps - 1) * dilation + 1
    if padding == "SAME":
        out = -(-size // stride)
        pad = max(0, (out - 1) * stride + reach - size) // 2
    elif padding == "VALID":
        out, pad = max(0, -(-(size - reach + 1) // stride)), 0
    else:
        raise TfliteFormatError(f"padding of a convolution: got {padding}; expected SAME or VALID")
    if out < 1 and size:
        raise TfliteFormatError(
            f"convolution: got a kernel reach of {reach} on {size} pixels without padding; "
            "expected an output of at least 1 pixel. The file is damaged"
        )
    # a stride that is never taken, or taps far outside, may have any size in the file
    if out == 1:
        stride = min(stride, size)
    far = 2 * (size + out * stride)
    far += (far + dilation) % 2  # the same parity: pad keeps its distance to the middle tap
    if dilation > far:
        return convolution_axis(size, taps, stride, far, padding)
    return Axis(size, taps, stride, dilation, out, pad)


def transposed_axis(size: int, taps: int, stride: int, out: int, padding: str) -> Axis:
    """An axis of a transposed convolution: output pixel = input pixel * stride - pad + tap.

    Args:
        size: input size.
        taps, stride: of the kernel.
        out: output size, which the operator states.
        padding: "SAME" or "VALID".

    Raises:
        TfliteFormatError: sizes that a convolution of `out` pixels would not turn into `size`.
    """
    forward = convolution_axis(out, taps, stride, 1, padding)
    if forward.out != size:
        raise TfliteFormatError(
            f"output size of a transposed convolution: got {out} for {size} input pixels, stride "
            f"{stride} and kernel {taps}; expected one that gives {size}, not {forward.out}, back"
        )
    return Axis(size, taps, stride, 1, out, forward.pad)
