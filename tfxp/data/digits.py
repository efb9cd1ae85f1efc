"""scikit-learn's handwritten digits, which come with the library: nothing is downloaded."""

from __future__ import annotations

import numpy as np

from tfxp.data.dataset import Dataset
from tfxp.errors import DataError

TEST_SAMPLES = 360


def load_digits(split: str) -> Dataset:
    """1,797 images of 8x8 pixels and 10 classes, shuffled once and for all.

    Args:
        split: "train" (1,437 images) or "test" (360).

    Returns:
        float32 inputs (n, 8, 8, 1) from 0 to 1 in steps of 1/16, and class numbers.

    Raises:
        DataError: another split.

    Example:
        >>> load_digits("test").x.shape
        (360, 8, 8, 1)

    References:
        Alpaydin and Kaynak, "Optical recognition of handwritten digits", UCI repository, 1998.
    """
    from sklearn import datasets  # takes a second, and most tools never want it

    if split not in ("train", "test"):
        raise DataError(f"split of digits: got {split!r}; expected train or test.")
    bunch = datasets.load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    chosen = order[TEST_SAMPLES:] if split == "train" else order[:TEST_SAMPLES]
    x = (bunch.images[chosen, :, :, np.newaxis] / 16).astype(np.float32)
    return Dataset(x, bunch.target[chosen].astype(np.int64), f"digits ({split})")
