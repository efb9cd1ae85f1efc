"""tfmot: post-training quantization by the converter, and training-aware quantization, 8 bits.

Without epochs the documented way is the converter with a representative data set; with epochs it is
`quantize_model`, training, and the converter. Fewer bits are tried with tfmot's experimental n-bit
scheme; whatever it or the converter says is the result.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import protocol
import tensorflow as tf
import tensorflow_model_optimization as tfmot

_N_BIT = (
    "tensorflow_model_optimization.python.core.quantization.keras.experimental.default_n_bit."
    "default_n_bit_quantize_scheme"
)


def main(settings: protocol.Settings, result: protocol.Result) -> None:
    """Quantize, train if there are epochs, convert, judge the file."""
    result["versions"] = protocol.versions(
        "tensorflow-model-optimization", "keras", "tensorflow-cpu"
    )
    result["float"] = ""
    model = protocol.float_model(settings)
    eight = settings.weight_bits == settings.activation_bits == 8
    if settings.epochs or not eight:
        result["recipe"] = "quantize_model" if eight else "experimental n-bit scheme"
        student = aware(model, settings)
        protocol.train(student, model, settings, result)
        content = converted(student, None)
    else:
        result["recipe"] = "converter with a representative data set"
        content = converted(model, protocol.calibration_images(settings))
    check_bits(content, settings)
    protocol.judge_file(content, settings, result, tf.lite.Interpreter)


def aware(model: Any, settings: protocol.Settings) -> Any:
    """The model with fake quantization."""
    quantization = tfmot.quantization.keras
    annotated = quantization.quantize_annotate_model(model)
    if settings.weight_bits == settings.activation_bits == 8:
        return quantization.quantize_apply(annotated)
    module = importlib.import_module(_N_BIT)
    scheme = module.DefaultNBitQuantizeScheme(
        num_bits_weight=settings.weight_bits, num_bits_activation=settings.activation_bits
    )
    return quantization.quantize_apply(annotated, scheme=scheme)


def converted(model: Any, samples: np.ndarray | None) -> bytes:
    """The integer file, with integers at its ends where the converter can."""

    def batches() -> Iterator[list[np.ndarray]]:
        for sample in samples:
            yield [sample[None]]

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if samples is not None:
        converter.representative_dataset = batches
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def check_bits(content: bytes, settings: protocol.Settings) -> None:
    """Complain about a file with other steps than the widths that were trained."""
    if settings.activation_bits >= 8 and settings.weight_bits >= 8:
        return
    runner = tf.lite.Interpreter(model_content=content)
    runner.allocate_tensors()
    kinds = {np.dtype(t["dtype"]).name for t in runner.get_tensor_details()}
    raise ValueError(
        f"asked for {settings.weight_bits}-bit weights and {settings.activation_bits}-bit "
        f"activations, the converter wrote tensors of {', '.join(sorted(kinds))} without a word"
    )


if __name__ == "__main__":
    protocol.run(main)
