"""Where a format ends, and the shares of a tensor that lie beyond."""

from __future__ import annotations

from tfxp.formats import Format, TensorStats


def format_edges(fmt: Format) -> tuple[float, float]:
    """Smallest magnitude that does not round to zero, and the largest value."""
    largest = max(abs(fmt.min), abs(fmt.max))
    return min(fmt.scale / 2, largest), largest


def has_no_zero(fmt: Format) -> bool:
    """Whether this is the one grid without a zero code: binary weights."""
    return bool(getattr(fmt, "is_binary", False))


def lost_shares(stats: TensorStats, fmt: Format) -> tuple[float, float]:
    """Share of values that round to zero though they are not, and share that is clipped.

    Example:
        >>> stats = TensorStats()
        >>> stats.update(np.array([0, 0, 0.0625, 0.25, 0.5, 0.75, 0.8, 1.5]))
        >>> lost_shares(stats, tfxp.FixedPointFormat.parse("UQ0.2"))
        (0.125, 0.125)
    """
    small = format_edges(fmt)[0]
    vanished = 1 - stats.clipped_fraction(-small, small) - stats.zero_fraction
    clipped = stats.clipped_fraction(fmt.min - small, fmt.max + small)
    return 0.0 if has_no_zero(fmt) else max(vanished, 0.0), clipped
