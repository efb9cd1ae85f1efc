"""The Keras callbacks that a recipe names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import tfxp.callbacks
from tfxp.callbacks import PreciseBatchNorm, PrecisionSchedule
from tfxp.errors import ConfigError
from tfxp.keras_types import KerasModel, Samples
from tfxp.measure import measure_model
from tfxp.precision import ModelStats
from tfxp.training.recipes.build_network import precision_for
from tfxp.training.recipes.recipe import TrainingRecipe

SCHEDULE, STATISTICS = "PrecisionSchedule", "PreciseBatchNorm"


def recipe_callbacks(
    recipe: TrainingRecipe,
    model: KerasModel,
    x: Samples,
    batches: Callable[[], Iterable[Any]],
    folder: Path,
) -> list[Any]:
    """Callbacks for one training, logging into its folder.

    `PrecisionSchedule` takes {"schedule": {epoch: precision as in a recipe}}; the others take the
    keyword arguments of their class, and look at `x`, or `PreciseBatchNorm` at `batches`.

    Args:
        recipe: its `callbacks` say which.
        model: the network that is trained.
        x: inputs as the model takes them, a list of arrays for several.
        batches: makes those of the training.
        folder: gets a folder `callbacks`.

    Raises:
        ConfigError: settings that a callback does not take.
    """
    result = []
    for name, settings in recipe.callbacks.items():
        try:
            if name == SCHEDULE:
                result.append(_schedule(recipe, model, x, folder, **settings))
            elif name == STATISTICS:
                result.append(PreciseBatchNorm(batches(), **settings))
            else:
                observer = getattr(tfxp.callbacks, name)
                result.append(observer(x, folder / "callbacks", **settings))
        except TypeError as error:
            raise ConfigError(f"settings of {name}: got {settings}; {error}.") from None
    return result


def _schedule(
    recipe: TrainingRecipe, model: KerasModel, x: Samples, folder: Path, schedule: Mapping[str, Any]
) -> PrecisionSchedule:
    """Precision by epoch; JSON knows keys of text only."""
    maps: dict[int, Any] = {}
    for epoch, wanted in schedule.items():
        precision = precision_for(wanted, model)
        if not str(epoch).isdigit() or precision is None:
            raise ConfigError(
                f"schedule of {SCHEDULE}: got {epoch!r}: {wanted!r}; expected epochs from 0 on and "
                "precisions, such as {'0': 'w8a8', '10': 'w4a4'}."
            )
        maps[int(epoch)] = precision
    stats: ModelStats | None = getattr(model, "_tfxp_stats", None)
    rules = [rule for m in maps.values() for rule in (m.default, *m.layers.values())]
    if stats is None and any(isinstance(rule.activations, int) for rule in rules):
        stats = measure_model(model, x, fold_batch_norm=recipe.fold_batch_norm)
    return PrecisionSchedule(maps, stats, log_dir=folder / "callbacks")
