"""tfmot's own quantize_apply with tfxp's scheme gives what quantize_model gives."""

import numpy as np
import tensorflow_model_optimization as tfmot

import tfxp
from tests.cases import built, inputs_of
from tfxp.quantization import FormatScheme, rebuild


def outputs(model, x):
    result = model.predict(x, verbose=0)
    return result if isinstance(result, list) else [result]


def test_quantize_apply_equals_quantize_model(tmp_path):
    model = built("residual")
    x = inputs_of(model)
    stats = tfxp.measure_model(model, x)
    wanted = outputs(tfxp.quantize_model(model, "w4a4", stats), x)
    annotated = tfmot.quantization.keras.quantize_annotate_model(model)
    scheme = FormatScheme("w4a4", stats)
    applied = tfmot.quantization.keras.quantize_apply(annotated, scheme)
    whole = rebuild(applied)
    for qmodel in (applied, whole):
        for got, want in zip(outputs(qmodel, x), wanted, strict=True):
            assert np.array_equal(got, want)
    report = tfxp.export_tflite(whole, tmp_path / "net.tflite", verify=x)
    assert report.verification.exact or report.notes
