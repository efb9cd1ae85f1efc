#!/usr/bin/env python3
"""Time of a training step and of prediction, relative to the float model, in one run.

Usage:
  tools/bench_training.py --model=pretrainedResnet.h5 --rounds=25 --json=training.json
  tools/bench_training.py            # the same architecture (MLPerf Tiny ResNet-8), random weights
  tools/bench_training.py --backprop --batch_size=64   # fixed-point back-propagation
  tools/bench_training.py --streamed --batch_size=64   # batches from a stream
  tools/bench_training.py --first_calls --rounds=5     # until a new model has done something once

Every round times each model once, in turn and from another start each time, so that whatever else
the machine does meets all alike. A ratio is taken within a round; the median over rounds is
printed, with the quartiles. Ratios are to "float", the given model with its BatchNormalization;
"float folded" is the same network with BatchNormalization folded into the convolutions. "cpu" is
the ratio of processor time of all threads, which other processes disturb less than wall time.

With --backprop the network is Sakr's ConvNet at half width, trained by plain gradient descent: in
float, with float gradients through rounded weights and activations (dual copy), with all five
tensors in fixed point, with stochastic gradients, and in float under a GradientProbe.

With --streamed the first precision is fine-tuned by the steps of `fine_tune`, each with its batch
fetched, from arrays in memory, from a `tf.data.Dataset` and from a mapped .npy file. "predict" is
fetching the batch alone.

With --first_calls every turn makes its model anew: "build" is quantizing it, or cloning the float
one, "predict" and "train" are the first calls, whose graphs are traced.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

import tfxp
from tfxp import cli
from tfxp.commands.turns import Row, Step, figures_of, time_column, time_in_order
from tfxp.errors import ConfigError, ModelError
from tfxp.files import write_json
from tfxp.keras import keras, layers, tf

_FLAGS = cli.ToolFlags(__doc__)
_MODEL = _FLAGS.DEFINE_string("model", None, "Keras model (default: ResNet-8, random weights).")
_BATCH_SIZE = _FLAGS.batch_size(32)
_ROUNDS = _FLAGS.DEFINE_integer("rounds", 15, "Rounds of one turn each.", lower_bound=3)
_STEPS = _FLAGS.DEFINE_integer("steps", 4, "Steps of a turn.", lower_bound=1)
_PRECISIONS = _FLAGS.DEFINE_list("precisions", ["w4a4", "w8a8"], "Shorthands; the first: bars.")
_TFMOT = _FLAGS.DEFINE_boolean("tfmot", True, "Time tfmot's 8-bit model too.")
_KEPT = _FLAGS.DEFINE_boolean("kept", True, "Time the first precision with BatchNorm kept too.")
_LEARNED = _FLAGS.DEFINE_boolean("learned", True, "Time the first precision, learned, too.")
_OPTIMIZER = _FLAGS.DEFINE_enum("optimizer", "adam", ["adam", "sgd"], "Optimizer of the steps.")
_BACKPROP = _FLAGS.DEFINE_boolean("backprop", False, "Time fixed-point back-propagation.")
_STREAMED = _FLAGS.DEFINE_boolean("streamed", False, "Time fine-tuning from streams.")
_FIRST = _FLAGS.DEFINE_boolean("first_calls", False, "Time what happens once for every model.")
_SEED = _FLAGS.seed()
_JSON = _FLAGS.json()

TRAIN_BAR, PREDICT_BAR, LEARNED_BAR = 1.20, 1.30, 1.15
BACKPROP_BAR, PROBE_BAR = 1.60, 1.30
STREAM_BAR = 1.10
_SAMPLES = 4096  # of the set that is streamed
_LEARNING_RATE = 1e-5  # small: what is timed must not drift into NaN or denormals


def main() -> None:
    """Build the models, time them, print ratios."""
    if not any(_PRECISIONS.value):
        raise ConfigError("precisions: got none; expected shorthands such as w4a4,w8a8.")
    tf.get_logger().setLevel("ERROR")  # it takes several models for one that is traced often
    kinds = {"backprop": _BACKPROP, "streamed": _STREAMED, "first calls": _FIRST}
    kind = next((name for name, flag in kinds.items() if flag.value), "models")
    make_rows, make_bars = _KINDS[kind]
    rows = make_rows()
    load = os.getloadavg()[0]
    if kind == "first calls":
        columns = ("build", "predict", "train")
        time_in_order(rows, columns, _ROUNDS.value)
    else:
        columns = ("train", "predict")
        for what in columns:
            time_column(rows, what, _ROUNDS.value, _STEPS.value)
    figures = {
        "machine": _machine(load),
        "rows": [figures_of(row, rows[0], columns) for row in rows],
    }
    figures["bars"] = make_bars(figures["rows"])
    _print(figures, columns)
    if _JSON.value:
        write_json(_JSON.value, figures)


def _rows() -> list[Row]:
    model = _resnet8() if _MODEL.value is None else tfxp.load_model(_MODEL.value)
    batch = _batch(model)
    models, loss = _models(model, batch[0]), _loss(model, batch[1])
    return [Row(name, _steps(made, loss, *batch)) for name, made in models.items()]


def _backprop_rows() -> list[Row]:
    """Sakr's ConvNet in float and in fixed point; the optimizer is plain gradient descent."""
    from tfxp.callbacks import GradientProbe
    from tfxp.models import build_model
    from tfxp.quantization import BackwardSettings
    from tfxp.training import prepare_training

    keras.utils.set_random_seed(_SEED.value)
    model = build_model("convnet", width=0.5, relu_max=2.0)
    x, y = _batch(model)
    x, loss = x / 256, _loss(model, y)
    ready = {"float": keras.models.clone_model(model), "float, probed": model}
    for one in ready.values():
        one.compile(keras.optimizers.SGD(_LEARNING_RATE), loss)
    GradientProbe(every=10).set_model(model)
    stochastic = BackwardSettings(gradient_rounding="stochastic")
    for name, pmap, backward in (
        ("tfxp dual copy", _training_map(gradients=False), None),
        ("tfxp five tensors", _training_map(), None),
        ("tfxp stochastic", _training_map(), stochastic),
    ):
        ready[name] = prepare_training(
            model, pmap, loss=loss, learning_rate=_LEARNING_RATE, backward=backward
        )
    return [Row(name, _compiled_steps(made, x, y)) for name, made in ready.items()]


