"""Sony Model Compression Toolkit: post-training quantization, by gradients below 8 bits.

As its tutorials have it: target platform capabilities, a representative data set, and
`keras_post_training_quantization`; below 8 bits `keras_gradient_post_training_quantization`, which
learns the rounding of kernels without labels. The platform is its default one (power-of-two steps
of activations), whose configuration functions are overridden with other widths as their docstrings
advise; its TFLite platform refuses average pooling in release 2.6.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import model_compression_toolkit as mct
import numpy as np
import protocol
import tensorflow as tf
from model_compression_toolkit.target_platform_capabilities.constants import KERNEL_ATTR
from model_compression_toolkit.target_platform_capabilities.tpc_models.imx500_tpc.v1_0 import tpc

_BATCH = 32
_GRADIENT_EPOCHS = 40


def main(settings: protocol.Settings, result: protocol.Result) -> None:
    """Quantize, export, judge the file where there is one."""
    result["versions"] = protocol.versions(
        "model-compression-toolkit", "mct-quantizers", "keras", "tensorflow-cpu"
    )
    if settings.epochs:
        raise ValueError("left out: its training with labels is a recipe of 12 to 36 hours")
    images = protocol.calibration_images(settings)

    def samples() -> Iterator[list[np.ndarray]]:
        for start in range(0, len(images) - _BATCH + 1, _BATCH):
            yield [images[start : start + _BATCH]]

    model, platform = protocol.float_model(settings), capabilities(settings)
    if settings.weight_bits == 8:
        result["recipe"] = "keras_post_training_quantization"
        quantized, _ = mct.ptq.keras_post_training_quantization(
            model, samples, target_platform_capabilities=platform
        )
    else:
        epochs = _GRADIENT_EPOCHS
        result["recipe"] = f"gradient post-training quantization, {epochs} epochs"
        quantized, _ = mct.gptq.keras_gradient_post_training_quantization(
            model,
            samples,
            mct.gptq.get_keras_gptq_config(n_epochs=epochs),
            target_platform_capabilities=platform,
        )
    judge(quantized, settings, result)


def capabilities(settings: protocol.Settings) -> Any:
    """The default platform of the toolkit with these widths."""
    base, _, default = tpc.get_op_quantization_configs()
    base = base.clone_and_edit(
        attr_to_edit={KERNEL_ATTR: {"weights_n_bits": settings.weight_bits}},
        activation_n_bits=settings.activation_bits,
        supported_input_activation_n_bits=(8, settings.activation_bits),
    )
    default = default.clone_and_edit(
        activation_n_bits=settings.activation_bits,
        supported_input_activation_n_bits=(8, settings.activation_bits),
    )
    return tpc.generate_tpc(default, base, [base], "imx500_tpc")


def judge(quantized: Any, settings: protocol.Settings, result: protocol.Result) -> None:
    """The integer file for 8 bits; the simulation where it writes no integers."""
    eight = settings.weight_bits == settings.activation_bits == 8
    try:
        content = exported(quantized, settings) if eight else None
    except Exception as error:  # whatever the exporter raises is part of the result
        result["export_error"] = f"{type(error).__name__}: {error}"[:400]
        content = None
    if content is None:
        protocol.judge_simulation(quantized, settings, result, "MCT")
        result["float"] = "biases"
    else:
        protocol.judge_file(content, settings, result, tf.lite.Interpreter)
        result["float"] = ""


def exported(quantized: Any, settings: protocol.Settings) -> bytes:
    """The integer .tflite file."""
    mct.exporter.keras_export_model(
        model=quantized,
        save_model_path=settings.file,
        serialization_format=mct.exporter.KerasExportSerializationFormat.TFLITE,
        quantization_format=mct.exporter.QuantizationFormat.INT8,
    )
    with open(settings.file, "rb") as file:
        return file.read()


if __name__ == "__main__":
    protocol.run(main)
