"""The constants of compiled kernels: int64 numbers and addresses by name, in one layout.

A kernel takes the constants of its operator as one array, its *record*, because addresses of such
arrays can stand in a table that a whole network runs from. The names below are the places in it;
Numba freezes them. `make_record` writes a record by the same names.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Record = NDArray[np.int64]

#: What every convolution begins with: sizes, the input's zero point, 255 to list zeros as well
#: (else 0), and one of the kinds of code below.
(HEIGHT, WIDTH, CHANNELS, GROUPS, OUT_HEIGHT, OUT_WIDTH, OUT_CHANNELS, INPUT_ZERO, TAKE_ALL,
 CODE_KIND) = range(10)  # fmt: skip

#: Listing activations: accumulators of a group per pixel; unfinished rows; pixels per row of
#: accumulators; bytes of accumulators and list blocks per input pixel; pixels left of the image;
#: addresses of the row schedule, complete rows, passes (and their number), tables for listing, and
#: start values.
(GROUP_PADDED, RING, ROW_PIXELS, PIXEL_STEP, START_STEP, MARGIN, ROW_SCHEDULE, COMPLETE_ROWS,
 PASSES, PASS_COUNT, PLACES_TABLE, SHUFFLES_TABLE, START_VALUES) = range(10, 23)  # fmt: skip

#: Listing weights: codes of a plane and of a row of it; padding above and to the left; pixels from
#: first to last; addresses of list starts, distances, weights and start values; record and kernel
#: for listing activations, and the share of them (in SHARE) up to which that is taken; codes and
#: rows of a phase's plane; strides, and phases that windows read, of both directions.
(PLANE, PLANE_ROW, PAD_ABOVE, PAD_LEFT, SPAN, LIST_STARTS, DISTANCES, LISTED_WEIGHTS, LIST_BIAS,
 SCATTER_RECORD, SCATTER_KERNEL, SCATTER_SHARE, PHASE_PLANE, PLANE_ROWS, STEP_Y, STEP_X, PHASES_Y,
 PHASES_X) = range(10, 28)  # fmt: skip

#: Multiplying everything: rows of codes and how many are in each; addresses of weights and start
#: values; groups of codes in a row of a window; rows of a window; bytes from an output row, a row
#: of a window and an output pixel to the next. What is common with listing weights stands in the
#: same places.
(DENSE_ROWS, DENSE_ROW) = range(10, 12)
(DENSE_WEIGHTS, DENSE_BIAS, DENSE_GROUPS, DENSE_TAP_ROWS, DENSE_STEP_Y) = range(14, 19)
(DENSE_TAP_STEP, DENSE_STEP_X) = range(22, 24)

#: Depthwise: taps, stride, dilation and padding of both directions; addresses of
#: weights, start values and a row of weights that are zero.
(TAPS_Y, STRIDE_Y, DILATION_Y, PAD_Y, TAPS_X, STRIDE_X, DILATION_X, PAD_X, WEIGHTS,
 BIAS, NO_WEIGHTS) = range(10, 21)  # fmt: skip

#: The visit table: addresses of the classes of rows, of columns in the order of their classes, and
#: of where each of these classes begins and the last one ends; numbers of classes; address of MACs.
ROW_CLASS, COLUMN_ORDER, COLUMN_STARTS, ROW_CLASSES, COLUMN_CLASSES, VISIT_MACS = range(28, 34)

#: Addresses of the kernels that requantize and that count; pixels that are requantized in one go.
STORE_KERNEL, COUNT_KERNEL, RUN_PIXELS = range(34, 37)

#: The requantizer: accumulators per pixel; which of `arithmetic.MODES`; zero point; limits; limits
#: of the type, and which of those count as saturation; addresses of scales in both floats,
#: multipliers, shifts, bias that is added late, limits in float32; for the vectors of fixed-point
#: roundings addresses of multipliers, shifts to the left and right, masks of the lanes that round
#: halves away from zero, limits in int32.
(PADDED, MODE, ZERO, LOW, HIGH, TYPE_LOW, TYPE_HIGH, COUNT_LOW, COUNT_HIGH, SCALES32, SCALES64,
 MULTIPLIERS, SHIFTS, LATE_BIAS, FLOAT_LIMITS, MULTIPLIERS32, LEFT32, RIGHT32, AWAY32,
 INT_LIMITS) = range(37, 57)  # fmt: skip

#: Byte offsets of the parts of scratch memory, and its size.
(SUMS_PART, VISITS_PART, POSITIONS_PART, VALUES_PART, STARTS_PART, OFFSETS_PART,
 ACCUMULATORS_PART) = range(57, 64)  # fmt: skip
PLANES_PART, TILE_PART = POSITIONS_PART, VALUES_PART
SCRATCH_BYTES = 64

#: Length of every record.
LENGTH = 65

#: int32 elements of SUMS_PART: five of 16 lanes, then five of 8; see
#: `microkernel_store.store_vectors`.
SUMS = 5 * 16 + 5 * 8

#: ADD: whether codes are unsigned; multipliers, bias and shift; zero point and limits.
(ADD_UNSIGNED, MULTIPLIER_A, MULTIPLIER_B, ADD_BIAS, ADD_SHIFT, ADD_ZERO, ADD_LOW,
 ADD_HIGH) = range(8)  # fmt: skip
#: ADD in fixed point: the same sign, zero point and limits; zero point, factor and shift to the
#: right of both inputs; shift to the left, factor and shift to the right of the sum.
(ZERO_A, FACTOR_A, RIGHT_A, ZERO_B, FACTOR_B, RIGHT_B, SUM_LEFT, SUM_FACTOR,
 SUM_RIGHT) = range(8, 17)  # fmt: skip
#: AVERAGE_POOL_2D: like ADD; sizes, window, strides, padding before, limits.
(POOL_UNSIGNED, POOL_HEIGHT, POOL_WIDTH, POOL_CHANNELS, POOL_OUT_HEIGHT, POOL_OUT_WIDTH, WINDOW_Y,
 WINDOW_X, POOL_STRIDE_Y, POOL_STRIDE_X, POOL_PAD_Y, POOL_PAD_X, POOL_LOW,
 POOL_HIGH) = range(14)  # fmt: skip
#: SOFTMAX: likewise; classes; zero point; whether 1/2 is added and the rest cut off; limits;
#: addresses of float32 exp(-step * d) for d = 0 ... 255 and of the output's scale; or, in fixed
#: point, of exponentials in int32 (-1: too small) and of what they add to the sum.
(SOFTMAX_UNSIGNED, CLASSES, SOFTMAX_ZERO, CUTS, SOFTMAX_LOW, SOFTMAX_HIGH, EXPONENTIALS,
 SOFTMAX_SCALE) = range(8)  # fmt: skip
SUMMANDS = SOFTMAX_SCALE

#: Common forms: address of the table; bytes of an element; elements of the shorter side of a pair.
MOVE_TABLE, ITEM_BYTES, PERIOD = range(3)

#: Kinds of code.
SIGNED, UNSIGNED, WIDE = range(3)
KINDS = ("INT8", "UINT8", "INT16")

#: What a run counts.
EXECUTED, INPUT_ZEROS, OUTPUT_ZEROS, SATURATIONS, LOWEST, HIGHEST = range(6)

#: Shares are compared in units of this.
SHARE = 1 << 16


def make_record(fields: Mapping[int, int]) -> Record:
    """A record of these fields; the others are 0.

    Example:
        >>> record = make_record({HEIGHT: 5, CODE_KIND: WIDE})
        >>> int(record[HEIGHT]), int(record[CODE_KIND]), record.size
        (5, 2, 65)
    """
    record = np.zeros(LENGTH, np.int64)
    for place, value in fields.items():
        record[place] = value
    return record


def share_scratch(sizes: Mapping[int, int]) -> dict[int, int]:
    """Fields for the parts of scratch memory, and its size.

    Args:
        sizes: bytes of each part by its field; each begins on a cache line.

    Example:
        >>> share_scratch({SUMS_PART: 100, VISITS_PART: 4})[SCRATCH_BYTES]
        192
    """
    fields, offset = {}, 0
    for place, size in sizes.items():
        fields[place] = offset
        offset += -(-size // 64) * 64
    return {**fields, SCRATCH_BYTES: offset}