def _streamed_rows() -> list[Row]:
    """The steps of `fine_tune` with batches from arrays and from streams of the same samples."""
    model = _resnet8() if _MODEL.value is None else tfxp.load_model(_MODEL.value)
    draws = np.random.default_rng(_SEED.value)
    x = draws.integers(0, 256, (_SAMPLES, *model.input_shape[1:])).astype(np.float32)
    y = draws.integers(0, model.output_shape[-1], _SAMPLES)
    stats = tfxp.measure_model(model, x[:256])
    scratch = tempfile.TemporaryDirectory(prefix="tfxp_bench_")
    atexit.register(scratch.cleanup)  # the rows read the files until the end
    folder = Path(scratch.name)
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    shapes = {model.input_names[0]: model.input_shape[1:]}
    pairs = tf.data.Dataset.from_tensor_slices((x, y))
    sources = {
        "in memory": (x, y),
        "tf.data.Dataset": (tfxp.open_data(pairs, shapes), None),
        "mapped .npy": (tfxp.open_data(folder / "x.npy", shapes), None),
    }
    rows = []
    for name, (inputs, answers) in sources.items():
        qmodel = tfxp.quantize_model(model, _PRECISIONS.value[0], stats)
        rows.append(Row(name, _fetching_steps(qmodel, model, inputs, answers)))
    return rows


def _first_rows() -> list[Row]:
    """Models that every turn makes anew."""
    model = _resnet8() if _MODEL.value is None else tfxp.load_model(_MODEL.value)
    batch = _batch(model)
    stats, loss = tfxp.measure_model(model, batch[0]), _loss(model, batch[1])
    makers: dict[str, Callable[[], Any]] = {"float": lambda: keras.models.clone_model(model)}
    for precision in _PRECISIONS.value:
        makers[f"tfxp {precision}"] = functools.partial(
            tfxp.quantize_model, model, precision, stats
        )
    if _TFMOT.value:
        makers["tfmot 8-bit"] = lambda: _tfmot(model)
    return [Row(name, _first_steps(make, loss, *batch)) for name, make in makers.items()]


def _first_steps(
    make: Callable[[], Any], loss: Any, x: np.ndarray, y: np.ndarray
) -> dict[str, Step]:
    made: dict[str, Step] = {}
    return {
        "build": lambda: made.update(_steps(make(), loss, x, y)),
        "predict": lambda: made["predict"](),
        "train": lambda: made["train"](),
    }


