"""Making quantized networks accurate: calibration, fine-tuning, fixed-point training."""
