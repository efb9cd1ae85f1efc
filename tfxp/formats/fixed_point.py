"""Fixed point: integer codes times a power of two."""

from __future__ import annotations

import dataclasses
import re

from tfxp.errors import FormatError

MAX_BITS = 32
MAX_EXPONENT = 64
_PATTERN = re.compile(r"(U?)Q(-?[0-9]{1,4})\.(-?[0-9]{1,4})(s?)")


@dataclasses.dataclass(frozen=True)
class FixedPointFormat:
    """Fixed-point format Qm.f: m integer bits, f fractional bits and, if signed, one sign bit.

        value = code * 2^-f,    code in [qmin, qmax]
        Qm.f    signed:    [-2^(m+f), 2^(m+f) - 1],  word length 1 + m + f
        Qm.fs   symmetric: the most negative code is left out (ADaPTION's range)
        UQm.f   unsigned:  [0, 2^(m+f) - 1],         word length m + f

    m and f may be negative: Q-2.9 has 8 bits and spans [-1/4, 1/4).

    Args:
        integer_bits: m, bits before the binary point, the sign bit not counted.
        fractional_bits: f, bits after the binary point.
        signed: whether one more bit is spent on the sign.
        symmetric: whether the most negative code is unused; signed formats only.

    Raises:
        FormatError: the word length is outside 1 to 32 bits, m or f beyond +-64, a symmetric
            format is unsigned or has one bit only (its only code would be zero).

    Example:
        >>> q = FixedPointFormat(2, 5)
        >>> str(q), q.bits, q.scale, q.min, q.max
        ('Q2.5', 8, 0.03125, -4.0, 3.96875)

    References:
        The word "Qm.f" is used in two ways; ADaPTION (Milde et al., 2017) counts the sign bit in
        m. `parse(text, sign_in_m=True)` and `adaption_name` convert.
    """

    integer_bits: int
    fractional_bits: int
    signed: bool = True
    symmetric: bool = False

    def __post_init__(self) -> None:
        for name in ("integer_bits", "fractional_bits"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MAX_EXPONENT:
                raise FormatError(
                    f"{name} of fixed-point format: got {value!r}; "
                    f"expected an integer from -{MAX_EXPONENT} to {MAX_EXPONENT}."
                )
        if not 1 <= self.bits <= MAX_BITS:
            raise FormatError(
                f"word length of {self}: got {self.bits} bits; expected 1 to {MAX_BITS}. "
                "Change m or f."
            )
        if self.symmetric and (not self.signed or self.bits < 2):
            raise FormatError(
                f"symmetric range of {self}: got {'signed' if self.signed else 'unsigned'}, "
                f"{self.bits} bits; expected a signed format of at least 2 bits."
            )

    @classmethod
    def of_bits(
        cls, bits: int, fractional_bits: int, signed: bool = True, symmetric: bool = False
    ) -> FixedPointFormat:
        """The format of a word length and a number of fractional bits.

        Example:
            >>> str(FixedPointFormat.of_bits(8, 7)), str(FixedPointFormat.of_bits(4, 2, False))
            ('Q0.7', 'UQ2.2')
        """
        return cls(bits - fractional_bits - int(signed), fractional_bits, signed, symmetric)

    @classmethod
    def parse(cls, text: str, sign_in_m: bool = False) -> FixedPointFormat:
        """Read "Q2.5", "UQ2.4", "Q0.3s" or "Q-2.9"; the inverse of `str`.

        Args:
            text: the format's name.
            sign_in_m: whether m counts the sign bit, as in ADaPTION.

        Raises:
            FormatError: the text is no such name, or names an impossible format.

        Example:
            >>> FixedPointFormat.parse("Q1.7", sign_in_m=True)
            FixedPointFormat('Q0.7')
        """
        match = _PATTERN.fullmatch(text.strip())
        if match is None:
            raise FormatError(
                f"fixed-point format: got {text!r}; expected Qm.f, Qm.fs (symmetric) or UQm.f, "
                "such as 'Q2.5', 'Q0.3s', 'UQ2.4' or 'Q-2.9'."
            )
        unsigned, m, f, symmetric = match.groups()
        signed = not unsigned
        return cls(int(m) - int(sign_in_m and signed), int(f), signed, bool(symmetric))

    @property
    def bits(self) -> int:
        """Word length in bits, the sign bit included."""
        return self.integer_bits + self.fractional_bits + int(self.signed)

    @property
    def scale(self) -> float:
        """Value of one code step (the resolution), 2^-f."""
        return 2.0**-self.fractional_bits

    @property
    def inverse_scale(self) -> float:
        """Codes per unit, 2^f."""
        return 2.0**self.fractional_bits

    @property
    def qmin(self) -> int:
        """Smallest code."""
        if not self.signed:
            return 0
        return -(2 ** (self.bits - 1)) + int(self.symmetric)

    @property
    def qmax(self) -> int:
        """Largest code."""
        return 2 ** (self.bits - int(self.signed)) - 1

    @property
    def min(self) -> float:
        """Smallest value."""
        return self.qmin * self.scale

    @property
    def max(self) -> float:
        """Largest value."""
        return self.qmax * self.scale

    @property
    def adaption_name(self) -> str:
        """The same format with the sign bit counted in m, as ADaPTION writes it."""
        prefix = "Q" if self.signed else "UQ"
        return f"{prefix}{self.integer_bits + int(self.signed)}.{self.fractional_bits}"

    def __str__(self) -> str:
        prefix = "Q" if self.signed else "UQ"
        suffix = "s" if self.symmetric else ""
        return f"{prefix}{self.integer_bits}.{self.fractional_bits}{suffix}"

    def __repr__(self) -> str:
        return f"FixedPointFormat({str(self)!r})"
