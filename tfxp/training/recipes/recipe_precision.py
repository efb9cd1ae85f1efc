"""What a recipe's `precision` says, as far as no network is needed to read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfxp.assign.sakr import TENSORS
from tfxp.assign.training_variants import in_float, with_bits, with_more_bits
from tfxp.errors import ConfigError, check_fields
from tfxp.files import find_config
from tfxp.precision import FLOAT, PrecisionMap

_GRADIENTS = ("weight_gradients", "activation_gradients", "accumulators")
_WRPN_FIELDS = ("weights", "activations", "edges", "signed", "per_channel")
_FIELDS = ("training_map", "perturb", "bits", "float", "tensors", "accumulators")


def is_training_map(precision: PrecisionMap | None) -> bool:
    """Whether a map says anything about gradients or accumulators."""
    if precision is None:
        return False
    rules = [precision.default, *precision.layers.values()]
    values = [getattr(rule, tensor) for rule in rules for tensor in _GRADIENTS]
    return any(value not in (None, FLOAT) for value in values)


def training_variant(wanted: Mapping[str, Any]) -> PrecisionMap:
    """The map of {"training_map": file, "perturb": bits, "bits": bits, "float": tensors}.

    Args:
        wanted: a training map by file, and at most one change of it: "perturb" adds bits, "bits"
            sets them, both to "tensors" (all five by default); "float" is a list of tensors.
            "accumulators" is how they take part in "perturb": "range", "step" or "literal".

    Raises:
        ConfigError: an unknown field, or several changes.
        PrecisionError: the map cannot be read or changed that way.
    """
    unknown = [key for key in wanted if key not in _FIELDS]
    changes = [key for key in ("perturb", "bits", "float") if key in wanted]
    if unknown or len(changes) > 1 or ("accumulators" in wanted and "perturb" not in wanted):
        raise ConfigError(
            f"precision: got {dict(wanted)}; expected training_map and at most one of perturb, "
            "bits and float, perhaps tensors, and with perturb perhaps accumulators."
        )
    pmap = PrecisionMap.load(find_config(str(wanted["training_map"]), "precision"))
    tensors = wanted.get("tensors", TENSORS)
    if "perturb" in wanted:
        reading = str(wanted.get("accumulators", "range"))
        return with_more_bits(pmap, int(wanted["perturb"]), tensors, reading)
    if "bits" in wanted:
        return with_bits(pmap, int(wanted["bits"]), tensors)
    return in_float(pmap, wanted.get("float", ()))


def given_map(wanted: Any) -> PrecisionMap | None:
    """The map that a recipe gives; None for a training in float, and for {"wrpn": ...}, whose map
    depends on the network.

    Raises:
        ConfigError: fields that nobody would read, or no such file.
        PrecisionError: an impossible map.
    """
    if wanted is None:
        return None
    if isinstance(wanted, str):
        path = str(find_config(wanted, "precision")) if wanted.endswith(".json") else wanted
        return PrecisionMap.parse(path)
    if isinstance(wanted, Mapping) and "training_map" in wanted:
        return training_variant(wanted)
    if isinstance(wanted, Mapping) and set(wanted) == {"wrpn"}:
        check_fields("precision {'wrpn': …}", wanted["wrpn"], _WRPN_FIELDS)
        return None
    return PrecisionMap.from_dict(wanted, "precision of the recipe")
