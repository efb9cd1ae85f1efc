"""Precision that follows the epoch, and the alarm for layers that die or saturate."""

import json
import warnings

import numpy as np
import pytest

import tfxp
from tfxp.callbacks import PrecisionSchedule, SaturationAlarm, SaturationWarning
from tfxp.errors import ConfigError, FormatError, OutputError, PrecisionError
from tfxp.keras import keras, layers


@pytest.fixture
def net(rng):
    """(quantized model, inputs, targets): two dense layers, compiled."""
    keras.backend.clear_session()
    inputs = keras.Input((6,), name="x")
    hidden = layers.ReLU()(layers.Dense(8, name="hidden")(inputs))
    model = keras.Model(inputs, layers.Dense(3, name="out")(hidden))
    x = rng.normal(size=(40, 6)).astype(np.float32)
    qmodel = tfxp.quantize_model(model, "w8a8", tfxp.measure_model(model, x))
    qmodel.compile("sgd", "mse")
    return qmodel, x, rng.normal(size=(40, 3)).astype(np.float32)


def bits(qmodel):
    rule = tfxp.precision_of(qmodel).layers["hidden"]
    return rule.weights.bits, rule.activations.bits


class Seen(keras.callbacks.Callback):
    """Bits during every epoch."""

    def __init__(self):
        super().__init__()
        self.bits = []

    def on_epoch_end(self, epoch, logs=None):
        self.bits.append(bits(self.model))


def fit(net, *callbacks, epochs=4, start=0):
    qmodel, x, y = net
    qmodel.fit(x, y, 20, epochs, verbose=0, callbacks=list(callbacks), initial_epoch=start)


def test_precision_follows_the_epoch(net, tmp_path):
    traces = []
    original = net[0].train_step
    net[0].train_step = lambda data: traces.append(1) or original(data)
    seen = Seen()
    fit(net, epochs=1)  # traced, and once more because the optimizer makes its variables
    before = len(traces)
    fit(net, PrecisionSchedule({1: "w6a5", 3: "w3a4"}, log_dir=tmp_path), seen)
    assert seen.bits == [(8, 8), (6, 5), (6, 5), (3, 4)]
    assert len(traces) == before
    lines = [json.loads(line) for line in (tmp_path / "precision.jsonl").open()]
    assert [(line["epoch"], line["step"], line["precision"]) for line in lines] == [
        (1, 4, "w6a5"),
        (3, 8, "w3a4"),
    ]
    again = tfxp.PrecisionMap.from_dict(lines[1]["map"])
    assert again.layers["hidden"].weights.bits == 3


def test_a_resumed_training_gets_the_precision_of_its_epoch(net):
    seen = Seen()
    fit(net, PrecisionSchedule({0: "w8a8", 2: "w4a4"}), seen, epochs=4, start=3)
    assert seen.bits == [(4, 4)]