def _fetching_steps(qmodel: Any, teacher: Any, x: Any, y: Any) -> dict[str, Step]:
    from tfxp.training import FineTuneSettings
    from tfxp.training.repair.objective import Objective
    from tfxp.training.repair.samples import training_set

    settings = FineTuneSettings(1, batch_size=_BATCH_SIZE.value, seed=_SEED.value)
    samples, answers = training_set(qmodel, x, y, None, settings)
    objective = Objective(qmodel, answers, teacher, 0.5)
    step = objective.step(keras.optimizers.Adam(_LEARNING_RATE))

    def endless() -> Iterator[Any]:
        for epoch in itertools.count():
            yield from samples.epoch(epoch)

    learned, fetched = endless(), endless()
    return {"train": lambda: float(step(*next(learned))), "predict": lambda: next(fetched)}


def _streamed_bars(rows: list[dict[str, Any]]) -> dict[str, bool]:
    """Whether a step from a stream keeps within a tenth of one from memory."""
    return {
        f"{row['name']} <= {STREAM_BAR:.2f}": row["train_wall"]["ratio"] <= STREAM_BAR
        for row in rows[1:]
    }


def _training_map(gradients: bool = True) -> tfxp.PrecisionMap:
    """Word lengths as the criteria give them for this network; ranges do not change the time."""
    fields = {"weights": "Q0.11", "activations": "UQ1.7"}
    if gradients:
        fields |= {"weight_gradients": "Q-3.12", "accumulators": "Q-12.22"}
        fields |= {"activation_gradients": "Q-10.20"}
    return tfxp.PrecisionMap.from_dict(
        {
            "schema": 1,
            "rounding": "half_away",
            "default": fields,
            "layers": {"@inputs": {"activations": "UQ0.8"}, "dense2": {"activations": "float"}},
        }
    )


def _models(model: Any, images: np.ndarray) -> dict[str, Any]:
    """What is compared, by name; the first is what ratios refer to."""
    stats = tfxp.measure_model(model, images)
    first = _PRECISIONS.value[0]
    result = {"float": model}
    quantized = {p: tfxp.quantize_model(model, p, stats) for p in _PRECISIONS.value}
    result["float folded"] = tfxp.strip(quantized[first])
    result.update({f"tfxp {p}": q for p, q in quantized.items()})
    if _LEARNED.value:
        result[f"tfxp {first} learned"] = tfxp.learn_formats(quantized[first])
    if _KEPT.value:
        kept = tfxp.quantize_model(model, first, stats, fold_batch_norm=False)
        result[f"tfxp {first} BN kept"] = kept
    if _TFMOT.value:
        result["tfmot 8-bit"] = _tfmot(model)
    return result


def _tfmot(model: Any) -> Any:
    from tensorflow_model_optimization.quantization.keras import quantize_model

    try:
        return quantize_model(model)
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"tfmot refuses model {model.name!r}: {error} Use --notfmot.") from error


def _steps(model: Any, loss: Any, x: np.ndarray, y: np.ndarray) -> dict[str, Step]:
    optimizer = {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}[_OPTIMIZER.value]
    model.compile(optimizer(_LEARNING_RATE), loss)
    return _compiled_steps(model, x, y)


def _compiled_steps(model: Any, x: np.ndarray, y: np.ndarray) -> dict[str, Step]:
    images, labels = tf.constant(x), tf.constant(y)
    return {
        "train": lambda: model.train_on_batch(images, labels),
        "predict": lambda: model.predict_on_batch(images),
    }


def _loss(model: Any, labels: np.ndarray) -> Any:
    if labels.dtype.kind == "f":
        return keras.losses.MeanSquaredError()
    last = model.layers[-1].get_config().get("activation")
    return keras.losses.SparseCategoricalCrossentropy(from_logits=last != "softmax")


def _batch(model: Any) -> tuple[np.ndarray, np.ndarray]:
    """Random images 0..255 and labels, or targets where the output is no vector of classes."""
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ModelError(f"model {model.name!r}: got several inputs or outputs; expected one each.")
    shape, classes = model.inputs[0].shape[1:], model.outputs[0].shape[1:]
    if None in shape:
        raise ModelError(f"model {model.name!r}: got input shape {shape}; expected fixed sizes.")
    random, count = np.random.default_rng(_SEED.value), _BATCH_SIZE.value
    x = random.integers(0, 256, (count, *shape)).astype(np.float32)
    if len(classes) == 1 and classes[0] > 1:
        return x, random.integers(0, classes[0], count)
    return x, random.random((count, *classes), np.float32)


