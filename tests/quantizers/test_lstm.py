"""The LSTM quantizer against LiteRT's operator, on files that no code of tfxp has written."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter as LiteRT

from tests.interpreter.litert_oracle import Model, T
from tfxp.formats import parse_format
from tfxp.keras import keras, layers, tf
from tfxp.quantizers import LstmQuantizer

STORED_TOP = 127  # where the largest code of every format lies in int8


class Setup:
    """A random LSTM in codes: weights, formats, inputs."""

    def __init__(self, seed, formats, spread=1.0):
        rng = np.random.default_rng(seed)
        self.source, self.weights, self.output = (parse_format(text) for text in formats)
        self.steps, self.channels, self.units = (int(n) for n in rng.integers(1, 14, 3))
        codes = [self.draw(rng, self.weights, (n, 4 * self.units), spread)
                 for n in (self.channels, self.units)]  # fmt: skip
        self.kernel, self.recurrent = codes
        self.step = self.source.scale * self.weights.scale
        self.bias = np.rint(rng.normal(size=4 * self.units) / self.step)
        self.x = self.draw(rng, self.source, (3, self.steps, self.channels), 1.5)

    @staticmethod
    def draw(rng, fmt, shape, spread):
        """Codes of a format, limits included where `spread` is large."""
        codes = np.rint(rng.normal(size=shape) * spread * 2.0 ** (fmt.bits - 2))
        return np.clip(codes, fmt.qmin, fmt.qmax)

    def file(self):
        """The operator in a file."""
        size, zero = (1, self.units), STORED_TOP - self.output.qmax
        inputs = [T((1, self.steps, self.channels), "INT8", self.source.scale,
                    STORED_TOP - self.source.qmax)]  # fmt: skip
        for matrix in (self.kernel, self.recurrent):
            for gate in np.split(matrix, 4, axis=1):
                inputs.append(T(gate.T.shape, "INT8", self.weights.scale, 0, data=gate.T))
        inputs += [None] * 3
        for gate in np.split(self.bias, 4):
            inputs.append(T(gate.shape, "INT32", self.step, 0, data=gate))
        inputs += [None] * 2
        inputs.append(T(size, "INT8", self.output.scale, zero, variable=True))
        inputs.append(T(size, "INT16", 2.0**-11, 0, variable=True))
        scratch = [T((0,), "INT16", 2.0**-12) for _ in range(4)]
        scratch.append(T((0,), "INT8", self.output.scale, zero))
        result = T((1, self.steps, self.units), "INT8", self.output.scale, zero)
        options = {"fusedActivationFunction": 4, "timeMajor": False}
        table = "UnidirectionalSequenceLSTMOptions"
        operator = "UNIDIRECTIONAL_SEQUENCE_LSTM"
        return Model(operator, inputs, [result], table, options, 1, scratch).bytes()

    def litert(self):
        """Codes of every step, not held at the format's lower end."""
        runner = LiteRT(model_content=self.file())
        runner.allocate_tensors()
        rows = []
        for sample in self.x:
            runner.reset_all_variables()
            stored = sample[None] + STORED_TOP - self.source.qmax
            runner.set_tensor(runner.get_input_details()[0]["index"], stored.astype(np.int8))
            runner.invoke()
            rows.append(runner.get_tensor(runner.get_output_details()[0]["index"])[0])
        return np.stack(rows).astype(int) - (STORED_TOP - self.output.qmax)

    def layer(self, **options):
        """The Keras layer with its weights on their grid, and the quantizer with its variables."""
        layer = layers.LSTM(self.units, return_sequences=True, **options)
        layer.build((None, self.steps, self.channels))
        scale = self.weights.scale
        real = [self.kernel * scale, self.recurrent * scale, self.bias * self.step]
        layer.set_weights([part.astype(np.float32) for part in real])
        quantizer = LstmQuantizer()
        variables = quantizer.build(None, "output", layers.Layer())
        values = {"scale": self.output.scale, "qmin": self.output.qmin, "qmax": self.output.qmax,
                  "input_scale": self.source.scale, "kernel_scale": scale}  # fmt: skip
        for name, value in values.items():
            variables[name].assign(value)
        return layer, quantizer, variables

    def emulated(self, compiled):
        layer, quantizer, variables = self.layer()

        def run(v):
            return quantizer.run_layer(layer, v, variables, False)

        x = tf.constant(self.x * self.source.scale, tf.float32)
        real = (tf.function(run) if compiled else run)(x).numpy()
        codes = real / self.output.scale
        assert np.array_equal(codes, np.rint(codes))
        return codes.astype(int)


FORMATS = [
    ("Q2.5", "Q0.7s", "Q0.7"),
    ("UQ1.7", "Q1.6s", "Q-1.8"),  # outputs beyond their format at both ends
    ("Q3.2", "Q0.3", "Q0.4"),
    ("UQ0.4", "Q2.1s", "UQ0.8"),  # negative outputs are lost
    ("Q5.2", "Q3.4s", "Q1.1"),  # gates saturate; one step is more than one of Q3.12
    ("Q-2.9", "Q-3.10s", "Q0.7"),
]


@pytest.mark.parametrize("formats", FORMATS)
def test_same_codes_as_the_operator(formats):
    for seed in range(5):
        case = Setup(seed, formats, spread=(0.3, 2.0)[seed % 2])
        compiled = seed == 1 and formats in FORMATS[:2]  # graph mode has arithmetic of its own
        found = case.emulated(compiled)
        assert np.array_equal(found, case.litert()), (seed, case.steps, case.units)


def test_gradient_is_that_of_the_real_layer():
    """At wide formats the rounded values are nearly the real ones, and so are the gradients."""
    case = Setup(1, ("Q2.10", "Q0.11s", "Q0.14"), spread=0.4)
    layer, quantizer, variables = case.layer()
    x = tf.constant(case.x * case.source.scale, tf.float32)
    weights = [x, *layer.trainable_weights]
    found = []
    for run in (lambda v: quantizer.run_layer(layer, v, variables, True), layer):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(tf.square(run(x) - 0.1))
        found.append(tape.gradient(loss, weights))
    for ours, real in zip(*found, strict=True):
        assert np.abs(ours - real).max() < 0.01 * np.abs(real).max()


def test_dropout_inside_the_layer():
    """Half of the inputs and states go in training, as in Keras; none otherwise."""
    case = Setup(4, FORMATS[0])
    x = tf.constant(case.x * case.source.scale, tf.float32)
    for option in ("dropout", "recurrent_dropout"):
        layer, quantizer, variables = case.layer(**{option: 0.5})
        still, again = (quantizer.run_layer(layer, x, variables, False) for _ in range(2))
        active, other = (quantizer.run_layer(layer, x, variables, True) for _ in range(2))
        assert np.array_equal(still, again)
        assert np.abs(active - still).max() > 0 and np.abs(active - other).max() > 0


def test_settings_survive():
    quantizer = LstmQuantizer("half_up", seed=3)
    config = keras.utils.legacy.serialize_keras_object(quantizer)
    assert keras.utils.legacy.deserialize_keras_object(config) == quantizer
