"""tfmot's annotate/apply contract under FormatScheme, held against tfmot's own 8-bit scheme."""

import numpy as np
import pytest
import tensorflow_model_optimization as tfmot

import tfxp
from tests.slow_cases import sometimes
from tfxp.errors import ExportError, PrecisionError, UnsupportedLayerError
from tfxp.keras import keras, layers, tf
from tfxp.precision import LayerPrecision
from tfxp.quantization import FormatScheme, FormatWrapper, QuantizeInput, read_network, rebuild
from tfxp.quantizers import ActivationQuantizer, WeightQuantizer

Q = tfmot.quantization.keras
ALL = ("a", "b", "r", "p", "c", "s", "f", "d", "e")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(3)
    x = inputs = keras.Input((6, 6, 2), name="image")
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="a")(x)
    x = layers.ReLU(name="r")(layers.Conv2D(4, 3, padding="same", name="b")(x))
    x = layers.MaxPooling2D(name="p")(x)
    x = layers.Add(name="s")([x, layers.Conv2D(4, 1, name="c")(x)])
    x = layers.Dense(6, activation="relu", name="d")(layers.Flatten(name="f")(x))
    return keras.Model(inputs, layers.Dense(3, activation="softmax", name="e")(x))


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(5).normal(size=(8, 6, 6, 2)).astype(np.float32)


def annotated(model, names, configs=None):
    """A copy of a model with some layers annotated."""

    def annotate(layer):
        if layer.name not in names:
            return layer
        return Q.quantize_annotate_layer(layer, (configs or {}).get(layer.name))

    copy = keras.models.clone_model(model, clone_function=annotate)
    copy.set_weights(model.get_weights())
    return copy


def applied(model, x, names, configs=None, precision="w8a8"):
    marked = annotated(model, names, configs)
    return Q.quantize_apply(marked, FormatScheme(precision, tfxp.measure_model(marked, x)))


def found_by_tfmot(quantized):
    """(layers with quantized weights, layers with a quantized output) of tfmot's own wrappers."""
    kernels, outputs = set(), set()
    for layer in quantized.layers:
        if isinstance(layer, Q.QuantizeWrapper):
            kernels |= {layer.layer.name} if layer._weight_vars else set()
            active = [a for a in layer._quantize_activations if "NoOp" not in repr(a.activation)]
            outputs |= {layer.layer.name} if active or layer._output_quantizers else set()
        elif type(layer).__name__ == "QuantizeLayer":
            outputs.add("image")
    return kernels, outputs


def found(quantized):
    """The same of tfxp's; an activation function that was split off counts with its layer."""
    kernels, outputs = set(), set()
    for layer in quantized.layers:
        if isinstance(layer, QuantizeInput):
            outputs.add(layer.owner)
        elif isinstance(layer, FormatWrapper):
            kernels |= {layer.name} if layer.quantize_config.weight_quantizers else set()
            split = layer.name == f"{layer.owner}_relu"
            if layer.quantize_config.output_quantizer is not None:
                outputs.add(layer.owner if split else layer.name)
    return kernels, outputs


@pytest.mark.parametrize(
    "names",
    sometimes(
        [("a",), ("b",), ("r",), ("p",), ("e",), ("f", "d"), ("a", "c", "s", "d")],
        [("r",), ("a", "c", "s", "d")],
    ),
    ids="+".join,
)  # fmt: skip
def test_the_same_tensors_are_quantized_as_by_tfmot(model, x, names):
    theirs = found_by_tfmot(Q.quantize_apply(annotated(model, names)))
    quantized = applied(model, x, names)
    assert found(quantized) == theirs
    # What is not annotated is the same, and so is the network up to some steps.
    assert np.allclose(quantized.predict(x, verbose=0), model.predict(x, verbose=0), atol=0.05)


def test_a_relu_closes_its_layer_as_with_tfmot_whose_kernels_then_stay_float(model, x):
    for names in (("b", "r"), ALL):
        kernels, outputs = found(applied(model, x, names))
        theirs = found_by_tfmot(Q.quantize_apply(annotated(model, names)))
        assert outputs == theirs[1] and kernels == theirs[0] | {"b"}


def test_layers_that_compute_nothing_need_no_annotation_to_be_exported(model, x, tmp_path):
    quantized = rebuild(applied(model, x, ("a", "b", "c", "s", "d", "e"), precision="w4a6"))
    report = tfxp.export_tflite(quantized, tmp_path / "net.tflite", verify=x)
    assert report.verification.exact


def test_what_is_not_annotated_is_refused_by_name(model, x, tmp_path):
    quantized = rebuild(applied(model, x, ("a", "b", "c", "s", "d")))
    with pytest.raises(ExportError, match=r"- e \(Dense\): is not quantized; annotate it"):
        tfxp.export_tflite(quantized, tmp_path / "net.tflite")
    assert not list(tmp_path.iterdir())