def _bars(rows: list[dict[str, Any]]) -> dict[str, bool]:
    """Whether the first quantized model keeps within the bars, and below tfmot's."""
    ours = next(row for row in rows if row["name"].startswith("tfxp"))
    theirs = [row for row in rows if row["name"].startswith("tfmot")]
    result = {}
    for what, bar in (("train", TRAIN_BAR), ("predict", PREDICT_BAR)):
        ratio = ours[f"{what}_wall"]["ratio"]
        result[f"{what} <= {bar:.2f}"] = ratio <= bar
        for row in theirs:
            result[f"{what} below tfmot"] = ratio < row[f"{what}_wall"]["ratio"]
    for row in rows:
        if row["name"].endswith(" learned"):
            result[f"train, learned <= {LEARNED_BAR:.2f}"] = (
                row["train_wall"]["ratio"] <= LEARNED_BAR
            )
    return result


def _backprop_bars(rows: list[dict[str, Any]]) -> dict[str, bool]:
    """Whether fixed-point training and the probe keep within their bars."""
    ratios = {row["name"]: row["train_wall"]["ratio"] for row in rows}
    return {
        f"five tensors <= {BACKPROP_BAR:.2f}": ratios["tfxp five tensors"] <= BACKPROP_BAR,
        f"probe <= {PROBE_BAR:.2f}": ratios["float, probed"] <= PROBE_BAR,
    }


def _machine(load: float) -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "devices": [device.device_type for device in tf.config.list_physical_devices()],
        "load_average": load,
        "batch_size": _BATCH_SIZE.value,
        "rounds": _ROUNDS.value,
        "steps": _STEPS.value,
        "optimizer": "sgd" if _BACKPROP.value else _OPTIMIZER.value,
    }


def _print(figures: dict[str, Any], columns: Sequence[str]) -> None:
    header = ["model", *(cell for what in columns for cell in (what, "(quartiles)", "cpu", "ms"))]
    table = []
    for row in figures["rows"]:
        cells = [row["name"]]
        for what in columns:
            wall, cpu = row[f"{what}_wall"], row[f"{what}_cpu"]
            low, high = wall["quartiles"]
            cells += [f"{wall['ratio']:.2f}", f"{low:.2f} to {high:.2f}"]
            cells += [f"{cpu['ratio']:.2f}", f"{wall['milliseconds']:.1f}"]
        table.append(cells)
    print(cli.format_table(header, table))
    print(", ".join(f"{key} {value}" for key, value in figures["machine"].items()))
    for bar, kept in figures["bars"].items():
        print(f"{bar}: {'yes' if kept else 'NO'}")


_KINDS: dict[str, tuple[Callable[[], list[Row]], Callable[[Any], dict[str, bool]]]] = {
    "models": (_rows, _bars),
    "backprop": (_backprop_rows, _backprop_bars),
    "streamed": (_streamed_rows, _streamed_bars),
    "first calls": (_first_rows, lambda rows: {}),
}


def _resnet8() -> Any:
    """ResNet-8 of MLPerf Tiny: 3 residual blocks of 16, 32 and 64 channels on 32x32x3."""
    keras.utils.set_random_seed(_SEED.value)
    inputs = keras.Input((32, 32, 3))
    x = _conv(inputs, 16, activation="relu")
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        y = _conv(x, channels, stride, activation="relu")
        y = _conv(y, channels)
        if stride > 1:
            x = layers.Conv2D(channels, 1, stride, "same")(x)
        x = layers.Activation("relu")(layers.Add()([x, y]))
    x = layers.Flatten()(layers.AveragePooling2D(8)(x))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x), name="resnet8")


def _conv(x: Any, channels: int, stride: int = 1, activation: str | None = None) -> Any:
    x = layers.BatchNormalization()(layers.Conv2D(channels, 3, stride, "same")(x))
    return layers.Activation(activation)(x) if activation else x


run = cli.entry_point(main, _FLAGS)

if __name__ == "__main__":
    run()
