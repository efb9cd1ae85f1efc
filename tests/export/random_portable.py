"""Random networks of weights of up to 7 bits, whose files every runtime computes alike.

`python -m tests.export.random_portable FIRST COUNT [RUNTIME ...]` exports as many and counts the
outputs that differ, for files of whose tensors no verdict says that runtimes may differ.
"""

import sys
import tempfile

import numpy as np

import tfxp
from tests.export.random_networks import RandomNetwork
from tfxp.errors import ExportError
from tfxp.keras import layers
from tfxp.precision import LayerPrecision, PrecisionMap

RUNTIMES = ("litert", "reference", "builtin", "tflm")


class PortableNetwork(RandomNetwork):
    """A network of operators that can be the same everywhere: odd sizes, dilations, groups, dead
    and huge channels, 1 to 7 bits of weights."""

    def __init__(self, seed):
        super().__init__(seed)
        for layer in self.model.layers:
            self.spread(layer)
        self.stats = tfxp.measure_model(self.model, self.data)

    def spread(self, layer):
        """Dead channels, and channels that dwarf others."""
        weights = layer.get_weights()
        if not isinstance(layer, layers.Conv2D) or self.rng.integers(3):
            return
        channels = weights[0].shape[-1]
        factors = self.rng.choice([0.0, 1.0, 1.0, 2.0**-7, 2.0**6], channels)
        layer.set_weights([weights[0] * factors.astype(np.float32), *weights[1:]])

    def activation(self):
        return self.pick(None, "relu", "relu6")

    def conv(self, x):
        choice = self.rng.integers(4)
        size, strides, padding = self.window(x)
        if choice == 0 and min(x.shape[1:3]) > 6:
            x = layers.Conv2D(4, 2, dilation_rate=int(self.rng.integers(2, 4)))(x)
        elif choice == 1:
            groups = x.shape[-1]
            x = layers.Conv2D(groups * self.pick(1, 2), size, groups=groups)(x)
        elif choice == 2:
            x = layers.Conv2DTranspose(3, size, int(np.max(strides)), padding)(x)
        else:
            return super().conv(x)
        return self.closed(x)

    def join(self, x):
        other = layers.Conv2D(x.shape[-1], 1, activation=self.pick(None, "relu"))(x)
        kinds = layers.Add, layers.Concatenate, layers.Subtract, layers.Maximum, layers.Minimum
        joined = self.pick(*kinds)()([x, other])
        return layers.Activation("relu")(joined) if self.rng.integers(2) else joined

    def function(self, x):
        kinds = layers.ReLU(6.0), layers.ZeroPadding2D(1), layers.Permute((2, 1, 3))
        if min(x.shape[1:3]) > 3:
            kinds += (layers.Cropping2D(1), layers.UpSampling2D(2))
        return self.pick(*kinds)(x)

    def map(self):
        bits, activations = int(self.rng.integers(1, 8)), int(self.rng.integers(2, 9))
        per_channel = self.pick("", "c")
        whole = PrecisionMap.parse(f"w{bits}a{activations}{per_channel}")
        if self.rng.integers(2):
            return whole
        rules = {}
        for name in dict.fromkeys(self.stats.format_owners.values()):
            weights, activations = int(self.rng.integers(1, 8)), int(self.rng.integers(2, 9))
            rules[name] = LayerPrecision(weights, activations)
        return PrecisionMap(whole.default, rules)


def outcome(seed, path, runtimes=RUNTIMES):
    """What became of a network: a word, and the differences that nothing announces."""
    network = PortableNetwork(seed)
    try:
        report = network.exported(path, runtimes=runtimes)
    except ExportError as error:
        return "refused", str(error)
    found = report.verification
    parted = [row.sentence() for row in found.runtimes if row.differing]
    missing = [row.sentence() for row in found.runtimes if row.error]
    if found.mismatches_interpreter and not report.notes:
        return "differs from Keras", f"{found.mismatches_interpreter} elements"
    if report.not_portable:
        return "announced", "; ".join(map(str, report.not_portable))
    if parted:
        return "differs", "; ".join(parted)
    return ("same, but not run everywhere", "; ".join(missing)) if missing else ("same", "")


def main(first, count, *runtimes):
    """Export as many and count what becomes of them."""
    counts: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + count):
            kind, words = outcome(seed, f"{folder}/net.tflite", runtimes or RUNTIMES)
            counts[kind] = counts.get(kind, 0) + 1
            if kind != "same":
                print(seed, kind, words, flush=True)
    print(f"of {count}:", ", ".join(f"{number} {kind}" for kind, number in counts.items()))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
