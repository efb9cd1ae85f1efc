"""Which layer gets how many zeros, and in which pattern: the companion of a precision map."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from tfxp.errors import ConfigError, check_fields
from tfxp.files import read_json, write_text
from tfxp.precision.selectors import check_rule_keys, rule_targets
from tfxp.sparsity.pattern import SparsityPattern

SCHEMA = 1
_PROVENANCE = ("description", "reference", "command", "expected")


@dataclasses.dataclass(frozen=True)
class SparsityMap:
    """The pattern of zeros of each layer's kernel.

    Keys of `layers` are those of a `PrecisionMap`: layer names, selectors such as `@first`, or
    patterns that must match a whole name. Rules are applied in order; the last match wins.

    Args:
        default: what holds where no rule says anything else.
        layers: patterns by layer name, selector or pattern of names.
        provenance: `description`, `reference`, `command`, `expected`: where a map comes from.

    Raises:
        ConfigError: no such pattern of zeros.
        PrecisionError: an unknown selector, or a key that is no pattern.

    Example:
        >>> zeros = SparsityMap.parse("0.75").updated({"@first": "dense"})
        >>> zeros.to_dict()
        {'schema': 1, 'default': '0.75', 'layers': {'@first': 'dense'}}
    """

    default: SparsityPattern = SparsityPattern()
    layers: Mapping[str, SparsityPattern] = dataclasses.field(default_factory=dict)
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        check_rule_keys(self.layers)

    @classmethod
    def of(cls, value: SparsityMap | str | float) -> SparsityMap:
        """A map as it is, or from a shorthand."""
        return value if isinstance(value, SparsityMap) else cls.parse(str(value))

    @classmethod
    def parse(cls, text: str) -> SparsityMap:
        """A map from a pattern for all layers, or from a JSON file.

        "0.75e" leaves the edges dense: the first and the last layers with weights.

        Raises:
            ConfigError: neither a pattern nor a readable file.
        """
        if text.endswith(".json") or os.path.exists(text):
            return cls.load(text)
        if not text.endswith("e") or text == "dense":
            return cls(SparsityPattern.parse(text))
        edges = dict.fromkeys(("@first", "@last"), SparsityPattern())
        return cls(SparsityPattern.parse(text.removesuffix("e")), edges)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SparsityMap:
        """Read a JSON file.

        Raises:
            ConfigError: the file is missing, is no JSON, or is no sparsity map.
        """
        return cls.from_dict(read_json(path, "sparsity map"), os.fspath(path))

    @classmethod
    def from_dict(cls, data: dict[str, Any], where: str = "sparsity map") -> SparsityMap:
        """From its JSON form.

        Raises:
            ConfigError: wrong schema, unknown field, or an impossible value.
        """
        check_fields(where, data, ["schema", "default", "layers", *_PROVENANCE])
        if data.get("schema") != SCHEMA:
            raise ConfigError(f"schema of {where}: got {data.get('schema')!r}; expected {SCHEMA}.")
        rules = data.get("layers", {})
        if not isinstance(rules, dict):
            raise ConfigError(f"layers of {where}: got {rules!r}; expected an object.")
        return cls(
            SparsityPattern.parse(data.get("default", "dense")),
            {key: SparsityPattern.parse(value) for key, value in rules.items()},
            {key: data[key] for key in _PROVENANCE if key in data},
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON form; `from_dict` is the inverse."""
        return {
            "schema": SCHEMA,
            **self.provenance,
            "default": str(self.default),
            "layers": {key: str(pattern) for key, pattern in self.layers.items()},
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a JSON file, whole or not at all."""
        write_text(path, json.dumps(self.to_dict(), indent=2) + "\n")

    def updated(self, layers: Mapping[str, SparsityPattern | str | float]) -> SparsityMap:
        """This map with more rules behind its own, so that they win."""
        merged = {key: rule for key, rule in self.layers.items() if key not in layers}
        for key, value in layers.items():
            pattern = value if isinstance(value, SparsityPattern) else SparsityPattern.parse(value)
            merged[key] = pattern
        return dataclasses.replace(self, layers=merged)

    def resolve(
        self,
        names: Iterable[str],
        aliases: Mapping[str, str] | None = None,
        selected: Mapping[str, Iterable[str]] | None = None,
    ) -> dict[str, SparsityPattern]:
        """The pattern of every layer.

        Args:
            names: the layers that can be pruned.
            aliases: folded layer -> the layer it went into.
            selected: selector -> the layers it stands for.

        Raises:
            PrecisionError: a rule matches no layer; all such rules are named.
        """
        names = list(names)
        result = {name: self.default for name in names}
        targets = rule_targets(self.layers, "sparsity map", names, aliases or {}, selected or {})
        for key, pattern in self.layers.items():
            result.update(dict.fromkeys(targets[key], pattern))
        return result
