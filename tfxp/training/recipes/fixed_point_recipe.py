"""What a recipe says about training in fixed point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfxp.errors import ConfigError
from tfxp.keras_types import KerasModel
from tfxp.precision import PrecisionMap
from tfxp.quantization import BackwardSettings
from tfxp.training.fixed_point.fixed_point_sgd import FixedPointSGD
from tfxp.training.fixed_point.prepare_training import update_precision
from tfxp.training.recipes.recipe import TrainingRecipe


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
    model: KerasModel, precision: PrecisionMap, learning_rate: Any, recipe: TrainingRecipe
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