def test_a_part_is_saved_and_switched(model, x, tmp_path):
    quantized = rebuild(applied(model, x, ("b", "d", "f"), precision="w4a4"))
    quantized.save(tmp_path / "part.keras")
    loaded = tfxp.load_model(tmp_path / "part.keras")
    assert np.array_equal(loaded.predict(x, verbose=0), quantized.predict(x, verbose=0))
    before = read_network(loaded)
    assert found(loaded) == found(quantized) == ({"b", "d"}, {"a", "b", "s", "d"})
    rules = {name: rule.to_dict() for name, rule in before.precision.layers.items()}
    assert {n for n in rules if rules[n]["activations"] != "float"} == {"a", "b", "s", "d"}
    tfxp.set_precision(loaded, before.precision)
    assert np.array_equal(loaded.predict(x, verbose=0), quantized.predict(x, verbose=0))


class Recorded(Q.QuantizeConfig):
    """A config that tells what was asked of it; its quantizers are chosen by a subclass."""

    asked: list[str] = []

    def kernel_quantizer(self):
        return Q.quantizers.LastValueQuantizer(4, per_axis=False, symmetric=True, narrow_range=True)

    def output_quantizer(self):
        return Q.quantizers.MovingAverageQuantizer(6, False, False, False)

    def get_weights_and_quantizers(self, layer):
        self.asked.append("weights")
        return [(layer.kernel, self.kernel_quantizer())]

    def get_activations_and_quantizers(self, layer):
        self.asked.append("activations")
        return [(layer.activation, self.output_quantizer())]

    def set_quantize_weights(self, layer, quantize_weights):
        self.asked.append("set weights")
        layer.kernel = quantize_weights[0]

    def set_quantize_activations(self, layer, quantize_activations):
        self.asked.append("set activations")
        layer.activation = quantize_activations[0]

    def get_output_quantizers(self, layer):
        return []

    def get_config(self):
        return {}


class OnFormats(Recorded):
    """The same with tfxp's quantizers."""

    def kernel_quantizer(self):
        return WeightQuantizer(saturation_gradient="zero")

    def output_quantizer(self):
        return ActivationQuantizer("half_even", nonnegative=True)


@pytest.fixture
def scope():
    Recorded.asked.clear()
    with Q.quantize_scope({"Recorded": Recorded, "OnFormats": OnFormats}):
        yield


def test_a_config_with_other_quantizers_is_called_and_left_to_tfmot(model, x, scope, tmp_path):
    marked = annotated(model, ALL, {"d": Recorded()})
    theirs = Q.quantize_apply(marked).get_layer("quant_d")
    asked = list(Recorded.asked)
    Recorded.asked.clear()
    quantized = applied(model, x, ALL, {"d": Recorded()})
    ours = quantized.get_layer("quant_d")
    assert set(Recorded.asked) == set(asked) and len(set(asked)) == 4
    assert type(ours) is type(theirs) and isinstance(ours.quantize_config, Recorded)
    assert found(quantized)[0] == {"a", "b", "c", "e"}
    whole = rebuild(quantized)
    whole.compile("sgd", "sparse_categorical_crossentropy")
    whole.fit(x, np.zeros(len(x)), verbose=0)  # its range follows the data
    kernel = whole.get_layer("quant_d")
    assert len(np.unique(kernel._weight_vars[0][1](
        kernel._weight_vars[0][0], False, weights=kernel._weight_vars[0][2]))) <= 15  # fmt: skip
    with pytest.raises(ExportError, match=r"quant_d \(QuantizeWrapperV2\): is quantized by Record"):
        tfxp.export_tflite(whole, tmp_path / "net.tflite")
    with pytest.raises(PrecisionError, match="layers d: got QuantizeConfigs with quantizers that"):
        tfxp.quantize_model(marked, "w8a8")


def test_a_config_with_tfxp_s_quantizers_gets_the_map_s_formats_and_is_exported(
    model, x, scope, tmp_path
):
    precision = tfxp.PrecisionMap.parse("w8a8").updated({"d": LayerPrecision(3, 5)})
    quantized = rebuild(applied(model, x, ALL, {"d": OnFormats()}, precision))
    assert {"weights", "activations"} <= set(Recorded.asked)
    kernel = quantized.get_layer("d").quantize_config.weight_quantizers
    assert kernel == {"kernel": OnFormats().kernel_quantizer()}
    output = quantized.get_layer("d_relu").quantize_config.output_quantizer
    assert output == OnFormats().output_quantizer()
    formats = read_network(quantized).formats["d"]
    assert formats.weights[0].bits == 3 and formats.activations.bits == 5
    report = tfxp.export_tflite(quantized, tmp_path / "net.tflite", verify=x)
    assert report.notes == (
        "d: bias trained in float, rounded to accumulator steps; +-1 LSB",
    )  # fmt: skip
    assert report.verification.max_abs_lsb <= 1
    tfxp.set_precision(quantized, read_network(quantized).precision)
    quantized.save(tmp_path / "own.keras")
    loaded = tfxp.load_model(tmp_path / "own.keras")
    assert np.array_equal(loaded.predict(x, verbose=0), quantized.predict(x, verbose=0))


