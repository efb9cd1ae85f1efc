"""What a recipe says about training in fixed point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfxp.assign.sakr import TENSORS
from tfxp.assign.training_variants import in_float, with_bits, with_more_bits
from tfxp.errors import ConfigError
from tfxp.files import find_config
from tfxp.precision import FLOAT, PrecisionMap
from tfxp.quantization import BackwardSettings
from tfxp.training.fixed_point.fixed_point_sgd import FixedPointSGD
from tfxp.training.fixed_point.prepare_training import update_precision

_GRADIENTS = ("weight_gradients", "activation_gradients", "accumulators")
_FIELDS = ("training_map", "perturb", "bits", "float", "tensors", "accumulators")


def is_training_map(precision: PrecisionMap | None) -> bool:
    """Whether a map says anything about gradients or accumulators."""
    if precision is None:
        return False
    rules = [precision.default, *precision.layers.values()]
    values = [getattr(rule, tensor) for rule in rules for tensor in _GRADIENTS]
    return any(value not in (None, FLOAT) for value in values)


def is_variant(wanted: Any) -> bool:
    """Whether a recipe's precision is a training map with a change, not a map itself."""
    return isinstance(wanted, Mapping) and "training_map" in wanted


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


def backward_settings(backward: Mapping[str, Any] | None, seed: int) -> BackwardSettings:
    """How gradients run, from a recipe's `backward`; stochastic rounding gets the recipe's seed.

    Raises:
        ConfigError: an unknown field or value.
    """
    fields = {key: value for key, value in (backward or {}).items() if key != "others"}
    try:
        return BackwardSettings(**{"seed": seed, **fields})
    except TypeError as error:
        raise ConfigError(
            f"backward: got {dict(backward or {})}; expected gradient_rounding, "
            f"activation_saturation, weight_saturation, backward_weights, others ({error})."
        ) from None


def fixed_point_optimizer(
    model: Any, precision: PrecisionMap, learning_rate: Any, recipe: Any
) -> FixedPointSGD:
    """The optimizer of a recipe whose precision is a training map.

    Args:
        model: the quantized model.
        precision: the map.
        learning_rate: rate or schedule.
        recipe: the `TrainingRecipe`.

    Raises:
        ConfigError: the recipe asks for another optimizer than sgd.
    """
    if recipe.optimizer != "sgd":
        raise ConfigError(
            f"optimizer: got {recipe.optimizer!r} beside a training precision map; expected 'sgd', "
            "whose accumulators the map describes."
        )
    settings = backward_settings(recipe.backward, recipe.seed)
    return FixedPointSGD(
        learning_rate,
        update_precision(model, precision),
        (recipe.backward or {}).get("others"),
        recipe.momentum,
        gradient_rounding=settings.gradient_rounding,
        seed=settings.seed,
    )
