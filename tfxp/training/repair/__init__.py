"""Accuracy back after quantization: calibration without labels, fine-tuning."""
