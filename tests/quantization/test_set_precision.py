"""Precision in variables: assigned, read back, and never retraced."""

import numpy as np
import pytest

import tfxp
from tests.cases import inputs_of, randomize
from tfxp.errors import PrecisionError
from tfxp.keras import keras, layers
from tfxp.precision import LayerPrecision, PrecisionMap
from tfxp.quantization.read_network import plan_of


def network():
    x = inputs = keras.Input((8, 6, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="stem")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    y = layers.DepthwiseConv2D(3, padding="same", activation="relu6", name="branch")(x)
    x = layers.Concatenate(name="join")([layers.Add(name="add")([x, y]), y])
    x = layers.AveragePooling2D(2, name="pool")(x)
    x = layers.ReLU(max_value=1.3, name="limit")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return randomize(keras.Model(inputs, layers.Dense(3, activation="softmax", name="head")(x)))


MAPS = {
    "w8a8": "w8a8",
    "w4a4c": "w4a4c",
    "w2a3": "w2a3e3",
    "w8a16": "w8a16",
    "mixed": PrecisionMap(
        LayerPrecision(5, 6),
        {
            "norm": LayerPrecision(weights="Q0.3s", activations="UQ3.1"),
            "head": LayerPrecision(weights=("Q0.3", "Q1.2", "Q-1.4")),
            "@inputs": LayerPrecision(activations="UQ2.1"),
        },
    ),
}


@pytest.fixture(scope="module")
def setting():
    """A compiled model that has been trained a little, its inputs and statistics."""
    model = network()
    x = inputs_of(model, 24)
    labels = np.arange(24) % 3
    stats = tfxp.measure_model(model, x)
    qmodel = tfxp.quantize_model(model, "w8a8", stats)
    qmodel.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    qmodel.fit(x, labels, epochs=2, batch_size=12, verbose=0)
    qmodel.evaluate(x, labels, verbose=0)
    qmodel.predict(x, verbose=0)
    return qmodel, x, labels, stats


def traces(qmodel):
    functions = (qmodel.train_function, qmodel.test_function, qmodel.predict_function)
    return [function.experimental_get_tracing_count() for function in functions]


def test_no_retrace_and_equal_to_a_freshly_quantized_model(setting):
    qmodel, x, labels, stats = setting
    before, plain = traces(qmodel), plan_of(qmodel).graph.to_model()
    assert min(before) >= 1
    for precision in MAPS.values():
        tfxp.set_precision(qmodel, precision)
        fresh = tfxp.quantize_model(plain, _without_folded(precision), stats)
        got = qmodel.predict(x, verbose=0)
        assert np.array_equal(got, fresh.predict(x, verbose=0))
        ours, theirs = tfxp.precision_of(qmodel), tfxp.precision_of(fresh)
        assert ours.to_dict() == theirs.to_dict()
    qmodel.fit(x, labels, epochs=1, batch_size=12, verbose=0)
    qmodel.evaluate(x, labels, verbose=0)
    assert traces(qmodel) == before


def _without_folded(precision):
    """The fresh model has its BatchNormalization folded before; its name is gone."""
    if isinstance(precision, str):
        return precision
    rules = {{"norm": "stem"}.get(key, key): rule for key, rule in precision.layers.items()}
    return PrecisionMap(precision.default, rules)


def test_outputs_change_and_come_back(setting):
    qmodel, x, _, stats = setting
    outputs = {}
    for name, precision in MAPS.items():
        tfxp.set_precision(qmodel, precision)
        outputs[name] = qmodel.predict(x, verbose=0)
    assert len({value.tobytes() for value in outputs.values()}) == len(MAPS)
    for name, precision in MAPS.items():
        tfxp.set_precision(qmodel, precision, stats)
        assert np.array_equal(qmodel.predict(x, verbose=0), outputs[name])


def test_precision_of_is_the_inverse(setting):
    qmodel, x, _, _ = setting
    for precision in MAPS.values():
        tfxp.set_precision(qmodel, precision)
        wanted, read = qmodel.predict(x, verbose=0), tfxp.precision_of(qmodel)
        tfxp.set_precision(qmodel, "w3a3")
        tfxp.set_precision(qmodel, PrecisionMap.from_dict(read.to_dict()))
        assert np.array_equal(qmodel.predict(x, verbose=0), wanted)
        assert tfxp.precision_of(qmodel).to_dict() == read.to_dict()


EXPLICIT = {
    "roundings": PrecisionMap(
        LayerPrecision(4, 4, rounding="half_away"),
        {
            "mean": LayerPrecision(rounding="half_even"),
            "add": LayerPrecision(rounding="half_even"),
            "stem": LayerPrecision(rounding="floor"),
            "head": LayerPrecision(rounding="engine"),
        },
    ),
    "placement": PrecisionMap(LayerPrecision(4, 4, placement="pre_activation")),
    "wrpn": PrecisionMap.uniform("wrpn:3", "wrpn:4"),
    "binary": PrecisionMap.uniform("wrpn:1", 4),
    "floats": PrecisionMap(layers={
        "stem": LayerPrecision("float"), "join": LayerPrecision(activations="float"),
        "head": LayerPrecision(bias="float"),
    }),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPLICIT)
def test_precision_of_what_is_part_of_the_structure(name):
    model = network()
    x = inputs_of(model, 8)
    stats = tfxp.measure_model(model, x)
    first = tfxp.quantize_model(model, EXPLICIT[name], stats)
    read = tfxp.precision_of(first)
    second = tfxp.quantize_model(model, read)  # full formats: no statistics needed
    assert np.array_equal(first(x), second(x))
    assert tfxp.precision_of(second).to_dict() == read.to_dict()
    tfxp.set_precision(first, read)
    assert np.array_equal(first(x), second(x))


@pytest.mark.parametrize(
    ("precision", "layer"),
    [
        (PrecisionMap(layers={"stem": LayerPrecision(weights="float")}), "stem"),
        (PrecisionMap(layers={"add": LayerPrecision(activations="float")}), "add"),
        (PrecisionMap(layers={"add": LayerPrecision(rounding="floor")}), "add"),
        (PrecisionMap(layers={"head": LayerPrecision(weights="wrpn:1")}), "head"),
        (PrecisionMap(layers={"head": LayerPrecision(bias="float")}), "head"),
        (PrecisionMap(layers={"image": LayerPrecision(activations="float")}), "image"),
        (PrecisionMap(layers={"image": LayerPrecision(rounding="floor")}), "image"),
        (PrecisionMap(layers={"stem": LayerPrecision(placement="pre_activation")}), "stem"),
    ],
)
def test_changes_of_structure_are_refused_and_change_nothing(setting, precision, layer):
    qmodel, x, _, _ = setting
    tfxp.set_precision(qmodel, "w5a5")
    before = qmodel.predict(x, verbose=0)
    with pytest.raises(PrecisionError, match=f"{layer}.*Call quantize_model"):
        tfxp.set_precision(qmodel, precision)
    assert np.array_equal(qmodel.predict(x, verbose=0), before)


def test_other_refusals(setting):
    qmodel, x, _, _ = setting
    tfxp.set_precision(qmodel, "w5a5")
    before = qmodel.predict(x, verbose=0)
    with pytest.raises(PrecisionError, match="match no layer"):
        tfxp.set_precision(qmodel, PrecisionMap(layers={"nobody": LayerPrecision(3)}))
    with pytest.raises(PrecisionError, match="quantize_model returns"):
        tfxp.set_precision(network(), "w8a8")
    assert np.array_equal(qmodel.predict(x, verbose=0), before)
    loaded = keras.models.clone_model(qmodel)
    with pytest.raises(PrecisionError, match="no measurement"):
        tfxp.set_precision(loaded, "w8a8")
