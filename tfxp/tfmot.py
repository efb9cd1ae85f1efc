"""The one place that imports TensorFlow Model Optimization.

tfmot is hardly maintained and some of what tfxp builds on is private in it; what is missing in
another version is said in one sentence (`tfxp.dependencies` knows the version that was tested).
"""

from __future__ import annotations

import tfxp.keras  # noqa: F401  first, because it loads TensorFlow quietly and picks Keras 2
from tfxp.dependencies import importing

with importing("tensorflow-model-optimization"):
    from tensorflow_model_optimization.python.core.quantization.keras.quantize_annotate import (
        QuantizeAnnotate,
    )
    from tensorflow_model_optimization.quantization.keras import (
        QuantizeConfig,
        QuantizeLayoutTransform,
        QuantizeRegistry,
        QuantizeScheme,
        QuantizeWrapper,
        QuantizeWrapperV2,
        quantize_scope,
    )
    from tensorflow_model_optimization.quantization.keras.quantizers import Quantizer
    from tensorflow_model_optimization.sparsity.keras import PolynomialDecay

__all__ = [
    "PolynomialDecay",
    "QuantizeAnnotate",
    "QuantizeConfig",
    "QuantizeLayoutTransform",
    "QuantizeRegistry",
    "QuantizeScheme",
    "QuantizeWrapper",
    "QuantizeWrapperV2",
    "Quantizer",
    "quantize_scope",
]
