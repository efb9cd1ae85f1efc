"""WRPN grids: k bits on [-1, 1] for weights and on [0, 1] for activations."""

from __future__ import annotations

import dataclasses

from tfxp.errors import FormatError

ROLES = ("weights", "activations")
MAX_WRPN_BITS = 16


@dataclasses.dataclass(frozen=True)
class WrpnFormat:
    """The grid that WRPN gives a tensor of k bits.

        weights, k > 1:  code = round((2^(k-1) - 1) * clip(w, -1, 1)),  value = code / (2^(k-1) - 1)
        weights, k = 1:  value = sign(w) * mean|w|   (codes -1 and +1, no zero)
        activations:     code = round((2^k - 1) * clip(a, 0, 1)),       value = code / (2^k - 1)

    k = 2 weights are ternary. Binary weights have the scale mean|w|, which belongs to the tensor,
    not to the format: here `scale` is 1 and the quantizer multiplies by the mean.

    Args:
        bits: k, 1 to 16.
        role: "weights" or "activations".

    Raises:
        FormatError: `bits` or `role` is none of these.

    Example:
        >>> w = WrpnFormat(2, "weights")
        >>> str(w), w.qmin, w.qmax, w.scale
        ('wrpn:2', -1, 1, 1.0)

    References:
        Mishra et al., "WRPN: Wide Reduced-Precision Networks", ICLR 2018, sec. 5.
    """

    bits: int
    role: str = "weights"

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise FormatError(f"role of WRPN format: got {self.role!r}; expected one of {ROLES}.")
        whole = isinstance(self.bits, int) and not isinstance(self.bits, bool)
        if not whole or not 1 <= self.bits <= MAX_WRPN_BITS:
            raise FormatError(
                f"bits of WRPN format: got {self.bits!r}; expected 1 to {MAX_WRPN_BITS}."
            )

    @property
    def signed(self) -> bool:
        """Whether codes may be negative."""
        return self.role == "weights"

    @property
    def is_binary(self) -> bool:
        """Whether this is the grid of sign(w) * mean|w|, which has no zero."""
        return self.signed and self.bits == 1

    @property
    def symmetric(self) -> bool:
        """Whether qmin = -qmax."""
        return self.signed

    @property
    def qmin(self) -> int:
        """Smallest code."""
        return -self.qmax if self.signed else 0

    @property
    def qmax(self) -> int:
        """Largest code."""
        if self.is_binary:
            return 1
        return 2 ** (self.bits - 1) - 1 if self.signed else 2**self.bits - 1

    @property
    def inverse_scale(self) -> float:
        """Codes per unit."""
        return float(self.qmax)

    @property
    def scale(self) -> float:
        """Value of one code step."""
        return 1.0 / self.qmax

    @property
    def min(self) -> float:
        """Smallest value."""
        return -1.0 if self.signed else 0.0

    @property
    def max(self) -> float:
        """Largest value."""
        return 1.0

    def __str__(self) -> str:
        return f"wrpn:{self.bits}"

    def __repr__(self) -> str:
        return f"WrpnFormat({self.bits}, {self.role!r})"
