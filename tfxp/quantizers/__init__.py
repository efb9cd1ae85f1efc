"""tfmot Quantizers whose format lives in variables, and their straight-through operations."""

import tfxp.keras  # noqa: F401  first, because it loads TensorFlow quietly
from tfxp.quantizers.average_pool import AveragePoolQuantizer
from tfxp.quantizers.format_context import FormatContext
from tfxp.quantizers.format_quantizer import FormatQuantizer, Variables
from tfxp.quantizers.gradient import GradientCounts, GradientQuantizer
from tfxp.quantizers.learned import (
    LearnedActivationQuantizer,
    LearnedFormat,
    LearnedWeightQuantizer,
)
from tfxp.quantizers.learned_step import LEARNING_RULES, LearnedStep
from tfxp.quantizers.length import LengthQuantizer
from tfxp.quantizers.lstm import LstmQuantizer
from tfxp.quantizers.mean import MeanQuantizer
from tfxp.quantizers.product import ProductQuantizer
from tfxp.quantizers.quantizers import (
    ActivationQuantizer,
    BiasQuantizer,
    KernelQuantizer,
    WeightQuantizer,
    seed_of,
)
from tfxp.quantizers.softmax import SoftmaxQuantizer
from tfxp.quantizers.unary import (
    LeakyReluQuantizer,
    PReluQuantizer,
    TableQuantizer,
    UnaryQuantizer,
)
from tfxp.quantizers.wrpn import UnitRange, WrpnActivationQuantizer, WrpnWeightQuantizer

__all__ = [
    "LEARNING_RULES",
    "ActivationQuantizer",
    "AveragePoolQuantizer",
    "BiasQuantizer",
    "FormatContext",
    "FormatQuantizer",
    "GradientCounts",
    "GradientQuantizer",
    "KernelQuantizer",
    "LeakyReluQuantizer",
    "LearnedActivationQuantizer",
    "LearnedFormat",
    "LearnedStep",
    "LearnedWeightQuantizer",
    "LengthQuantizer",
    "LstmQuantizer",
    "MeanQuantizer",
    "PReluQuantizer",
    "ProductQuantizer",
    "SoftmaxQuantizer",
    "TableQuantizer",
    "UnaryQuantizer",
    "UnitRange",
    "Variables",
    "WeightQuantizer",
    "WrpnActivationQuantizer",
    "WrpnWeightQuantizer",
    "seed_of",
]
