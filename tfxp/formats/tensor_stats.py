"""What one pass over a tensor's values leaves behind: enough to choose its format."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np

from tfxp.errors import DataError

BINS = 8192
_LOWEST_EXPONENT = -126
_LARGEST = float(np.finfo(np.float32).max)
LOG2_LOW, LOG2_HIGH = -40, 40
_PART = 2**18
_HISTOGRAM = ("counts", "offsets", "squares")


class TensorStats:
    """Streaming statistics of a tensor, in bounded memory, mergeable.

    Holds count, zeros, minimum, maximum, the first four power sums, a histogram of 8192 equal
    bins over [-2^e, 2^e) with the smallest e that holds the data (as e grows, neighbouring bins
    are added, so nothing is lost), the mean and the variance of the values in every bin, and a
    histogram of floor(log2|x|).

    As long as every bin holds one distinct float32 value (integer data, values on a grid) all
    figures drawn from it are exact. Otherwise percentiles are off by less than one bin, 2^(e-12),
    and shares by what lies in the bins of the limits.

    Raises:
        DataError: a figure is asked for before there are values.

    Example:
        >>> stats = TensorStats()
        >>> stats.update(np.array([0.0, 0.5, -1.0]))
        >>> stats.count, stats.min, stats.max, stats.zero_fraction
        (3, -1.0, 0.5, 0.3333333333333333)
    """

    def __init__(self) -> None:
        self.count = 0
        self.zeros = 0
        self.min = np.inf
        self.max = -np.inf
        self.power_sums = np.zeros(4)
        self.exponent = _LOWEST_EXPONENT
        self.counts = np.zeros(BINS, np.int64)
        # Sums of x - a and of (x - a)^2, a being the lower edge of the value's bin.
        self.offsets = np.zeros(BINS)
        self.squares = np.zeros(BINS)
        self.log2_counts = np.zeros(LOG2_HIGH - LOG2_LOW, np.int64)

    def update(self, values: np.ndarray) -> None:
        """Add an array of any shape.

        Raises:
            DataError: a value is NaN, infinite, or beyond float32.
        """
        x = np.asarray(values).ravel()
        if x.size == 0:
            return
        low, high = float(x.min()), float(x.max())
        if not (low >= -_LARGEST and high <= _LARGEST):
            bad = int((~(np.abs(x.astype(np.float64)) <= _LARGEST)).sum())
            raise DataError(
                f"values: got {bad} of {x.size} that are NaN or infinite; expected finite numbers "
                "(of float32)."
            )
        self._grow(max(-low, high))
        self.count += x.size
        self.min, self.max = min(self.min, low), max(self.max, high)
        for start in range(0, x.size, _PART):  # temporaries of bounded size
            self._add(x[start : start + _PART].astype(np.float64))

    def _add(self, x: np.ndarray) -> None:
        square = x * x
        self.power_sums += (x.sum(), square.sum(), (square * x).sum(), (square * square).sum())
        self._add_to_bins(x)

    @property
    def bin_width(self) -> float:
        """Width of one bin of the histogram, 2^(e-12)."""
        return 2.0 ** (self.exponent - 12)

    def _grow(self, magnitude: float) -> None:
        """Widen the bins until they hold +-magnitude."""
        if magnitude == 0:
            return
        exponent = max(int(np.frexp(magnitude)[1]), _LOWEST_EXPONENT)
        if self.zeros == self.count:  # zero lies at the edge of the same bin for every e
            self.exponent = exponent
        while self.exponent < exponent:
            self._double_bins()

    def _double_bins(self) -> None:
        # An odd bin's values move to a bin whose lower edge is one (old) bin width further off.
        width, middle = self.bin_width, slice(BINS // 4, -BINS // 4)
        even, odd = slice(0, None, 2), slice(1, None, 2)
        counts, offsets, squares = self.counts, self.offsets, self.squares
        self.counts, self.offsets, self.squares = (np.zeros_like(counts), *np.zeros((2, BINS)))
        self.counts[middle] = counts[even] + counts[odd]
        moved = offsets[odd] + width * counts[odd]
        self.offsets[middle] = offsets[even] + moved
        self.squares[middle] = squares[even] + squares[odd] + width * (offsets[odd] + moved)
        self.exponent += 1

    def _add_to_bins(self, x: np.ndarray) -> None:
        zeros = x.size - int(np.count_nonzero(x))
        if zeros:  # they add nothing to the sums, and a ReLU makes many
            x = x[x != 0]
        self.zeros += zeros
        self.counts[BINS // 2] += zeros
        lower = np.floor(x * (1 / self.bin_width))  # powers of two: exact
        index = lower.astype(np.int64) + BINS // 2
        lower *= self.bin_width
        offset = x - lower
        self.counts += np.bincount(index, minlength=BINS)
        self.offsets += np.bincount(index, weights=offset, minlength=BINS)
        self.squares += np.bincount(index, weights=offset * offset, minlength=BINS)
        exponents = (x.view(np.int64) >> 52 & 0x7FF) - 1023 - LOG2_LOW
        np.clip(exponents, 0, self.log2_counts.size - 1, out=exponents)
        self.log2_counts += np.bincount(exponents, minlength=self.log2_counts.size)

    def merge(self, other: TensorStats) -> TensorStats:
        """The statistics of both tensors' values together, as a new object."""
        result, addend = self.copy(), other.copy()
        result._grow(2.0**addend.exponent * (1 - 2.0**-53))
        addend._grow(2.0**result.exponent * (1 - 2.0**-53))
        for name in ("count", "zeros", "power_sums", "log2_counts", *_HISTOGRAM):
            setattr(result, name, getattr(result, name) + getattr(addend, name))
        result.min, result.max = min(self.min, other.min), max(self.max, other.max)
        return result

    def copy(self) -> TensorStats:
        """An independent copy."""
        result = TensorStats()
        for name, value in vars(self).items():
            setattr(result, name, value.copy() if isinstance(value, np.ndarray) else value)
        return result

    @property
    def max_abs(self) -> float:
        """Largest magnitude."""
        self._require_data()
        return max(abs(self.min), abs(self.max))

    @property
    def mean(self) -> float:
        """Mean of the values."""
        self._require_data()
        return float(self.power_sums[0] / self.count)

    @property
    def std(self) -> float:
        """Standard deviation (of the population)."""
        return float(np.sqrt(self._central_moment(2)))

    @property
    def kurtosis(self) -> float:
        """Fourth central moment over the squared variance; 3 for a Gaussian, 0 if constant."""
        variance = self._central_moment(2)
        return self._central_moment(4) / variance**2 if variance > 0 else 0.0

    @property
    def power(self) -> float:
        """Mean square, the signal power of SQNR."""
        self._require_data()
        return float(self.power_sums[1] / self.count)

    @property
    def zero_fraction(self) -> float:
        """Share of exact zeros."""
        self._require_data()
        return self.zeros / self.count

    def _central_moment(self, order: int) -> float:
        self._require_data()
        m1, m2, m3, m4 = self.power_sums / self.count
        if order == 2:
            return float(max(m2 - m1**2, 0.0))
        return float(max(m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4, 0.0))

    def share_beyond(self, exponent: int) -> float:
        """Share of the values with |x| >= 2^exponent; exact from 2^-40 to 2^40."""
        self._require_data()
        return float(self.log2_counts[max(exponent - LOG2_LOW, 0) :].sum() / self.count)

    @property
    def negative_fraction(self) -> float:
        """Share of the values below zero."""
        self._require_data()
        return float(self.counts[: BINS // 2].sum() / self.count)

    def bin_values(self) -> tuple[np.ndarray, np.ndarray]:
        """The mean value of every occupied bin, ascending, and how many values it stands for.

        Exact zeros are a bin of their own: a ReLU makes many, and every format holds them.
        """
        counts, offsets, _, lower = self._occupied()
        return np.clip(lower + offsets / counts, self.min, self.max), counts

    def bin_variances(self) -> np.ndarray:
        """Variance of the values in every bin of `bin_values`; 0 where they are all equal."""
        counts, offsets, squares, _ = self._occupied()
        variances = squares / counts - (offsets / counts) ** 2
        # What is below the rounding error of the sums is nothing.
        return np.where(variances > 1e-12 * self.bin_width**2, variances, 0.0)

    def _occupied(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        self._require_data()
        middle, lower = BINS // 2, np.arange(BINS) - BINS // 2
        columns = np.stack([self.counts, self.offsets, self.squares, lower * self.bin_width])
        if self.zeros:  # they added nothing to the sums
            columns[0, middle] -= self.zeros
            columns = np.insert(columns, middle, [self.zeros, 0.0, 0.0, 0.0], axis=1)
        counts, offsets, squares, lower = columns[:, columns[0] > 0]
        return counts.astype(np.int64), offsets, squares, lower

    def percentile(self, q: float) -> float:
        """The q-th percentile: the smallest value that at least q % of the values do not exceed.

        To within one bin; 0 and 100 are exact.
        """
        values, counts = self.bin_values()
        if q <= 0 or q >= 100:
            return self.min if q <= 0 else self.max
        rank = np.searchsorted(np.cumsum(counts), q * self.count / 100)
        return float(values[min(int(rank), values.size - 1)])

    def clipped_fraction(self, low: float, high: float) -> float:
        """Share of values outside [low, high], both tails."""
        values, counts = self.bin_values()
        return float(counts[(values < low) | (values > high)].sum() / self.count)

    def to_dict(self) -> dict[str, Any]:
        """JSON form; `from_dict` is the inverse."""
        packed = {name: _pack(getattr(self, name)) for name in _HISTOGRAM}
        return {
            "count": self.count,
            "zeros": self.zeros,
            "min": self.min if self.count else None,
            "max": self.max if self.count else None,
            "power_sums": self.power_sums.tolist(),
            "exponent": self.exponent,
            "log2_counts": self.log2_counts.tolist(),
            **packed,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> TensorStats:
        """Statistics from their JSON form.

        Raises:
            DataError: a field is missing or broken.
        """
        result = cls()
        try:
            result.count, result.zeros = int(data["count"]), int(data["zeros"])
            if result.count:
                result.min, result.max = float(data["min"]), float(data["max"])
            result.power_sums = np.array(data["power_sums"], np.float64).reshape(4)
            result.exponent = int(data["exponent"])
            result.log2_counts[:] = np.array(data["log2_counts"], np.int64)
            result.counts = _unpack(data["counts"], np.dtype(np.int64))
            result.offsets = _unpack(data["offsets"], np.dtype(np.float64))
            result.squares = _unpack(data["squares"], np.dtype(np.float64))
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            raise DataError(f"tensor statistics: {error!r}. Measure the model again.") from error
        return result

    def _require_data(self) -> None:
        if self.count == 0:
            raise DataError("tensor statistics: got no values; expected at least one.")


def _pack(array: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(array.tobytes())).decode("ascii")


def _unpack(text: str, dtype: np.dtype[Any]) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype).reshape(BINS).copy()
