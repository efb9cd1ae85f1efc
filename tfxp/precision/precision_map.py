"""Which tensor gets which format: the object that every part of tfxp hands to the next."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from tfxp.errors import PrecisionError, check_fields, check_kind
from tfxp.files import read_json, write_text
from tfxp.precision.layer_precision import FLOAT, LayerPrecision
from tfxp.precision.selectors import KEPT, KEPT_BITS, check_rule_keys, rule_targets

SCHEMA = 1
_SHORTHAND = re.compile(r"w(\d+|f)a(\d+|f)(?:e(\d+))?(?:s(\d+))?(c?)")
_PROVENANCE = ("description", "reference", "command", "expected")


@dataclasses.dataclass(frozen=True)
class PrecisionMap:
    """Which precision each tensor of a network gets.

    Keys of `layers` are layer names, selectors (`@inputs`, `@outputs`, `@first`, `@last`,
    `@norms`, `@means`, `@addends`) or regular expressions that must match a whole name; rules are
    applied in order, the last match wins, field by field. A layer that was folded into another (a
    BatchNormalization, a ReLU) may be named too: what is said of it holds for the layer it went
    into.

    What enters and leaves the network (images, logits) lies between no two layers, nor does what a
    layer normalization computes on its way, and a mean over a whole axis is one value of many:
    where the default gives activations fewer than 8 bits, these tensors get 8 all the same. A rule
    for them, such as {"@inputs": {"activations": 4}}, changes that.

    Args:
        default: what holds where no rule says anything else.
        layers: rules by layer name, selector or pattern.
        rounding: "portable", "engine" or a rounding mode, for all layers that name none; None
            stands for "portable" in new models, and leaves that of others as it is.
        provenance: `description`, `reference`, `command`, `expected`: where a map comes from.

    Raises:
        PrecisionError: no rounding mode of that name, or formats that cannot be.

    Example:
        >>> pmap = PrecisionMap.uniform(4, 6)
        >>> pmap.to_dict()["default"]
        {'weights': 4, 'activations': 6}
    """

    default: LayerPrecision = LayerPrecision(weights=8, activations=8)
    layers: Mapping[str, LayerPrecision] = dataclasses.field(default_factory=dict)
    rounding: str | None = None
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.rounding, str | None):
            raise PrecisionError(f"rounding: got {self.rounding!r}; expected a rounding mode.")
        LayerPrecision(rounding=self.rounding)  # says what is wrong with the mode
        filled = LayerPrecision(weights=8, activations=8).updated(self.default)
        object.__setattr__(self, "default", filled)
        check_rule_keys(self.layers)

    @classmethod
    def uniform(
        cls,
        weights: int | str,
        activations: int | str,
        edge_bits: int | None = None,
        per_channel: bool | None = None,
        addend_bits: int | None = None,
    ) -> PrecisionMap:
        """The same precision in every layer.

        Args:
            weights: bits, a format name, or "float".
            activations: bits, a format name, or "float".
            edge_bits: bits of the first and last layer with weights and of the input and output
                tensors, where they differ.
            per_channel: whether every output channel's kernel has its own fractional bits.
            addend_bits: bits of tensors that are only added up, never multiplied, such as the two
                branches of a residual block, where they differ.
        """
        edges: dict[str, LayerPrecision] = {}
        if addend_bits is not None:
            edges["@addends"] = LayerPrecision(activations=addend_bits)
        if edge_bits is not None:
            whole = LayerPrecision(weights=edge_bits, activations=edge_bits)
            edges |= {
                "@inputs": LayerPrecision(activations=edge_bits),
                "@first": LayerPrecision(weights=edge_bits),
                "@last": whole,
                "@outputs": LayerPrecision(activations=edge_bits),
            }
        default = LayerPrecision(weights, activations, per_channel=per_channel)
        return cls(default, edges)

    @classmethod
    def of(cls, precision: PrecisionMap | str) -> PrecisionMap:
        """The map itself, or what `parse` makes of a text.

        Raises:
            PrecisionError: neither a map nor a text, or a text that cannot be read.

        Example:
            >>> PrecisionMap.of("w2a4") == PrecisionMap.of(PrecisionMap.parse("w2a4"))
            True
        """
        if isinstance(precision, str):
            return cls.parse(precision)
        expected = "a tfxp.PrecisionMap or a shorthand such as 'w8a8'"
        check_kind(precision, PrecisionMap, "precision", expected, PrecisionError)
        return precision

    @classmethod
    def parse(cls, text: str) -> PrecisionMap:
        """A map from a shorthand or a JSON file.

        "w4a6" is uniform; "w4a6e8" keeps the network's edges (input, first and last layer,
        output) at 8 bits; "w4a4s8" what is only added up, never multiplied (the branches of
        residual blocks); "w6a6c" has per-channel weights; "f" for bits means float.

        Raises:
            PrecisionError: neither a shorthand nor a readable file.

        Example:
            >>> PrecisionMap.parse("w2a4").default.weights
            2
        """
        match = _SHORTHAND.fullmatch(text)
        if match is None:
            if text.endswith(".json") or os.path.exists(text):
                return cls.load(text)
            raise PrecisionError(
                f"precision: got {text!r}; expected a shorthand such as w8a8, w4a4e8 or w6a6c, "
                "or the path of a precision map (.json)."
            )
        w, a, *widths, channel = match.groups()
        bits = ["float" if value == "f" else int(value) for value in (w, a)]
        edge, addend = (int(value) if value else None for value in widths)
        return cls.uniform(bits[0], bits[1], edge, bool(channel) or None, addend)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PrecisionMap:
        """Read a JSON file.

        Raises:
            PrecisionError: the file is missing, is no JSON, or is no precision map.
        """
        return cls.from_dict(read_json(path, "precision map", PrecisionError), os.fspath(path))

    @classmethod
    def from_dict(cls, data: dict[str, Any], where: str = "precision map") -> PrecisionMap:
        """From its JSON form.

        Raises:
            PrecisionError: wrong schema, unknown field, or an impossible value.
        """
        known = ["schema", "default", "layers", "rounding", *_PROVENANCE]
        check_fields(where, data, known, PrecisionError)
        if data.get("schema") != SCHEMA:
            raise PrecisionError(
                f"schema of {where}: got {data.get('schema')!r}; expected {SCHEMA}."
            )
        rules = data.get("layers", {})
        if not isinstance(rules, dict):
            raise PrecisionError(f"layers of {where}: got {rules!r}; expected an object.")
        return cls(
            LayerPrecision.from_dict(data.get("default", {}), f"default of {where}"),
            {k: LayerPrecision.from_dict(v, f"layer {k!r} of {where}") for k, v in rules.items()},
            data.get("rounding"),
            {key: data[key] for key in _PROVENANCE if key in data},
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON form; `from_dict` is the inverse."""
        return {
            "schema": SCHEMA,
            **self.provenance,
            **({"rounding": self.rounding} if self.rounding else {}),
            "default": self.default.to_dict(),
            "layers": {key: rule.to_dict() for key, rule in self.layers.items()},
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a JSON file, whole or not at all."""
        write_text(path, json.dumps(self.to_dict(), indent=2) + "\n")

    def updated(self, layers: Mapping[str, LayerPrecision]) -> PrecisionMap:
        """This map with more rules behind its own, so that they win."""
        merged = {key: rule for key, rule in self.layers.items() if key not in layers}
        return dataclasses.replace(self, layers={**merged, **layers})

    def completed(self, bits: int, per_channel: bool = True) -> PrecisionMap:
        """This map with `bits` wherever it says "float", so that all can become integers.

        Args:
            bits: bits of every tensor that was left in float.
            per_channel: whether every output channel of those kernels has its own format.

        Example:
            >>> PrecisionMap.parse("wfa4").completed(8).default.to_dict()
            {'weights': 8, 'activations': 4, 'per_channel': True}
        """

        def filled(rule: LayerPrecision) -> LayerPrecision:
            changes: dict[str, Any] = {}
            if rule.weights == FLOAT:
                changes = {"weights": bits, "per_channel": per_channel}
            if rule.activations == FLOAT:
                changes["activations"] = bits
            return dataclasses.replace(rule, **changes)

        rules = {key: filled(rule) for key, rule in self.layers.items()}
        return dataclasses.replace(self, default=filled(self.default), layers=rules)

    def resolve(
        self,
        names: Iterable[str],
        aliases: Mapping[str, str] | None = None,
        selected: Mapping[str, Iterable[str]] | None = None,
    ) -> dict[str, LayerPrecision]:
        """The precision of every layer, nothing left open but the bias.

        Args:
            names: the network's layers.
            aliases: folded layer -> the layer it went into.
            selected: selector -> the layers it stands for, none perhaps: an input of indices has no
                format.

        Raises:
            PrecisionError: a rule matches no layer; all such rules are named.
        """
        names = list(names)
        aliases = aliases or {}
        base = LayerPrecision(per_channel=False, placement="post_activation")
        base = base.updated(LayerPrecision(rounding=self.rounding)).updated(self.default)
        result = {name: base for name in names}
        if isinstance(base.activations, int) and base.activations < KEPT_BITS:
            edge = dataclasses.replace(base, activations=KEPT_BITS)
            for key in KEPT:
                ends = (selected or {}).get(key, ())
                result.update({name: edge for name in ends if name in result})
        targets = rule_targets(self.layers, "precision map", names, aliases, selected or {})
        for key, rule in self.layers.items():
            for name in targets[key]:
                result[name] = result[name].updated(rule)
        return result
