"""Stages: which layers store their output, and who is alive when."""

import pytest

from tfxp.cost import cost_report, select_layers, stages_of
from tfxp.cost.stages import live_sets
from tfxp.errors import ModelError
from tfxp.precision import LayerStats, ModelStats, PrecisionMap


def network(*layers, outputs):
    return ModelStats({layer.name: layer for layer in layers}, outputs)


RESIDUAL = network(
    LayerStats("x", "input", (), (8, 8, 3)),
    LayerStats("a", "conv", ("x",), (8, 8, 4), (3, 3, 3, 4), 8 * 8 * 108, 4),
    LayerStats("relu", "activation", ("a",), (8, 8, 4)),
    LayerStats("b", "conv", ("relu",), (8, 8, 4), (3, 3, 4, 4), 8 * 8 * 144, 4),
    LayerStats("sum", "add", ("b", "relu"), (8, 8, 4)),
    LayerStats("pool", "pool", ("sum",), (4, 4, 4)),
    LayerStats("flat", "flatten", ("pool",), (64,)),
    LayerStats("d", "dense", ("flat",), (10,), (64, 10), 640, 10),
    LayerStats("p", "softmax", ("d",), (10,)),
    outputs=("p",),
)


def test_activation_pool_and_views_join_the_stage_before_them():
    stages = stages_of(RESIDUAL)
    assert {name: stage.members for name, stage in stages.items()} == {
        "x": ("x",),
        "a": ("a", "relu"),
        "b": ("b",),
        "sum": ("sum", "pool", "flat"),
        "d": ("d", "p"),
    }
    assert stages["sum"].output_count == 64
    assert stages["sum"].sources == ("b", "a")
    assert stages["x"].is_input


def test_pool_on_its_own_reads_and_writes():
    stages = stages_of(RESIDUAL, fuse_pools=False)
    assert stages["sum"].output_count == 256
    assert stages["pool"].members == ("pool", "flat")
    assert stages["pool"].sources == ("sum",)


def test_a_shared_layer_works_and_stores_once_per_call():
    """d(relu(d(x))): its weights count once, its work and its outputs twice."""
    first = LayerStats("d", "dense", ("x",), (4,), (4, 4), 16, 4)
    model = network(
        LayerStats("x", "input", (), (4,)),
        first.again(LayerStats("d", "dense", ("lookup",), (4,), (4, 4), 16, 4)),
        LayerStats("lookup", "lookup", ("d",), (4,)),
        LayerStats("e", "dense", ("d",), (2,), (4, 2), 8, 2),
        outputs=("e",),
    )
    stages = stages_of(model)
    assert stages["d"].sources == ("x", "lookup") and stages["d"].output_count == 8
    assert list(live_sets(stages, ("e",)))[2] == {"d", "lookup"}
    once = network(*[{"d": first}.get(name, layer) for name, layer in model.layers.items()],
                   outputs=("e",))  # fmt: skip
    report, single = (cost_report(part, PrecisionMap.uniform(8, 8)) for part in (model, once))
    assert report.total("macs") == single.total("macs") + 16 == 40
    assert report.total("model_size_bits") == single.total("model_size_bits")
    again = ModelStats.from_dict(model.to_dict())
    assert again["d"].calls == 2 and stages_of(again) == stages


def test_a_layer_that_two_read_is_stored():
    shared = network(
        LayerStats("x", "input", (), (4, 4, 1)),
        LayerStats("a", "conv", ("x",), (4, 4, 2), (1, 1, 1, 2), 32),
        LayerStats("pool", "pool", ("a",), (2, 2, 2)),
        LayerStats("b", "conv", ("a",), (4, 4, 2), (1, 1, 2, 2), 64),
        outputs=("pool", "b"),
    )
    stages = stages_of(shared)
    assert stages["a"].members == ("a",)
    assert stages["pool"].sources == ("a",)


def test_an_output_is_stored_and_activation_of_the_input_is_not_free():
    model = network(
        LayerStats("x", "input", (), (4,)),
        LayerStats("r", "relu", ("x",), (4,)),
        LayerStats("d", "dense", ("r",), (4,), (4, 4), 16),
        LayerStats("s", "softmax", ("d",), (4,)),
        outputs=("d", "s"),
    )
    assert list(stages_of(model)) == ["x", "r", "d", "s"]


def test_liveness_by_hand():
    live = list(live_sets(stages_of(RESIDUAL), RESIDUAL.outputs))
    assert live == [{"x"}, {"x", "a"}, {"a", "b"}, {"a", "b", "sum"}, {"sum", "d"}]


def test_selectors():
    assert select_layers(RESIDUAL) == {
        "@inputs": ["x"],
        "@outputs": ["d"],
        "@first": ["a"],
        "@last": ["d"],
        "@norms": [],
        "@means": [],
        "@addends": ["b"],
    }


def test_layers_out_of_order():
    model = network(LayerStats("b", "dense", ("a",), (1,), (1, 1), 1), outputs=("b",))
    with pytest.raises(ModelError, match="inputs of layer 'b': got 'a'"):
        stages_of(model)


def test_the_precision_of_an_output_is_its_owner_s():
    """A max-pool of two readers stores its input's format; a mean has one of its own."""
    model = network(
        LayerStats("x", "input", (), (4, 4, 1)),
        LayerStats("a", "conv", ("x",), (4, 4, 2), (1, 1, 1, 2), 32),
        LayerStats("pool", "pool", ("a",), (2, 2, 2)),
        LayerStats("b", "conv", ("a",), (4, 4, 2), (1, 1, 2, 2), 64),
        LayerStats("m", "mean", ("b",), (2,)),
        LayerStats("flat", "flatten", ("m",), (2,)),
        outputs=("pool", "flat"),
    )
    stages = stages_of(model)
    assert {name: stage.owner for name, stage in stages.items()} == {
        "x": "x",
        "a": "a",
        "pool": "a",
        "b": "m",
    }
