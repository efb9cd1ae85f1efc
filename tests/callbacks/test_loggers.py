"""What the loggers write, against NumPy; the exported best epoch, against the model it was."""

import json
import warnings

import numpy as np
import pytest

import tfxp
from tests.cases import built, inputs_of
from tfxp.callbacks import ExportCheckpoint, RangeLogger, SparsityLogger, SqnrLogger
from tfxp.callbacks.range_logger import octaves
from tfxp.errors import ConfigError, DataError, ExportError, PrecisionError
from tfxp.keras import keras, layers, tf
from tfxp.quantization.read_network import plan_of


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A network with a shared layer and two inputs, fitted for two epochs under all loggers."""
    folder = tmp_path_factory.mktemp("logs")
    model = built("shared_dense_two_inputs")
    x = inputs_of(model, 24)
    qmodel = tfxp.quantize_model(model, "w5a4", tfxp.measure_model(model, x))
    qmodel.compile(keras.optimizers.SGD(1e-4), "mse")
    classes = (RangeLogger, SparsityLogger, SqnrLogger)
    loggers = [cls(x, folder, samples=16, max_share=None) for cls in classes]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        qmodel.fit(x, np.zeros((24, 3)), 8, 2, verbose=0, callbacks=loggers)
    return qmodel, [part[:16] for part in x], folder


def last_line(folder, name):
    lines = [json.loads(line) for line in (folder / f"{name}.jsonl").open()]
    assert [(line["epoch"], line["step"]) for line in lines] == [(-1, 0), (0, 3), (1, 6)]
    return lines[-1]


def kernels(qmodel):
    return {n: c.weights * np.asarray(c.weight_scale) for n, c in _integers(qmodel).items()}


def _integers(qmodel):
    found = tfxp.integer_weights(qmodel)
    return {n: c for n, c in found.items() if np.size(c.weight_scale) == 1}


def test_ranges(trained):
    qmodel, _, folder = trained
    line = last_line(folder, "ranges")
    for name, kernel in kernels(qmodel).items():
        found = line["tensors"][name]["weights"]
        assert found["min"] == pytest.approx(kernel.min()) and found["max"] == pytest.approx(
            kernel.max()
        )
        assert found["mean"] == pytest.approx(kernel.mean(), abs=1e-6)
        assert found["std"] == pytest.approx(kernel.std(), rel=1e-5)
        exponents = np.frexp(kernel[kernel != 0])[1] - 1
        assert found["octaves"] == np.bincount(exponents + 40, minlength=80).tolist()


def test_octaves_of_powers_of_two_and_of_extremes():
    for exponent in range(-40, 40):
        for factor in (1.0, 1.9999999):
            counts = octaves(tf.constant([-factor * 2.0**exponent], tf.float32)).numpy()
            assert counts[exponent + 40] == 1 and counts.sum() == 1
    counts = octaves(tf.constant([1e-30, 3e38, 0.0, -0.0], tf.float32)).numpy()
    assert counts[0] == counts[-1] == 1 and counts.sum() == 2


def test_sparsity(trained):
    qmodel, x, folder = trained
    line = last_line(folder, "sparsity")
    integers = _integers(qmodel)
    for name, layer in integers.items():
        assert line["zeros"][name]["weights"] == pytest.approx((layer.weights == 0).mean())
    every = [layer.weights.ravel() for layer in tfxp.integer_weights(qmodel).values()]
    assert line["total"]["weights"] == pytest.approx((np.concatenate(every) == 0).mean())
    owner = qmodel.get_layer("b_first_quantized")
    values = keras.Model(qmodel.inputs, owner.output).predict(x, verbose=0)
    assert line["zeros"]["b_first"]["activations"] == pytest.approx((values == 0).mean())


def test_sqnr(trained):
    qmodel, x, folder = trained
    line = last_line(folder, "sqnr")
    for name, kernel in kernels(qmodel).items():
        wanted = qmodel.get_layer(name).layer.get_weights()[0].astype(np.float64)
        noise = 10 * np.log10((wanted**2).sum() / ((kernel - wanted) ** 2).sum())
        assert line["sqnr"][name]["weights"] == pytest.approx(noise, abs=1e-3)
    # The float twin as a model of its own: quantizers taken out, weights as they are.
    plan = plan_of(qmodel)
    wanted = plan.graph.to_model().predict(x, verbose=0).astype(np.float64)
    have = qmodel.predict(x, verbose=0)
    noise = 10 * np.log10((wanted**2).sum() / ((have - wanted) ** 2).sum())
    assert list(line["outputs"]) == plan.selected()["@outputs"]
    assert list(line["outputs"].values())[0] == pytest.approx(noise, abs=0.01)


def test_tensorboard_can_read_it(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = trained[2]
    seen = {}
    for name in ("ranges", "sparsity", "sqnr"):
        events = EventAccumulator(str(folder / name))
        events.Reload()
        seen[name] = events
    assert [e.step for e in seen["sparsity"].Scalars("zeros_total/weights")] == [0, 3, 6]
    line = last_line(folder, "sparsity")
    last = seen["sparsity"].Scalars("zeros_total/weights")[-1].value
    assert last == pytest.approx(line["total"]["weights"])
    tag = next(tag for tag in seen["ranges"].Tags()["histograms"] if tag.endswith("/weights"))
    _, layer, tensor = tag.split("/")
    counts = last_line(folder, "ranges")["tensors"][layer][tensor]["octaves"]
    assert seen["ranges"].Histograms(tag)[-1].histogram_value.num == sum(counts)


def test_float_models_can_be_watched_too(rng):
    model = keras.Sequential([layers.Dense(4, "relu", input_shape=(3,), name="d")])
    model.compile("sgd", "mse")
    x = rng.normal(size=(20, 3))
    ranges, zeros = RangeLogger(x, max_share=None), SparsityLogger(x, max_share=None)
    model.fit(x, np.zeros((20, 4)), verbose=0, callbacks=[ranges, zeros])
    values = model.predict(x, verbose=0)
    assert ranges.records[-1]["tensors"]["d"]["activations"]["max"] == pytest.approx(values.max())
    share = zeros.records[-1]["zeros"]["d"]["activations"]
    assert share == pytest.approx((values == 0).mean()) and share > 0
    with pytest.raises(PrecisionError, match="no quantized layer"):
        model.fit(x, np.zeros((20, 4)), verbose=0, callbacks=[SqnrLogger(x)])


# --- the best epoch as a file --------------------------------------------------------------------


class Weights(keras.callbacks.Callback):
    """Gives the model other weights for every epoch; the optimizer does not move them."""

    def __init__(self, scales):
        super().__init__()
        self.scales = scales

    def on_epoch_begin(self, epoch, logs=None):
        kernel = self.model.get_layer("out").layer.kernel
        kernel.assign(self.original * self.scales[epoch])

    def on_train_begin(self, logs=None):
        self.original = self.model.get_layer("out").layer.kernel.numpy()


@pytest.fixture
def net(rng):
    keras.backend.clear_session()
    model = keras.Sequential([layers.Dense(5, "relu", input_shape=(4,), name="h"),
                              layers.Dense(3, name="out")])  # fmt: skip
    x = rng.normal(size=(32, 4)).astype(np.float32)
    qmodel = tfxp.quantize_model(model, "w6a6", tfxp.measure_model(model, x))
    qmodel.compile(keras.optimizers.SGD(0.0), "mse")
    return qmodel, x, qmodel.predict(x, verbose=0)


def file_outputs(path, x):
    """Real outputs of the file in tfxp's interpreter."""
    runner = tfxp.Interpreter(path)
    runner.allocate_tensors()
    source, result = runner.get_input_details()[0], runner.get_output_details()[0]
    scale, zero = source["quantization"]
    codes = np.clip(np.rint(x / scale) + zero, -128, 127).astype(np.int8)
    scale, zero = result["quantization"]
    return (runner.predict_codes(codes).astype(np.float64) - zero) * scale


