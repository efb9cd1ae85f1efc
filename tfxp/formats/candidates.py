"""What every split of a word length into integer and fractional bits would do to a tensor."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from tfxp.formats.fit import fit_max_abs, sqnr_db
from tfxp.formats.fixed_point import MAX_EXPONENT, FixedPointFormat
from tfxp.formats.parsing import Format
from tfxp.formats.tensor_stats import TensorStats

_MOST_CLIPPED = 0.1


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A format and what it loses.

    Args:
        fmt: the format.
        clipped: share of values beyond its range.
        to_zero: share of values that become zero though they are not.
        sqnr_db: signal to quantization noise ratio; infinite if nothing is lost.
    """

    fmt: Format
    clipped: float
    to_zero: float
    sqnr_db: float

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {**dataclasses.asdict(self), "fmt": str(self.fmt)}


def candidate(stats: TensorStats, fmt: Format) -> Candidate:
    """What one format loses.

    Args:
        stats: of the tensor.
        fmt: the format to try.

    Example:
        >>> import numpy as np
        >>> from tfxp.formats import parse_format
        >>> stats = TensorStats(); stats.update(np.array([0.0, 0.01, 0.5, 3.0]))
        >>> found = candidate(stats, parse_format("Q1.3"))
        >>> found.clipped, found.to_zero
        (0.25, 0.25)
    """
    half = fmt.scale / 2
    inside = 1 - stats.clipped_fraction(-half, half) - stats.zero_fraction
    binary = bool(getattr(fmt, "is_binary", False))
    noise = sqnr_db(stats, fmt) if isinstance(fmt, FixedPointFormat) else float("nan")
    clipped = stats.clipped_fraction(fmt.min - half, fmt.max + half)
    # The histogram does not see into its bins around zero, where bodies far below outliers lie.
    clipped = max(clipped, stats.share_beyond(math.frexp(fmt.max or -fmt.min)[1]))
    return Candidate(fmt, clipped, 0.0 if binary else max(inside, 0.0), noise)


def candidates(stats: TensorStats, bits: int, signed: bool | None = None) -> list[Candidate]:
    """All formats of a word length worth a look, from the one that clips nothing on.

    The list ends where a tenth of the values would clip, or half of those that are not zero.

    Args:
        stats: statistics of the tensor.
        bits: word length, the sign included.
        signed: whether there is a sign; by default where there are negative values.

    Raises:
        FormatError: `bits` is impossible.
        DataError: `stats` is empty.

    Example:
        >>> import numpy as np
        >>> stats = TensorStats(); stats.update(np.linspace(-1, 1, 1001))
        >>> [str(found.fmt) for found in candidates(stats, 4)]
        ['Q1.2', 'Q0.3']
    """
    signed = stats.min < 0 if signed is None else signed
    widest = fit_max_abs(stats, bits, signed)
    found: list[Candidate] = []
    for more in range(MAX_EXPONENT - widest.fractional_bits + 1):
        fmt = FixedPointFormat.of_bits(bits, widest.fractional_bits + more, signed)
        made = candidate(stats, fmt)
        if more and made.clipped > min(_MOST_CLIPPED, (1 - stats.zero_fraction) / 2):
            break
        found.append(made)
    return found
