"""The quantized model and its prices agree on who owns a format and who is first."""

import pytest
import tensorflow_model_optimization as tfmot

import tests.cases as networks
from tests.layer_cases import build
from tfxp.assign.search_space import BitSpace
from tfxp.assign.word_space import WordSpace
from tfxp.cost import cost_report, resolve_precision, select_layers, stages_of
from tfxp.keras import keras, layers, tf
from tfxp.measure import measure_model
from tfxp.measure.workload import workload
from tfxp.models.keras_models import build_model
from tfxp.precision import LayerPrecision, ModelStats, PrecisionMap
from tfxp.quantization.plan import prepare


def owners():
    """Everything that once owned a format on one side only."""
    x = inputs = layers.Input((6, 4), name="x")
    x = layers.LayerNormalization(axis=1, name="kept")(layers.Dense(4, name="first")(x))
    x = layers.Softmax(name="inner")(layers.Dense(4, name="scores")(x))
    x = tf.pad(x, [[0, 0], [1, 1], [0, 0]], constant_values=0.5, name="padded")
    x = layers.Flatten(name="flat")(layers.MaxPooling1D(2, name="pool")(x))
    return keras.Model(inputs, layers.Dense(3, "softmax", name="last")(x))


def tokens():
    x = inputs = layers.Input((5,), name="tokens", dtype="int32")
    x = layers.Reshape((5,), name="same")(x)
    x = layers.LSTM(3, name="memory")(layers.Embedding(9, 4, name="table")(x))
    return keras.Model(inputs, layers.PReLU(name="slopes")(layers.Dense(2, name="out")(x)))


MODELS = {
    "owners": owners,
    "tokens": tokens,
    **{name: lambda name=name: build(name) for name in ("layer_norm", "normed_attention",
       "text_classifier", "encoder_decoder", "softmax_inside", "positions")},
    **{name: networks.CASES[name] for name in ("residual", "shared_conv", "shared_two_outputs")},
    **{name: lambda name=name: build_model(name, width=0.1)
       for name in ("lenet", "convnet", "plain6", "resnet8")},
}  # fmt: skip
MAPS = {
    "small": PrecisionMap.parse("w4a4"),
    "edges": PrecisionMap.parse("w4a5e8"),
    "selectors": PrecisionMap(
        LayerPrecision(4, 4),
        {
            "@norms": LayerPrecision(activations=6),
            "@inputs": LayerPrecision(activations=7),
            "@first": LayerPrecision(5, 5),
            "@last": LayerPrecision(3),
            "@outputs": LayerPrecision(activations=10),
        },
    ),
}


def without_decisions(stats):
    """What a statistics file of an earlier version holds."""
    saved = stats.to_dict()
    del saved["selected"]
    for layer in saved["layers"]:
        del layer["owns_format"]
    return ModelStats.from_dict(saved)


@pytest.mark.parametrize("fold", [True, False], ids=["folded", "kept"])
@pytest.mark.parametrize("name", MODELS)
def test_both_sides_resolve_a_map_alike(name, fold):
    keras.backend.clear_session()
    plan = prepare(MODELS[name](), fold)
    stats = workload(plan)
    assert select_layers(stats) == plan.selected()
    assert [n for n, layer in stats.layers.items() if layer.owns_format] == list(plan.points)
    for pmap in MAPS.values():
        wanted = pmap.resolve(list(plan.points), plan.aliases, plan.selected())
        priced = resolve_precision(stats, pmap)
        assert {name: priced[name] for name in wanted} == wanted
    assert ModelStats.from_dict(stats.to_dict()) == stats


@pytest.mark.parametrize("name", MODELS)
def test_statistics_of_earlier_versions_are_told_by_kinds(name):
    keras.backend.clear_session()
    stats = workload(prepare(MODELS[name]()))
    old = without_decisions(stats)
    assert old.selected == stats.selected
    counted = {n for n, layer in stats.layers.items() if layer.owns_format}
    told = {n for n, layer in old.layers.items() if layer.owns_format}
    assert {stats[n].kind for n in counted ^ told} <= {"pad"}  # by a value, or of the format


def test_measured_statistics_tell_padding_with_a_value_too():
    model = owners()
    stats = measure_model(model, networks.inputs_of(model))
    owns = {name: layer.owns_format for name, layer in stats.layers.items()}
    assert {n: x.owns_format for n, x in without_decisions(stats).layers.items()} == owns


def test_selectors_go_by_their_definitions():
    selected = workload(prepare(tokens())).selected
    assert selected["@inputs"] == []  # indices have no format
    assert selected["@first"] == ["table"] and selected["@last"] == ["out"]
    assert selected["@outputs"] == ["slopes"]  # whose weights are slopes, not a kernel
    assert select_layers(workload(prepare(owners())))["@first"] == ["first"]


def test_searches_try_every_format():
    stats = measure_model(owners(), networks.inputs_of(owners()))
    found = {name for name, family in WordSpace(stats).parameters() if family == "activations"}
    assert found == {name for name, layer in stats.layers.items() if layer.owns_format} - {
        "x", "last"
    }  # fmt: skip
    assert {"kept", "inner"} < found and any("pad" in name for name in found)
    members = [name for unit in BitSpace(stats).units.values() for name in unit.layers]
    assert found < set(members)
    assert ("kept", "weights") in WordSpace(stats).parameters()


def test_prices_follow_a_rule_for_norms():
    stats = workload(prepare(build("layer_norm")))
    rules = [PrecisionMap(layers={"@norms": LayerPrecision(activations=n)}) for n in (4, 8)]
    few, many = (cost_report(stats, pmap).total("traffic_bits") for pmap in rules)
    assert few < many


def test_a_layer_that_passes_a_format_on_has_no_rule_on_either_side():
    plan = prepare(owners())
    stats, rule = workload(plan), PrecisionMap(layers={"pool": LayerPrecision(activations=4)})
    for resolve in (
        lambda: rule.resolve(list(plan.points), plan.aliases, plan.selected()),
        lambda: resolve_precision(stats, rule),
    ):
        with pytest.raises(Exception, match="'pool', which match no layer"):
            resolve()
    assert {stage.owner for stage in stages_of(stats).values()} <= set(plan.points)


def test_layers_left_alone_are_float_on_both_sides():
    annotate = tfmot.quantization.keras.quantize_annotate_layer
    x = inputs = layers.Input((4,), name="x")
    x = annotate(layers.Dense(6, "relu", name="grid"))(x)
    model = keras.Model(inputs, layers.Dense(2, name="alone")(x))
    plan = prepare(model)
    stats, pmap = workload(plan), PrecisionMap.parse("w4a4")
    wanted = pmap.resolve(list(plan.points), plan.aliases, plan.selected())
    priced = resolve_precision(stats, pmap)
    assert "alone" not in wanted and {name: priced[name] for name in wanted} == wanted
    assert priced["alone"] == LayerPrecision("float", "float")
    assert plan.selected()["@outputs"] == [] == list(stats.selected["@outputs"])
    assert ModelStats.from_dict(stats.to_dict()) == stats
