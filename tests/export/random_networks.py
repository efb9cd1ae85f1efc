"""Random small networks of the main job's layers, odd sizes, strides and 1 to 8 bits.

`python -m tests.export.random_networks FIRST COUNT` exports as many and counts what becomes
of them.
"""

import sys
import tempfile

import numpy as np

import tfxp
from tests.cases import randomize
from tfxp.errors import ExportError
from tfxp.keras import keras, layers
from tfxp.precision import LayerPrecision, PrecisionMap


class RandomNetwork:
    """A float network, data for its ranges, and a precision map; all follow from the seed."""

    def __init__(self, seed):
        keras.backend.clear_session()
        self.rng = rng = np.random.default_rng([813, seed])
        height, width = (int(n) for n in rng.integers(5, 12, 2))
        x = inputs = keras.Input((height, width, self.pick(1, 2, 3, 5)), name="x")
        for _ in range(rng.integers(1, 5)):
            x = self.pick(self.conv, self.depthwise, self.join, self.pool, self.function)(x)
        x = self.pick(layers.Flatten, layers.GlobalAveragePooling2D)()(x)
        for _ in range(rng.integers(1, 3)):
            x = layers.Dense(self.pick(1, 3, 8), self.activation())(x)
        self.model = randomize(keras.Model(inputs, x), seed)
        shape = (16, height, width, inputs.shape[-1])
        self.data = (rng.normal(size=shape) * 2.0 ** rng.integers(-6, 7)).astype(np.float32)
        self.stats = tfxp.measure_model(self.model, self.data)
        self.precision = self.map()

    def pick(self, *choices):
        return choices[self.rng.integers(len(choices))]

    def activation(self):
        return self.pick(None, None, "relu", "relu6", "sigmoid", "tanh")

    def window(self, x):
        """A kernel's size, strides and padding that fit."""
        size = [int(self.rng.integers(1, 1 + min(3, side))) for side in x.shape[1:3]]
        return size, self.pick(1, 1, 2, (2, 1)), self.pick("same", "valid")

    def conv(self, x):
        size, strides, padding = self.window(x)
        kind = self.pick(layers.Conv2D, layers.Conv2D, layers.SeparableConv2D)
        if kind is layers.SeparableConv2D:
            strides = int(np.max(strides))
        bias = bool(self.rng.integers(2))
        x = kind(self.pick(2, 3, 8), size, strides, padding, use_bias=bias)(x)
        return self.closed(x)

    def depthwise(self, x):
        size, strides, padding = self.window(x)
        layer = layers.DepthwiseConv2D(
            size, int(np.max(strides)), padding, depth_multiplier=self.pick(1, 1, 2)
        )
        return self.closed(layer(x))

    def closed(self, x):
        if self.rng.integers(3) == 0:
            x = layers.BatchNormalization()(x)
        name = self.activation()
        return layers.Activation(name)(x) if name else x

    def join(self, x):
        channels = x.shape[-1]
        other = layers.Conv2D(channels, 1, activation=self.pick(None, "relu"))(x)
        kind = self.pick(layers.Add, layers.Concatenate, layers.Multiply, layers.Subtract)
        return kind()([x, other])

    def pool(self, x):
        if min(x.shape[1:3]) < 2:
            return x
        kind = self.pick(layers.MaxPooling2D, layers.AveragePooling2D)
        return kind(2, self.pick(1, 2), self.pick("same", "valid"))(x)

    def function(self, x):
        return self.pick(layers.ReLU(6.0), layers.ZeroPadding2D(1), layers.LeakyReLU(0.25))(x)

    def map(self):
        """One shorthand, or formats drawn for every layer."""
        per_channel = self.pick("", "c")
        weights, activations = (int(n) for n in self.rng.integers(1, 9, 2))
        whole = PrecisionMap.parse(f"w{weights}a{max(activations, 2)}{per_channel}")
        if self.rng.integers(2):
            return whole
        rules = {}
        for name in dict.fromkeys(self.stats.format_owners.values()):
            bits, steps = int(self.rng.integers(2, 9)), int(self.rng.integers(-4, 9))
            activations = self.pick(bits, f"Q{bits - 1 - steps}.{steps}")
            rules[name] = LayerPrecision(int(self.rng.integers(1, 9)), activations)
        return PrecisionMap(whole.default, rules)

    def exported(self, path, **options):
        qmodel = tfxp.quantize_model(self.model, self.precision, self.stats)
        return tfxp.export_tflite(qmodel, path, verify=self.data, **options)


def outcome(seed, path):
    """What became of a network, in a word, and the words of whoever refused it."""
    network = RandomNetwork(seed)
    try:
        network.exported(path)
    except ExportError as error:
        foreseen = "LiteRT does not run the file; runtime='tfxp'" in str(error)
        return ("refused with a sentence" if foreseen else "refused by the comparison"), str(error)
    except Exception as error:
        return "failed", f"{type(error).__name__}: {error}"
    return "exported", ""


def main(first, count):
    """Export as many and count what becomes of them; only the first two are as they should be."""
    counts = dict.fromkeys(
        ("exported", "refused with a sentence", "refused by the comparison", "failed"), 0
    )
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + count):
            kind, words = outcome(seed, f"{folder}/net.tflite")
            counts[kind] += 1
            if words:
                print(seed, kind, words, flush=True)
    print(f"of {count}:", ", ".join(f"{number} {kind}" for kind, number in counts.items()))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
