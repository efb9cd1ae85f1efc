"""Which weights of a kernel may be zero together, and what share of them is."""

from __future__ import annotations

import dataclasses
import re
from typing import Literal

from tfxp.errors import ConfigError

Kind = Literal["weights", "n:m", "blocks", "channels"]
#: Outputs of one block: the accumulators that the interpreter adds to at a time.
BLOCK_OUTPUTS = 16

_N_OF_M = re.compile(r"(\d+):(\d+)")
_EXPECTED = "expected a share such as 0.75, 2:4, blocks:0.75, channels:0.5, or dense"


@dataclasses.dataclass(frozen=True)
class SparsityPattern:
    """What a sparsity map says of one layer.

    - "0.75": three weights in four are zero, anywhere in the kernel.
    - "2:4": of four neighbours along the input axis at most two are not zero.
    - "blocks:0.75": weights of 16 neighbouring outputs, at one tap of one input, are zero together.
    - "channels:0.5": half of the output channels are zero, with their biases.
    - "dense": nothing is done.

    Args:
        kind: "weights", "n:m", "blocks" or "channels".
        share: share of zeros, from 0 to below 1; of "n:m" it is 1 - n/m.
        kept: n of "n:m".
        group: m of "n:m".

    Raises:
        ConfigError: a share outside its range, or an n that is not between 1 and m.

    Example:
        >>> SparsityPattern.parse("2:4").share, str(SparsityPattern.parse("blocks:0.75"))
        (0.5, 'blocks:0.75')
    """

    kind: Kind = "weights"
    share: float = 0.0
    kept: int = 0
    group: int = 0

    def __post_init__(self) -> None:
        if self.kind == "n:m" and not 1 <= self.kept <= self.group:
            raise ConfigError(
                f"sparsity {self.kept}:{self.group}: got {self.kept} weights of {self.group} that "
                f"stay; expected 1 to {self.group}."
            )
        if not 0 <= self.share < 1:
            raise ConfigError(f"share of zeros: got {self.share}; expected 0 to below 1.")

    @classmethod
    def parse(cls, value: str | float) -> SparsityPattern:
        """The inverse of `str`; numbers are shares of weights.

        Raises:
            ConfigError: no pattern.
        """
        text = str(value).strip()
        if text == "dense":
            return cls()
        match = _N_OF_M.fullmatch(text)
        if match is not None:
            kept, group = map(int, match.groups())
            return cls("n:m", 1 - kept / group if group else 0.0, kept, group)
        kind, separated, share = text.rpartition(":")
        try:
            number = float(share)
        except ValueError:
            raise ConfigError(f"sparsity: got {value!r}; {_EXPECTED}.") from None
        if not separated:
            return cls("weights", number)
        if kind == "blocks":
            return cls("blocks", number)
        if kind == "channels":
            return cls("channels", number)
        raise ConfigError(f"sparsity: got {value!r}; {_EXPECTED}.")

    def __str__(self) -> str:
        if self.kind == "n:m":
            return f"{self.kept}:{self.group}"
        if not self.share:
            return "dense"
        return f"{self.share:g}" if self.kind == "weights" else f"{self.kind}:{self.share:g}"

    @property
    def is_dense(self) -> bool:
        """Whether it asks for no zeros."""
        return self.share == 0
