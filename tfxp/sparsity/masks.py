"""Masks: which weights of a kernel stay, by their magnitudes."""

from __future__ import annotations

import numpy as np

from tfxp.sparsity.pattern import BLOCK_OUTPUTS, SparsityPattern


def make_mask(
    kernel: np.ndarray, pattern: SparsityPattern | str, share: float | None = None
) -> np.ndarray:
    """The weights that stay: the largest ones that a pattern allows.

    With z the share of zeros, and s = |w| / (root mean square of the output channel's weights) as
    score, since channels into which BatchNormalization was folded differ by orders of magnitude,

        weights    the round(z N) smallest of N weights go
        n:m        of every m neighbours along the input axis the n largest stay; of a last group of
                   r < m, ceil(n r / m)
        blocks     16 outputs at one (tap, input) are scored by their mean; the smallest
                   round(z blocks) go
        channels   output channels are scored by the mean of |w|; the smallest round(z channels)
                   go, but never all

    Ties go in the kernel's order, so equal kernels have equal masks.

    Args:
        kernel: (taps, inputs, outputs), as `Prunable.arranged` gives it. A depthwise kernel is
            (1, taps, outputs): its input axis is that of its taps.
        pattern: what may be zero together.
        share: another share of zeros than the pattern's, on the way to it; "n:m" has its own.

    Returns:
        bool, of the kernel's shape; True stays.

    Example:
        >>> kernel = np.array([4.0, 1, -3, 2]).reshape(1, 4, 1)
        >>> make_mask(kernel, "2:4").ravel().tolist()
        [True, False, True, False]
        >>> make_mask(kernel, "0.75").ravel().tolist()
        [True, False, False, False]

    References:
        Magnitudes: Zhu and Gupta, "To prune, or not to prune", ICLR workshop 2018. 2:4: Mishra et
        al., "Accelerating Sparse Deep Neural Networks", 2021. Departs from them: magnitudes are
        relative to their channel's, and groups need not divide the axis.
    """
    pattern = SparsityPattern.parse(pattern) if isinstance(pattern, str) else pattern
    size = np.abs(kernel)
    wanted = pattern.share if share is None else share
    if pattern.kind == "n:m":
        return _n_of_m(size, pattern.kept, pattern.group)
    if pattern.kind == "channels":
        scores = size.mean((0, 1))
        count = min(round(wanted * scores.size), scores.size - 1)
        return np.broadcast_to(_without_smallest(scores, count), kernel.shape).copy()
    spread = np.sqrt(np.square(size).mean((0, 1), keepdims=True))
    scores = size / np.where(spread > 0, spread, 1.0)
    if pattern.kind == "blocks":
        return _blocks(scores, wanted)
    return _without_smallest(scores, round(wanted * size.size))


def _without_smallest(scores: np.ndarray, count: int) -> np.ndarray:
    keep = np.ones(scores.size, bool)
    keep[np.argsort(scores, axis=None, kind="stable")[:count]] = False
    return keep.reshape(scores.shape)


def _n_of_m(size: np.ndarray, kept: int, group: int) -> np.ndarray:
    keep = np.zeros(size.shape, bool)
    for start in range(0, size.shape[1], group):
        part = size[:, start : start + group]
        count = -(-kept * part.shape[1] // group)
        order = np.argsort(-part, axis=1, kind="stable")[:, :count]
        np.put_along_axis(keep[:, start : start + group], order, True, axis=1)
    return keep


def _blocks(size: np.ndarray, share: float) -> np.ndarray:
    starts = np.arange(0, size.shape[2], BLOCK_OUTPUTS)
    lengths = np.diff([*starts, size.shape[2]])
    scores = np.add.reduceat(size, starts, axis=2) / lengths
    keep = _without_smallest(scores, round(share * scores.size))
    return np.repeat(keep, lengths, axis=2)
