"""How far runtimes are from the interpreter, operator by operator, on single layers of 8 bits.

`python -m tests.export.operator_differences` prints the table of docs/runtimes.md.
"""

import sys
import tempfile

import tfxp
from tests.cases import inputs_of, randomize
from tfxp.keras import keras, layers, tf
from tfxp.precision import LayerPrecision, PrecisionMap

RUNTIMES = ("litert", "reference", "builtin", "compiled_model", "tflm", "c")


def _image(*steps, shape=(6, 6, 8)):
    return keras.Sequential([keras.Input(shape), *steps])


def _two(layer, shape=(6, 6, 8)):
    a, b = keras.Input(shape, name="a"), keras.Input(shape, name="b")
    return keras.Model([a, b], layer([a, b]))


def _product():
    a, b = keras.Input((6, 8), name="a"), keras.Input((6, 8), name="b")
    return keras.Model([a, b], tf.matmul(a, b, transpose_b=True))


NETWORKS = {
    "CONV_2D": lambda: _image(layers.Conv2D(8, 3)),
    "DEPTHWISE_CONV_2D": lambda: _image(layers.DepthwiseConv2D(3)),
    "TRANSPOSE_CONV": lambda: _image(layers.Conv2DTranspose(8, 3, 2)),
    "FULLY_CONNECTED": lambda: _image(layers.Dense(32), shape=(64,)),
    "ADD": lambda: _two(layers.Add()),
    "MUL": lambda: _two(layers.Multiply()),
    "BATCH_MATMUL": _product,
    "QUANTIZE, CONCATENATION": lambda: _two(layers.Concatenate()),
    "MEAN": lambda: _image(layers.GlobalAveragePooling2D()),
    "AVERAGE_POOL_2D": lambda: _image(layers.AveragePooling2D(2)),
    "MAX_POOL_2D": lambda: _image(layers.MaxPooling2D(2)),
    "RESIZE_BILINEAR": lambda: _image(layers.UpSampling2D(2, interpolation="bilinear")),
    "LEAKY_RELU": lambda: _image(layers.LeakyReLU(0.3)),
    "PRELU": lambda: _image(layers.PReLU(shared_axes=[1, 2])),
    "ELU": lambda: _image(layers.ELU()),
    "LOGISTIC": lambda: _image(layers.Activation("sigmoid")),
    "TANH": lambda: _image(layers.Activation("tanh")),
    "SOFTMAX": lambda: _image(layers.Dense(8), layers.Softmax(), layers.Dense(4), shape=(16,)),
    "L2_NORMALIZATION": lambda: _image(layers.UnitNormalization(), shape=(16,)),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": lambda: _image(layers.LSTM(4), shape=(5, 3)),
}

_FUNCTIONS = ("LEAKY_RELU", "PRELU", "ELU", "LOGISTIC", "TANH", "SOFTMAX", "L2_NORMALIZATION")


def differences(name, weights, folder):
    """Runtime -> (differing values, of how many, largest difference, why there is no figure)."""
    model = randomize(NETWORKS[name](), 5)
    data = inputs_of(model, 100)
    stats = tfxp.measure_model(model, data)
    # Sums get coarser by two bits than they need be, so that rounding has something to do.
    bits = 8 if name in _FUNCTIONS else 6
    pmap = PrecisionMap(LayerPrecision(weights, 8), {"@outputs": LayerPrecision(activations=bits)})
    qmodel = tfxp.quantize_model(model, pmap, stats)
    path = f"{folder}/{name}.tflite"
    report = tfxp.export_tflite(qmodel, path, verify=data, runtimes=RUNTIMES)
    assert report.verification.mismatches_interpreter == 0
    return report, {row.runtime: row for row in report.verification.runtimes}


def cell(row):
    """ "same", or how many values differ and by how much, or that the runtime does not run it."""
    if row.error:
        return "refuses"
    if not row.differing:
        return "same"
    return f"{row.differing / row.elements:.1%}, {row.max_lsb} LSB"


def main():
    """Print a row for each operator and word length."""
    keras.utils.set_random_seed(5)
    print("| operator | weights |", " | ".join(f"`{name}`" for name in RUNTIMES), "|")
    print("|---" * (2 + len(RUNTIMES)) + "|")
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or NETWORKS:
            has_weights = bool(randomize(NETWORKS[name](), 5).weights) and name != "PRELU"
            for weights in (4, 6, 8) if has_weights else (8,):
                _, rows = differences(name, weights, folder)
                cells = [cell(rows[runtime]) for runtime in RUNTIMES]
                print(f"| {name} | {weights if has_weights else '–'} |", " | ".join(cells), "|")
                for row in rows.values():
                    if row.error:
                        print(row.sentence(), file=sys.stderr)


if __name__ == "__main__":
    main()
