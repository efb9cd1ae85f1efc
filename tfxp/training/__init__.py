"""Making quantized networks accurate: recipes, calibration, fine-tuning, fixed-point training.

Names are resolved on first use, so that recipes and grids are read without TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfxp.training.fixed_point.fixed_point_sgd import FixedPointSGD as FixedPointSGD
    from tfxp.training.fixed_point.prepare_training import forward_precision as forward_precision
    from tfxp.training.fixed_point.prepare_training import prepare_training as prepare_training
    from tfxp.training.fixed_point.prepare_training import saturation_of as saturation_of
    from tfxp.training.fixed_point.prepare_training import update_precision as update_precision
    from tfxp.training.fixed_point.tensor_precision import UpdatePrecision as UpdatePrecision
    from tfxp.training.fixed_point.terngrad import TernGrad as TernGrad
    from tfxp.training.recipes.build_network import build_network as build_network
    from tfxp.training.recipes.grid import TrainingGrid as TrainingGrid
    from tfxp.training.recipes.recipe import TrainingRecipe as TrainingRecipe
    from tfxp.training.recipes.train import train_recipe as train_recipe
    from tfxp.training.repair.accumulator_bound import bound_accumulators as bound_accumulators
    from tfxp.training.repair.adaround import RoundingSettings as RoundingSettings
    from tfxp.training.repair.calibrate import calibrate_model as calibrate_model
    from tfxp.training.repair.fine_tune import fine_tune as fine_tune
    from tfxp.training.repair.settings import AUGMENTATIONS as AUGMENTATIONS
    from tfxp.training.repair.settings import FineTuneSettings as FineTuneSettings

# public name -> module in this folder
_NAMES = {
    "AUGMENTATIONS": "repair.settings",
    "FineTuneSettings": "repair.settings",
    "FixedPointSGD": "fixed_point.fixed_point_sgd",
    "RoundingSettings": "repair.adaround",
    "TernGrad": "fixed_point.terngrad",
    "TrainingGrid": "recipes.grid",
    "TrainingRecipe": "recipes.recipe",
    "UpdatePrecision": "fixed_point.tensor_precision",
    "bound_accumulators": "repair.accumulator_bound",
    "build_network": "recipes.build_network",
    "calibrate_model": "repair.calibrate",
    "fine_tune": "repair.fine_tune",
    "forward_precision": "fixed_point.prepare_training",
    "prepare_training": "fixed_point.prepare_training",
    "saturation_of": "fixed_point.prepare_training",
    "train_recipe": "recipes.train",
    "update_precision": "fixed_point.prepare_training",
}
_RECIPES = ("TrainingGrid", "TrainingRecipe")  # plain values

__all__ = list(_NAMES)


def __getattr__(name: str) -> object:
    if name not in _NAMES:
        raise AttributeError(f"module 'tfxp.training' has no attribute {name!r}")
    if name not in _RECIPES:
        importlib.import_module("tfxp.keras")  # first, because it loads TensorFlow quietly
    value: object = getattr(importlib.import_module(f"tfxp.training.{_NAMES[name]}"), name)
    globals()[name] = value
    return value
