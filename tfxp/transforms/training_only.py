"""Layers that act while a model is trained, and hand on their input at inference."""

from __future__ import annotations

# They change images.
AUGMENTATION = (
    "RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomContrast",
    "RandomBrightness", "RandomHeight", "RandomWidth",
)  # fmt: skip
TRAINING_ONLY = (
    "Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "AlphaDropout",
    "GaussianDropout", "GaussianNoise", "ActivityRegularization", "Identity", "StepMask",
    *AUGMENTATION,
)  # fmt: skip
