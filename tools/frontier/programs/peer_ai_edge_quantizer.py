"""AI Edge Quantizer (now litert-quantizer): post-training quantization of a float .tflite file.

As its README has it: convert to a float file, load the static recipe, calibrate, quantize, export.
The ready-made recipe `static_wi8_ai8` serves 8 bits; other widths are asked for by
`add_static_config` with OCTAV, its clipping for few bits, and what it cannot do it says.
"""

from __future__ import annotations

import os
from typing import Any

import protocol
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter


def main(settings: protocol.Settings, result: protocol.Result) -> None:
    """Convert, calibrate, quantize, judge the file."""
    from litert_quantizer import quantizer

    names = ("litert-quantizer", "ai-edge-litert", "keras", "tensorflow-cpu")
    result["versions"] = protocol.versions(*names)
    result["float"] = ""
    if settings.epochs:
        raise ValueError("no training: post-training quantization only")
    float_file = f"{settings.file}.float"
    converter = tf.lite.TFLiteConverter.from_keras_model(protocol.float_model(settings))
    with open(float_file, "wb") as file:
        file.write(converter.convert())
    own = quantizer.Quantizer(float_file)
    result["recipe"] = load_recipe(own, settings)
    images = protocol.calibration_images(settings)
    signature, names = next(iter(Interpreter(float_file).get_signature_list().items()))
    samples = [{names["inputs"][0]: image[None]} for image in images]
    calibration = own.calibrate({signature: samples})
    content = own.quantize(calibration).quantized_model
    os.remove(float_file)
    protocol.judge_file(bytes(content), settings, result, Interpreter)


def load_recipe(own: Any, settings: protocol.Settings) -> str:
    """The ready-made recipe for 8 bits, one of these widths otherwise."""
    from litert_quantizer import algorithm_manager, qtyping, recipe

    if settings.weight_bits == settings.activation_bits == 8:
        own.load_quantization_recipe(recipe.static_wi8_ai8())
        return "static_wi8_ai8"
    own.add_static_config(
        regex=".*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        activation_num_bits=settings.activation_bits,
        weight_num_bits=settings.weight_bits,
        algorithm_key=algorithm_manager.AlgorithmName.OCTAV,
    )
    return "add_static_config, OCTAV"


if __name__ == "__main__":
    protocol.run(main)
