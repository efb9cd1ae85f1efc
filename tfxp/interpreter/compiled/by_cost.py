"""Each image of a batch the way that is cheaper for it: by its non-zero codes, or all of them."""

from __future__ import annotations

from typing import Any

from tfxp.interpreter.compiled import record as R
from tfxp.interpreter.compiled.counting import code_bytes, prefers_scatter
from tfxp.interpreter.compiled.memory import call, longs_at


def by_cost(image: Any) -> Any:
    """The kernel that computes an image by a function unless it has few codes that are not zero.

    Args:
        image: compiled function of the addresses of an image's codes, its output, the record,
            scratch and counters.
    """

    def kernel(
        x_at: int, y_at: int, out_at: int, images: int, record_at: int, scratch_at: int,
        counts_at: int
    ) -> None:  # fmt: skip
        """A convolution of one group.

        Args: as `scatter.scatter`.
        """
        record = longs_at(record_at)
        size = code_bytes(record)
        codes = size * record[R.HEIGHT] * record[R.WIDTH] * record[R.CHANNELS]
        written = size * record[R.OUT_HEIGHT] * record[R.OUT_WIDTH] * record[R.OUT_CHANNELS]
        for n in range(images):
            image_at, to_at = x_at + n * codes, out_at + n * written
            if prefers_scatter(image_at, record):
                call(record[R.SCATTER_KERNEL], image_at, 0, to_at, 1, record[R.SCATTER_RECORD],
                     scratch_at, counts_at)  # fmt: skip
            else:
                image(image_at, to_at, record_at, scratch_at, counts_at)

    return kernel
