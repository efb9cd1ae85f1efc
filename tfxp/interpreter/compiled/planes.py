"""Compiled convolutions that go through the weights that are not zero, many pixels at a time.

The counterpart of `compiled_scatter`, for layers with more zeros among the weights than among the
activations: what is skipped there at run time is not even in a list here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfxp.interpreter.compiled.counting import book_visits, clear_visits, count_image
from tfxp.interpreter.compiled.memory import (
    bytes_at,
    cached,
    fill_ints,
    inlined,
    ints_at,
    longs_at,
    shared,
    shorts_at,
)
from tfxp.interpreter.compiled.microkernel_planes import PIXELS, add_weights
from tfxp.interpreter.compiled.store import SUMS, book_sums, store_row


@inlined
def _lay_out(image_at: Any, record: Any, planes_at: Any) -> None:
    """Codes of an image minus their zero, channel by channel, between zeros."""
    height, width, channels, zero, kind = record[0], record[1], record[2], record[7], record[9]
    plane, row, top, left = record[10], record[11], record[12], record[13]
    planes = shorts_at(planes_at, channels * plane + PIXELS)
    fill_ints(planes_at, (channels * plane + PIXELS) // 2, 0)
    size = height * width * channels
    codes, wide = bytes_at(image_at, size), shorts_at(image_at, size)
    for y in range(height):
        for c in range(channels):
            to, source = c * plane + (y + top) * row + left, y * width * channels + c
            for x in range(width):
                at = source + x * channels
                if kind == 2:
                    planes[to + x] = wide[at] - zero
                elif kind == 1:
                    planes[to + x] = np.int64(np.uint8(codes[at])) - zero
                else:
                    planes[to + x] = np.int64(codes[at]) - zero


@inlined
def _multiply(record: Any, planes_at: Any, tile_at: Any, acc_at: Any) -> None:
    """Accumulators (pixels, OC) of an image, a block of pixels at a time."""
    oc, span = record[6], record[14]
    starts, bias = longs_at(record[15], oc + 1), ints_at(record[18], oc)
    for first in range(0, span, PIXELS):
        for channel in range(oc):
            add_weights(
                tile_at + 4 * channel * PIXELS, np.int64(bias[channel]), planes_at + 2 * first,
                record[16], record[17], starts[channel], starts[channel + 1],
            )  # fmt: skip
        tile = ints_at(tile_at, oc * PIXELS)
        acc = ints_at(acc_at + 4 * first * oc, oc * PIXELS)
        for pixel in range(PIXELS):
            for channel in range(oc):
                acc[pixel * oc + channel] = tile[channel * PIXELS + pixel]


@shared
def prefers_scatter(image_at: Any, record: Any) -> Any:
    """Whether an image has so few non-zero codes that listing these is cheaper."""
    size, zero, kind = record[0] * record[1] * record[2], record[7], record[9]
    count = np.int64(0)
    if kind == 2:
        wide, wanted_wide = shorts_at(image_at, size), np.int16(zero)
        for i in range(size):
            count += wide[i] != wanted_wide
    else:
        codes, wanted = bytes_at(image_at, size), np.int8(zero)
        for i in range(size):
            count += codes[i] != wanted
    return count << 16 <= record[20] * size


@cached
def convolve_planes(
    x_at: Any, out_at: Any, images: Any, record: Any, scratch_at: Any, counts: Any
) -> None:
    """A convolution of a batch of images, weight by weight.

    Args:
        x_at: codes (N, H, W, C).
        out_at: codes (N, OH, OW, OC), written.
        images: N.
        record: int64, see `planes_layout.WeightLists`.
        scratch_at: memory of the size that the record asks for, on a cache line.
        counts: as in `convolve_scatter`, added to.
    """
    height, width, channels, _, oh, ow, oc, _, _, kind = record[:10]
    size = 2 if kind == 2 else 1
    codes, written = height * width * channels, oh * ow * oc
    planes_at, tile_at, acc_at = (
        scratch_at + record[48], scratch_at + record[49], scratch_at + record[50]
    )  # fmt: skip
    sums_at, seen_at = scratch_at + record[51], scratch_at + record[52]
    for n in range(images):
        image_at, to_at = x_at + size * n * codes, out_at + size * n * written
        fill_ints(sums_at, SUMS, 0)
        clear_visits(record, seen_at)
        count_image(image_at, record, seen_at)
        _lay_out(image_at, record, planes_at)
        _multiply(record, planes_at, tile_at, acc_at)
        for oy in range(oh):
            row_at = acc_at + 4 * oy * record[11] * oc
            store_row(row_at, row_at, ow, oc, oc, record[32:48], sums_at, size,
                      to_at + size * oy * ow * oc, counts)  # fmt: skip
        book_sums(sums_at, record[32:48], counts)
        book_visits(seen_at, record, codes, counts)
