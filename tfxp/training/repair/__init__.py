"""Accuracy back after quantization: calibration without labels, fine-tuning."""

import tfxp.keras  # noqa: F401  first, because it loads TensorFlow quietly
