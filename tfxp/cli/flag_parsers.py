"""What absl's flags cannot read by themselves: fractions, and choices that can be left out."""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags


class FractionParser(flags.ArgumentParser):
    """Reads 0.5, 1e-3 and 1/255."""

    syntactic_help = "a number, or a fraction such as 1/255"

    def parse(self, argument: object) -> float:
        """The number.

        Raises:
            ValueError: it is none, or not finite.
        """
        numerator, slash, denominator = str(argument).partition("/")
        try:
            value = float(numerator) / float(denominator) if slash else float(numerator)
        except (ValueError, ZeroDivisionError):
            value = float("nan")
        if not abs(value) < float("inf"):
            raise ValueError(f"got {argument!r}; expected {self.syntactic_help}")
        return value

    def flag_type(self) -> str:
        """What absl calls this kind of flag."""
        return "number"


class ChoiceOrNoneParser(flags.EnumParser):
    """Reads one of several words; what a boolean flag takes stands for the default and for none."""

    def __init__(self, choices: Sequence[str], default: str) -> None:
        super().__init__(list(choices))
        self._default = default

    def parse(self, argument: object) -> str:
        """The word, or "none".

        Raises:
            ValueError: no such word.
        """
        if str(argument).lower() in ("false", "f", "0", "none", "no"):
            return "none"
        if str(argument).lower() in ("true", "t", "1", "yes"):
            return self._default
        return str(super().parse(argument))
