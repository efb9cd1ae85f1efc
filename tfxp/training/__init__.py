"""Making quantized networks accurate: recipes, calibration, fine-tuning, fixed-point training."""

import tfxp.keras  # noqa: F401  first, because it loads TensorFlow quietly
from tfxp.training.build_network import build_network
from tfxp.training.calibrate import calibrate_model
from tfxp.training.fine_tune import AUGMENTATIONS, FineTuneSettings, fine_tune
from tfxp.training.grid import TrainingGrid
from tfxp.training.recipe import TrainingRecipe
from tfxp.training.train import train_recipe

__all__ = [
    "AUGMENTATIONS",
    "FineTuneSettings",
    "TrainingGrid",
    "TrainingRecipe",
    "build_network",
    "calibrate_model",
    "fine_tune",
    "train_recipe",
]
