"""Making quantized networks accurate: calibration, fine-tuning, fixed-point training."""

import tfxp.keras  # noqa: F401  first, because it loads TensorFlow quietly
from tfxp.training.calibrate import calibrate_model
from tfxp.training.fine_tune import AUGMENTATIONS, FineTuneSettings, fine_tune

__all__ = ["AUGMENTATIONS", "FineTuneSettings", "calibrate_model", "fine_tune"]
