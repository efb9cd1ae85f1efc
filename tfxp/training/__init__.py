"""Making quantized networks accurate: recipes, calibration, fine-tuning, fixed-point training."""

import tfxp.keras  # noqa: F401  first, because it loads TensorFlow quietly
from tfxp.training.fixed_point.fixed_point_sgd import FixedPointSGD
from tfxp.training.fixed_point.prepare_training import (
    forward_precision,
    prepare_training,
    saturation_of,
    update_precision,
)
from tfxp.training.fixed_point.tensor_precision import UpdatePrecision
from tfxp.training.recipes.build_network import build_network
from tfxp.training.recipes.grid import TrainingGrid
from tfxp.training.recipes.recipe import TrainingRecipe
from tfxp.training.recipes.train import train_recipe
from tfxp.training.repair.calibrate import calibrate_model
from tfxp.training.repair.fine_tune import AUGMENTATIONS, FineTuneSettings, fine_tune

__all__ = [
    "AUGMENTATIONS",
    "FineTuneSettings",
    "FixedPointSGD",
    "TrainingGrid",
    "TrainingRecipe",
    "UpdatePrecision",
    "build_network",
    "calibrate_model",
    "fine_tune",
    "forward_precision",
    "prepare_training",
    "saturation_of",
    "train_recipe",
    "update_precision",
]
