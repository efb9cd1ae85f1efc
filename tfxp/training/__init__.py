"""Making quantized networks accurate: calibration, fine-tuning, fixed-point training."""

from tfxp.training.calibrate import calibrate_model

__all__ = ["calibrate_model"]