@pytest.mark.parametrize("max_share", [None, 0.0], ids=["at once", "owed"])
def test_the_file_is_the_best_epoch(net, tmp_path, max_share):
    qmodel, x, targets = net
    best = ExportCheckpoint(tmp_path / "best.tflite", x, "loss", log_dir=tmp_path,
                            max_share=max_share)  # fmt: skip
    scales = [0.5, 1.0, 0.25]  # the targets are the outputs at 1.0
    qmodel.fit(x, targets, 16, 3, verbose=0, callbacks=[Weights(scales), best])
    assert best.best_epoch == 1 and best.best == pytest.approx(0.0, abs=1e-9)
    assert np.array_equal(file_outputs(best.path, x), targets)
    assert not np.array_equal(qmodel.predict(x, verbose=0), targets)  # the model went on
    lines = [json.loads(line) for line in (tmp_path / "exports.jsonl").open()]
    assert [line["epoch"] for line in lines] == ([0, 1] if max_share is None else [1])
    assert [p.name for p in tmp_path.iterdir() if "trial" in p.name] == []
    assert all(line["mismatches_interpreter"] == line["mismatches_litert"] == 0 for line in lines)


def test_a_figure_that_is_not_there(net, tmp_path):
    qmodel, x, y = net
    best = ExportCheckpoint(tmp_path / "best.tflite", x, "val_accuracy")
    with pytest.raises(ConfigError, match="got 'val_accuracy'; expected one of loss"):
        qmodel.fit(x, y, verbose=0, callbacks=[best])


def test_what_cannot_be_exported_is_said_before_the_first_step(net, tmp_path, rng):
    _, x, y = net
    model = keras.Sequential([layers.Dense(3, input_shape=(4,))])
    partly = tfxp.quantize_model(model, tfxp.PrecisionMap.uniform("float", "Q2.5"))
    partly.compile("sgd", "mse")
    before = partly.get_weights()
    with pytest.raises(ExportError, match="weights are float"):
        partly.fit(x, y, verbose=0, callbacks=[ExportCheckpoint(tmp_path / "a.tflite", x)])
    assert all(np.array_equal(a, b) for a, b in zip(before, partly.get_weights(), strict=True))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [{"mode": "best"}, {"samples": 0}, {"max_share": -1.0}])
def test_bad_arguments(options, tmp_path):
    with pytest.raises(ConfigError, match="ExportCheckpoint: got"):
        ExportCheckpoint(tmp_path / "a.tflite", None, **options)


def test_data_that_do_not_fit(net, tmp_path):
    qmodel, x, y = net
    for data in (x[:0], [x, x]):
        with pytest.raises(DataError):
            qmodel.fit(x, y, verbose=0, callbacks=[SqnrLogger(data)])
    with pytest.raises(ConfigError, match="got none"):
        SqnrLogger(None)