def test_a_map_that_does_not_fit_is_said_before_the_first_step(net):
    pmap = tfxp.PrecisionMap.from_dict({"schema": 1, "layers": {"nowhere": {"weights": 3}}})
    before = [w.copy() for w in net[0].get_weights()]
    with pytest.raises(PrecisionError, match="nowhere"):
        fit(net, PrecisionSchedule({0: "w4a4", 90: pmap}))
    assert all(np.array_equal(a, b) for a, b in zip(before, net[0].get_weights(), strict=True))


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: PrecisionSchedule({}), ConfigError, "got none; expected whole numbers"),
        (lambda: PrecisionSchedule({-1: "w4a4"}), ConfigError, r"got \[-1\]"),
        (lambda: PrecisionSchedule({0: "4bit"}), (PrecisionError, FormatError), "4bit"),
        (lambda: SaturationAlarm(max_zero=0.0), ConfigError, "max_zero=0.0"),
        (lambda: SaturationAlarm(every=0), ConfigError, "every: got 0"),
        (lambda: SaturationAlarm(samples=0), ConfigError, "samples=0"),
        (lambda: SaturationAlarm(log_dir="/dev/null/x"), OutputError, "cannot be written"),
    ],
)
def test_bad_arguments(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_no_alarm_in_a_healthy_network(net, tmp_path):
    alarm = SaturationAlarm(net[1], tmp_path, max_share=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SaturationWarning)
        fit(net, alarm, epochs=2)
    assert alarm.alarms == {} and [r["step"] for r in alarm.records] == [0, 2, 4]


def test_shares_are_what_numpy_counts(net):
    qmodel, x, _ = net
    tfxp.set_precision(qmodel, "w3a3")
    alarm = SaturationAlarm(x[:16], max_share=None)
    fit(net, alarm, epochs=1)
    kernel = tfxp.integer_weights(qmodel)["hidden"].weights
    found = alarm.records[-1]["tensors"]["hidden"]["weights"]
    low, high = (-4, 3)
    assert found["zeros"] == pytest.approx((kernel == 0).mean())
    assert found["saturated"] == pytest.approx(((kernel <= low) | (kernel >= high)).mean())
    assert found["limit"] == pytest.approx(1 - 0.5 * (1 - 2 / 8))
    hidden = keras.Model(qmodel.inputs, qmodel.get_layer("re_lu").output)
    values = hidden.predict(x[:16], verbose=0)
    fmt = tfxp.precision_of(qmodel).layers["hidden"].activations
    found = alarm.records[-1]["tensors"]["hidden"]["activations"]
    assert found["zeros"] == pytest.approx((values == 0).mean())
    assert found["saturated"] == pytest.approx((values >= fmt.max).mean())


def spoil_zero(qmodel):
    layer = qmodel.get_layer("hidden").layer
    layer.set_weights([layer.get_weights()[0] * 1e-9, layer.get_weights()[1]])


def spoil_large(qmodel):
    layer = qmodel.get_layer("hidden").layer
    layer.set_weights([layer.get_weights()[0] * 1e3, layer.get_weights()[1]])


def spoil_negative(qmodel):
    layer = qmodel.get_layer("hidden").layer
    layer.set_weights([layer.get_weights()[0], layer.get_weights()[1] - 1e2])


def spoil_nan(qmodel):
    layer = qmodel.get_layer("hidden").layer
    layer.set_weights([np.full_like(layer.get_weights()[0], np.nan), layer.get_weights()[1]])


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (spoil_zero, "weights of layer 'hidden': 100.0% of the values are zero"),
        (spoil_large, "weights of layer 'hidden': .* lie at the ends of the format"),
        (spoil_negative, "activations of layer 'hidden': 100.0% of the values are zero"),
        (spoil_nan, "weights of layer 'hidden': 100.0% of the values are NaN or infinite"),
    ],
    ids=["zero", "saturated", "dead", "nan"],
)
def test_alarm_names_layer_and_tensor(net, spoil, text):
    alarm = SaturationAlarm(net[1], max_share=None, stop_training=True)
    spoil(net[0])
    with pytest.warns(SaturationWarning, match=f"before training: {text}"):
        fit(net, alarm, epochs=5)
    assert len(alarm.records) == 2  # before the first step, and after the one epoch it was let run


def test_alarm_is_raised_once_and_again_after_recovery(net):
    qmodel, x, _ = net
    good = qmodel.get_weights()
    alarm = SaturationAlarm(x, every=1, max_share=None)

    class Spoiler(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch in (1, 4):
                spoil_zero(self.model)
            if batch == 3:
                self.model.set_weights(good)

    qmodel.compile(keras.optimizers.SGD(0.0), "mse")
    with pytest.warns(SaturationWarning) as caught:
        qmodel.fit(x, np.zeros((40, 3)), 6, 1, verbose=0, callbacks=[Spoiler(), alarm])
    texts = [str(w.message) for w in caught if "weights of layer 'hidden'" in str(w.message)]
    assert len(texts) == 2
    assert ("hidden", "weights") in alarm.alarms


def test_what_costs_too_much_is_left_out(net):
    alarm = SaturationAlarm(net[1], every=1, max_share=0.0)
    fit(net, alarm, epochs=2)
    assert alarm.skipped == 4 and len(alarm.records) == 2
