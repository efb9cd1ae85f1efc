"""tfmot's own quantize_apply with tfxp's scheme gives what quantize_model gives."""

import numpy as np
import tensorflow_model_optimization as tfmot

import tfxp
from tests.cases import built, inputs_of
from tfxp.quantization import FormatScheme, rebuild


def test_quantize_apply_equals_quantize_model(tmp_path):
    model = built("everything")
    x = inputs_of(model)
    stats = tfxp.measure_model(model, x)
    wanted = tfxp.quantize_model(model, "w4a4", stats).predict(x, verbose=0)
    annotated = tfmot.quantization.keras.quantize_annotate_model(model)
    scheme = FormatScheme("w4a4", stats)
    applied = tfmot.quantization.keras.quantize_apply(annotated, scheme)
    whole = rebuild(applied)
    for qmodel in (applied, whole):
        got = qmodel.predict(x, verbose=0)
        flat = zip(np.atleast_1d(got), np.atleast_1d(wanted), strict=True)
        if isinstance(got, list):
            flat = zip(got, wanted, strict=True)
        assert all(np.array_equal(a, b) for a, b in flat)
    report = tfxp.export_tflite(whole, tmp_path / "net.tflite", verify=x)
    assert report.verification.exact or report.notes
