"""Values of flags that take lists of name:value, numbers in text, or files of numbers."""

from __future__ import annotations

import json

from absl import flags

from tfxp.errors import ConfigError


def pairs(flag: flags.FlagHolder) -> dict[str, str]:
    """The name:value items of a list flag.

    Raises:
        ConfigError: an item without a colon or a value.
    """
    result = {}
    for item in flag.value:
        name, colon, value = item.partition(":")
        if not colon or not value:
            raise ConfigError(f"--{flag.name}: got {item!r}; expected name:value.")
        result[name] = value
    return result


def whole_number(flag: flags.FlagHolder, text: str) -> int:
    """A whole number inside a flag's value.

    Raises:
        ConfigError: it is none.
    """
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"--{flag.name}: got {text!r}; expected a whole number.") from None


def real_number(flag: flags.FlagHolder) -> float:
    """The number that a text flag holds.

    Raises:
        ConfigError: it holds none.
    """
    try:
        return float(flag.value)
    except ValueError:
        raise ConfigError(f"--{flag.name}: got {flag.value!r}; expected a number.") from None


def numbers_file(flag: flags.FlagHolder) -> dict[str, float]:
    """Name -> number from the .json file that a flag names.

    Raises:
        ConfigError: there is no such file, or it holds something else.
    """
    try:
        with open(flag.value, encoding="utf-8") as file:
            return {str(name): float(value) for name, value in json.load(file).items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"--{flag.name}: {error}; expected a .json of name: number.") from None
