"""What quantize_model builds: structure, names, the rules of a precision map, refusals."""

import numpy as np
import pytest

import tfxp
from tests.cases import built, inputs_of, randomize
from tfxp.errors import ConfigError, PrecisionError, UnsupportedLayerError
from tfxp.export import integer_graph_of
from tfxp.formats import FixedPointFormat, parse_format, quantize
from tfxp.keras import keras, layers, tf
from tfxp.precision import LayerPrecision, PrecisionMap
from tfxp.quantization import FormatWrapper, QuantizeInput
from tfxp.quantization.plan import prepare


def network():
    """Named layers: a stem with BatchNormalization, a residual, a head."""
    x = inputs = keras.Input((8, 6, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", name="stem")(x)
    x = layers.BatchNormalization(name="stem_bn")(x)
    x = layers.ReLU(name="stem_relu")(x)
    y = layers.Conv2D(4, 3, padding="same", activation="relu", name="branch")(x)
    x = layers.Add(name="add")([x, y])
    x = layers.ReLU(name="add_relu")(x)
    x = layers.AveragePooling2D(2, name="pool")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return randomize(keras.Model(inputs, layers.Dense(3, activation="softmax", name="head")(x)))


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def x(model):
    return inputs_of(model, 24)


@pytest.fixture(scope="module")
def stats(model, x):
    return tfxp.measure_model(model, x)


@pytest.fixture(scope="module")
def quantized(model, stats):
    return tfxp.quantize_model(model, "w6a6", stats)


def formats(qmodel, field="activations"):
    rules = tfxp.precision_of(qmodel).layers
    found = {name: getattr(rule, field) for name, rule in rules.items()}
    return {name: str(value) for name, value in found.items() if value is not None}


def values_of(qmodel, layer, x):
    return keras.Model(qmodel.inputs, qmodel.get_layer(layer).output)(x).numpy()


def on_grid(values, fmt):
    return np.array_equal(values, quantize(values, fmt))


# --- structure -----------------------------------------------------------------------------------


def test_structure_and_names(quantized):
    names = [layer.name for layer in quantized.layers]
    assert names == [
        "image", "image_quantized", "stem", "stem_relu", "branch", "branch_relu", "add", "add_relu",
        "pool", "mean", "head", "head_softmax",
    ]  # fmt: skip
    kinds = {layer.name: type(layer) for layer in quantized.layers}
    assert kinds["image_quantized"] is QuantizeInput
    wrapped = {name for name, kind in kinds.items() if kind is FormatWrapper}
    # Layers that a ReLU closes carry no output quantizer of their own; Add has nothing else.
    assert wrapped == {"stem", "stem_relu", "branch", "branch_relu", "add_relu", "pool", "mean",
                       "head"}  # fmt: skip
    assert quantized.get_layer("stem").aliases == ["stem_bn"]
    assert quantized.get_layer("add_relu").owner == "add"


def test_the_model_is_not_touched(model, stats, x):
    before = model.get_weights()
    output = model(x).numpy()
    qmodel = tfxp.quantize_model(model, "w2a2", stats)
    qmodel.set_weights([w * 0 for w in qmodel.get_weights()])
    for a, b in zip(before, model.get_weights(), strict=True):
        assert np.array_equal(a, b)
    assert np.array_equal(output, model(x))


def test_every_tensor_is_on_its_grid(quantized, x):
    chosen = formats(quantized)
    places = {
        "image": "image_quantized", "stem": "stem_relu", "branch": "branch_relu",
        "add": "add_relu", "mean": "mean", "head": "head",
    }  # fmt: skip
    assert list(chosen) == ["image", "stem", "branch", "add", "mean", "head"]
    for owner, layer in places.items():
        values = values_of(quantized, layer, x)
        assert on_grid(values, parse_format(chosen[owner])), owner
        assert len(np.unique(values)) > 4
    assert on_grid(values_of(quantized, "pool", x), parse_format(chosen["add"]))
    assert chosen["image"].startswith("Q") and parse_format(chosen["image"]).bits == 8
    assert all(chosen[name].startswith("UQ") for name in ("stem", "branch", "add", "mean"))


def test_high_precision_is_the_float_network(model, x):
    stats = tfxp.measure_model(model, x)
    edges = LayerPrecision(activations=16)
    precision = PrecisionMap(LayerPrecision(16, 16), {"@inputs": edges, "@outputs": edges})
    qmodel = tfxp.quantize_model(model, precision, stats, fit="max")
    assert np.abs(qmodel(x) - model(x)).max() < 2e-3


def test_training_learns(model, stats, x):
    qmodel = tfxp.quantize_model(model, "w4a4", stats)
    labels = np.argmax(x.mean(axis=(1, 2)), axis=1)
    qmodel.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    before = qmodel.get_layer("stem").layer.kernel.numpy()
    losses = qmodel.fit(x, labels, epochs=15, batch_size=24, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert not np.array_equal(before, qmodel.get_layer("stem").layer.kernel)
    names = [v.name for v in qmodel.trainable_weights]
    assert not [n for n in names if "scale" in n or "qmin" in n or "qmax" in n]
    assert len(qmodel.weights) == len({id(v) for v in qmodel.weights})


# --- rules of the map ----------------------------------------------------------------------------


def test_rules_by_name_pattern_alias_and_selector(model, stats):
    precision = PrecisionMap(
        LayerPrecision(weights=5, activations=5),
        {
            "@first": LayerPrecision(weights=7),
            "@last": LayerPrecision(weights=6),
            "@inputs": LayerPrecision(activations=4),
            "@outputs": LayerPrecision(activations=3),
            "stem_relu": LayerPrecision(activations=2),  # closes the stem: its rule
            "bran.*": LayerPrecision(weights="Q0.2", activations="UQ2.2"),
        },
    )
    qmodel = tfxp.quantize_model(model, precision, stats)
    weights, outputs = formats(qmodel, "weights"), formats(qmodel)
    bits = {name: parse_format(text).bits for name, text in weights.items()}
    assert bits == {"stem": 7, "branch": 3, "head": 6} and weights["branch"] == "Q0.2"
    bits = {name: parse_format(text).bits for name, text in outputs.items()}
    assert bits == {"image": 4, "stem": 2, "branch": 4, "add": 5, "mean": 8, "head": 3}
    by_alias = PrecisionMap(layers={"stem_bn": LayerPrecision(weights=2)})
    qmodel = tfxp.quantize_model(model, by_alias, stats)
    assert parse_format(formats(qmodel, "weights")["stem"]).bits == 2


def test_pre_activation_placement(model, stats, x):
    rule = LayerPrecision(activations="Q2.3", placement="pre_activation")
    qmodel = tfxp.quantize_model(model, PrecisionMap(layers={"branch": rule, "add": rule}), stats)
    signed = values_of(qmodel, "branch", x)
    assert on_grid(signed, parse_format("Q2.3")) and (signed < 0).any()
    assert np.array_equal(values_of(qmodel, "branch_relu", x), np.maximum(signed, 0))
    assert (values_of(qmodel, "add", x) >= 0).all()  # a sum of two ReLUs
    assert not isinstance(qmodel.get_layer("add_relu"), FormatWrapper)
    assert tfxp.precision_of(qmodel).layers["branch"].placement == "pre_activation"
    bits = LayerPrecision(activations=4, placement="pre_activation")
    fitted = tfxp.quantize_model(model, PrecisionMap(layers={"branch": bits}), stats)
    fmt = parse_format(formats(fitted)["branch"])
    assert fmt.signed  # fitted to what comes before the ReLU


def test_per_channel_weights(model, stats):
    qmodel = tfxp.quantize_model(model, "w4a8c", stats)
    rule = tfxp.precision_of(qmodel).layers["stem"]
    assert rule.per_channel and len(rule.weights) == 4
    assert {fmt.bits for fmt in rule.weights} == {4}
    kernel = tfxp.strip(qmodel).get_layer("stem").kernel.numpy()
    for channel, fmt in enumerate(rule.weights):
        assert on_grid(kernel[..., channel], fmt)
    listed = PrecisionMap(
        layers={"stem": LayerPrecision(weights=("Q0.3", "Q1.2", "Q-1.4", "Q0.3"))}
    )
    qmodel = tfxp.quantize_model(model, listed, stats)
    assert [str(f) for f in tfxp.precision_of(qmodel).layers["stem"].weights] == [
        "Q0.3", "Q1.2", "Q-1.4", "Q0.3",
    ]  # fmt: skip
    wrong = PrecisionMap(layers={"stem": LayerPrecision(weights=("Q0.3", "Q1.2"))})
    with pytest.raises(PrecisionError, match="weights of 'stem': got 2 per-channel.*expected 4"):
        tfxp.quantize_model(model, wrong, stats)


def test_float_tensors(model, stats, x):
    everything = PrecisionMap.uniform("float", "float")
    edges = LayerPrecision(activations="float")
    everything = everything.updated(
        {"@inputs": edges, "@outputs": edges, "add": LayerPrecision(8, 8)}
    )
    qmodel = tfxp.quantize_model(model, everything, stats)
    assert [la.name for la in qmodel.layers if isinstance(la, FormatWrapper)] == [
        "add_relu",
        "pool",
    ]
    assert formats(qmodel)["stem"] == "float" and formats(qmodel, "weights")["stem"] == "float"
    kernels = PrecisionMap(layers={"stem": LayerPrecision(weights="float"), "image": edges})
    qmodel = tfxp.quantize_model(model, kernels, stats)
    assert list(qmodel.get_layer("stem_relu").quantize_config.weight_quantizers) == []
    assert "image_quantized" not in [layer.name for layer in qmodel.layers]
    with pytest.raises(tfxp.TfxpError) as error:
        integer_graph_of(qmodel)
    assert "image: activations are float" in str(error.value)
    assert "stem: weights are float" in str(error.value)


def test_bias_on_the_accumulators_grid(model, stats):
    rules = {"branch": LayerPrecision("Q0.5", "UQ2.4"), "stem": LayerPrecision(activations="UQ2.3")}
    qmodel = tfxp.quantize_model(model, PrecisionMap(layers=rules), stats)
    bias = tfxp.strip(qmodel).get_layer("branch").bias.numpy()
    original = model.get_layer("branch").bias.numpy()
    assert np.array_equal(bias, np.rint(original * 2**8) / 2**8)
    free = PrecisionMap(layers={**rules, "branch": LayerPrecision("Q0.5", "UQ2.4", bias="float")})
    qmodel = tfxp.quantize_model(model, free, stats)
    assert np.array_equal(tfxp.strip(qmodel).get_layer("branch").bias, original)
    assert tfxp.precision_of(qmodel).layers["branch"].bias == "float"


def test_impossible_biases_are_refused(model, stats):
    rules = {"branch": LayerPrecision(bias="Q3.4"), "stem": LayerPrecision(bias=8)}
    with pytest.raises(PrecisionError, match=r"bias of branch, stem|bias of stem, branch"):
        tfxp.quantize_model(model, PrecisionMap(layers=rules), stats)


def test_wrpn_grids(model, stats, x):
    x = np.abs(x)
    qmodel = tfxp.quantize_model(model, PrecisionMap.uniform("wrpn:2", "wrpn:4"), stats)
    kernel = tfxp.strip(qmodel).get_layer("stem").kernel.numpy()
    assert set(np.unique(kernel)) <= {-1, 0, 1}
    values = values_of(qmodel, "branch_relu", x) * 15
    assert np.abs(values - np.rint(values)).max() < 1e-4 and values.max() <= 15.0001
    binary = tfxp.quantize_model(model, PrecisionMap.uniform("wrpn:1", 8), stats)
    folded = prepare(model).graph.layers["stem"].arrays()["kernel"]
    kernel = tfxp.strip(binary).get_layer("stem").kernel.numpy()
    assert np.allclose(np.abs(kernel), np.abs(folded).mean(), rtol=1e-6)
    assert np.array_equal(np.sign(kernel), np.where(folded >= 0, 1, -1))


def test_fits_differ(model, stats):
    found = {fit: formats(tfxp.quantize_model(model, "w4a4", stats, fit=fit)) for fit in
             ("mse", "max", "clip_budget")}  # fmt: skip
    assert len({str(value) for value in found.values()}) > 1
    wide = {name: parse_format(text).max for name, text in found["max"].items()}
    assert all(parse_format(text).max <= wide[name] for name, text in found["mse"].items())
    with pytest.raises(ConfigError, match="fit: got 'best'"):
        tfxp.quantize_model(model, "w4a4", stats, fit="best")


def test_shared_layers_on_inputs_of_different_formats():
    dense = layers.Dense(3, name="shared")
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    model = randomize(keras.Model([a, b], [dense(a), dense(b)]))
    rules = {
        "a": LayerPrecision(activations="Q2.5"),
        "b": LayerPrecision(activations="Q4.2"),
        "shared": LayerPrecision(weights="Q0.6", activations="Q3.4"),
    }
    qmodel = tfxp.quantize_model(model, PrecisionMap(layers=rules))
    bias = tfxp.strip(qmodel).get_layer("shared").bias.numpy()
    assert np.array_equal(bias, np.rint(model.layers[-1].bias.numpy() * 2**8) / 2**8)
    left, right = inputs_of(model, 5)
    weights = [quantize(w, parse_format("Q0.6")) for w in dense.get_weights()[:1]]
    for got, part, fmt in zip(qmodel([left, right]), (left, right), ("Q2.5", "Q4.2"), strict=True):
        exact = quantize(part, parse_format(fmt)).astype(np.float64) @ weights[0] + bias
        assert np.array_equal(got, quantize(exact, parse_format("Q3.4")))


def test_a_shared_pool_serves_inputs_of_different_formats():
    pool = layers.AveragePooling2D(2)
    a, b = keras.Input((4, 4, 1), name="a"), keras.Input((4, 4, 1), name="b")
    model = keras.Model([a, b], [pool(a), pool(b)])
    rules = {"a": LayerPrecision(activations="Q2.3"), "b": LayerPrecision(activations="UQ2.0")}
    qmodel = tfxp.quantize_model(model, PrecisionMap(layers=rules))
    for got, fmt in zip(qmodel(inputs_of(model, 3)), ("Q2.3", "UQ2.0"), strict=True):
        assert on_grid(got.numpy(), parse_format(fmt))


# --- refusals ------------------------------------------------------------------------------------


def test_unsupported_layers_are_named_all_at_once():
    x = inputs = keras.Input((8, 6, 3))
    x = layers.LocallyConnected2D(3, 1, name="local")(x)
    x = layers.Softmax(axis=[1, 2], name="plane")(x)
    x = layers.Lambda(lambda y: y, name="code")(x)
    x = layers.MaxPooling2D(data_format="channels_first", name="first")(x)
    x = tf.math.cumprod(x, axis=1)
    model = keras.Model(inputs, x)
    x = np.zeros((2, 8, 6, 3))
    for call in (lambda: tfxp.quantize_model(model, "w8a8"), lambda: tfxp.measure_model(model, x)):
        with pytest.raises(UnsupportedLayerError) as error:
            call()
        text = str(error.value)
        assert "got 5 layers" in text and "register_layer" in text
        for name in ("local", "plane", "code", "first", "cumprod"):
            assert name in text, name
        assert "math.cumprod" in text


def test_a_registered_layer_is_quantized():
    @keras.utils.register_keras_serializable("tests")
    class Mirror(layers.Layer):
        def call(self, x):
            return x[:, ::-1]

    inputs = keras.Input((6, 4, 3))
    model = keras.Model(inputs, Mirror()(inputs))
    with pytest.raises(UnsupportedLayerError, match="Mirror"):
        tfxp.quantize_model(model, "w8a8")
    tfxp.register_layer("Mirror", tfxp.LayerRole("keep", "reshape"))
    assert tfxp.count_model(model).macs == 0
    with pytest.raises(ConfigError, match="Mirror"):
        tfxp.register_layer("Mirror", tfxp.LayerRole("relu", "activation"))
    with pytest.raises(ConfigError, match="role of layer"):
        tfxp.LayerRole("magic", "x")


def test_a_map_that_does_not_fit(model, stats):
    with pytest.raises(PrecisionError, match="'brunch', which match.*Did you mean 'branch'"):
        tfxp.quantize_model(model, PrecisionMap(layers={"brunch": LayerPrecision(8)}), stats)
    with pytest.raises(PrecisionError, match="activations of image, stem.*no measurement"):
        tfxp.quantize_model(model, "w8a8")
    with pytest.raises(PrecisionError, match="no measurement"):
        tfxp.quantize_model(model, "w8a8", tfxp.count_model(model))
    with pytest.raises(PrecisionError, match="40"):
        tfxp.quantize_model(model, "w40a8", stats)
    with pytest.raises(PrecisionError, match="quantize_model returns"):
        tfxp.precision_of(model)


def test_uint8_images_go_in_as_they_are():
    inputs = keras.Input((4, 4, 1), dtype="uint8")
    model = keras.Model(inputs, layers.MaxPooling2D(2)(inputs))
    qmodel = tfxp.quantize_model(model, PrecisionMap.uniform(8, "UQ8.0").updated(
        {"@inputs": LayerPrecision(activations="UQ8.0")}))  # fmt: skip
    x = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1) * 16
    assert np.array_equal(qmodel(x), model(x))


def test_formats_are_exact_beyond_24_bits(model, stats):
    rule = LayerPrecision(weights=FixedPointFormat(1, 30), activations="UQ2.30")
    qmodel = tfxp.quantize_model(model, PrecisionMap(layers={"branch": rule}), stats)
    read = tfxp.precision_of(qmodel).layers["branch"]
    assert (str(read.weights), str(read.activations)) == ("Q1.30", "UQ2.30")


def test_case_networks_quantize_with_all_names_known():
    for name in ("nested_twice", "several_inputs_and_outputs"):
        model = built(name)
        stats = tfxp.measure_model(model, inputs_of(model, 4))
        qmodel = tfxp.quantize_model(model, "w4a4", stats)
        assert set(tfxp.precision_of(qmodel).layers) <= set(stats.layers)


def test_our_own_layers_come_back_from_h5_files(tmp_path):
    """Keras looks for their short names there."""
    inputs = keras.Input((4, 3))
    added = keras.Model(inputs, inputs + np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3))
    x = np.random.default_rng(0).normal(size=(5, 4, 3)).astype(np.float32)
    qmodel = tfxp.quantize_model(added, "w8a8", tfxp.measure_model(added, x))
    qmodel.save(tmp_path / "q.h5")
    assert np.array_equal(tfxp.load_model(tmp_path / "q.h5")(x), qmodel(x))