class Registry(Q.QuantizeRegistry):
    """One class of layers has a config of its own."""

    def supports(self, layer):
        return isinstance(layer, layers.Dense)

    def get_quantize_config(self, layer):
        return OnFormats()


class Scheme(FormatScheme):
    """tfxp's formats, the registry's quantizers."""

    def get_quantize_registry(self):
        return Registry()


def test_a_registry_of_one_s_own_is_asked(model, x, scope):
    marked = annotated(model, ("b", "d"))
    quantized = Q.quantize_apply(marked, Scheme("w4a4", tfxp.measure_model(marked, x)))
    assert Recorded.asked
    config = quantized.get_layer("d").quantize_config
    assert config.weight_quantizers == {"kernel": OnFormats().kernel_quantizer()}
    other = quantized.get_layer("b").quantize_config.weight_quantizers
    assert other["kernel"] != OnFormats().kernel_quantizer()


class Subclass(WeightQuantizer):
    """A quantizer of a user's own, whose arithmetic may be anything."""


def test_a_subclass_of_a_quantizer_is_left_to_tfmot(model, x, scope, monkeypatch):
    monkeypatch.setattr(OnFormats, "kernel_quantizer", lambda self: Subclass())
    quantized = applied(model, x, ALL, {"d": OnFormats()})
    assert isinstance(quantized.get_layer("quant_d").quantize_config, OnFormats)


def test_what_tfmot_quantized_as_a_whole_is_refused_by_name(x, tmp_path):
    theirs = Q.quantize_model(keras.Sequential([layers.Dense(2, name="d", input_shape=(3,))]))
    with pytest.raises(ExportError, match="quant_d .* is quantized by Default8BitQuantizeConfig, "):
        tfxp.export_tflite(theirs, tmp_path / "net.tflite")


def test_classes_that_tfxp_does_not_know_pass_unless_annotated(x):
    @keras.utils.register_keras_serializable("tests")
    class Doubled(layers.Layer):
        def call(self, inputs):
            return 2 * tf.sin(inputs)

    stack = [layers.Dense(4, name="d", input_shape=(3,)), Doubled(name="own"),
             layers.Dense(2, name="e")]  # fmt: skip
    model, data = keras.Sequential(stack), x[:, 0, 0, :1] * np.ones((1, 3), np.float32)
    assert found(applied(model, data, ("e",))) == ({"e"}, {"e"})
    assert found_by_tfmot(Q.quantize_apply(annotated(model, ("e",)))) == ({"e"}, {"e"})
    with pytest.raises(UnsupportedLayerError, match="own"):
        applied(model, data, ("own", "e"))
    with pytest.raises(RuntimeError, match="own"):
        Q.quantize_apply(annotated(model, ("own", "e")))


def test_statistics_of_the_whole_network(model, x):
    whole = tfxp.measure_model(model, x)
    for names in (("p",), ("r",)):
        quantized = Q.quantize_apply(annotated(model, names), FormatScheme("w8a8", whole))
        assert found(quantized) == found(applied(model, x, names))
    behind = tfxp.measure_model(model, x, pre_activations=False)
    with pytest.warns(UserWarning, match="activations of 'b': got statistics of what r behind it"):
        Q.quantize_apply(annotated(model, ("b",)), FormatScheme("w8a8", behind))
    quantized = Q.quantize_apply(annotated(model, ("b",)), FormatScheme("w8a8", whole))
    mine = read_network(rebuild(quantized)).formats["b"]
    assert mine == read_network(rebuild(applied(model, x, ("b",)))).formats["b"]


def test_a_normalization_that_is_not_annotated_stays(x):
    keras.utils.set_random_seed(2)
    stack = [layers.Conv2D(3, 3, name="c", input_shape=(6, 6, 2)),
             layers.BatchNormalization(name="n"), layers.ReLU(name="r"),
             layers.Flatten(name="f"), layers.Dense(2, name="d")]  # fmt: skip
    model = keras.Sequential(stack)
    whole = tfxp.measure_model(model, x)
    quantized = applied(model, x, ("c",))
    assert type(quantized.get_layer("n")) is layers.BatchNormalization
    assert found(quantized)[0] == {"c"}
    with pytest.raises(PrecisionError, match="'c': got statistics of what n, r behind"):
        Q.quantize_apply(annotated(model, ("c",)), FormatScheme("w8a8", whole))
    folded = applied(model, x, ("c", "n", "r"))
    assert "n" not in [layer.name for layer in folded.layers]
    assert found(folded) == ({"c"}, {model.input_names[0], "r"})
    assert found(rebuild(quantized)) == found(quantized)
    assert read_network(rebuild(quantized)).graph.layers["n"].treatment.name == "UNTOUCHED"
