#!/usr/bin/env python3
"""Quantize a Keras model: measure, choose formats, calibrate, and fine-tune if data are given.

    tools/quantize_model.py --model=resnet8.h5 --data=cifar10_train.npz --limit=512 \
        --precision=w8a8 --output=resnet8_w8a8.keras --eval_data=cifar10_test.npz
    tools/quantize_model.py --model=resnet8.h5 --data=cifar10_train.npz --limit=512 \
        --precision=w4a4 --train_data=cifar10_train.npz --epochs=2 --augment=flip \
        --output=resnet8_w4a4.keras --eval_data=cifar10_test.npz

    tools/quantize_model.py --model=resnet8.h5 --data=cifar10_train.npz --limit=512 \
        --precision=w8a8 --sparsity=0.75 --activation_hoyer=0.1 --train_data=cifar10_train.npz \
        --output=resnet8_sparse.keras --eval_data=cifar10_test.npz

The output is a Keras model with quantizers, for export_tflite.py or your own training. With
--sparsity or a price of activations, zeros and executed operations are counted before and after.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import tfxp
from tfxp import cli
from tfxp.cli.strategy_flags import strategy_flags
from tfxp.commands.read_data import read_data
from tfxp.data import (
    ModelData,
    Source,
)
from tfxp.errors import ConfigError
from tfxp.files import atomic_path, write_json
from tfxp.formats import FixedPointFormat
from tfxp.keras_types import KerasModel
from tfxp.precision import ModelStats
from tfxp.progress import Progress

_FLAGS = cli.ToolFlags(__doc__)
_MODEL = _FLAGS.model()
_OPENING = _FLAGS.opening()
_DATA = _FLAGS.data("Samples to calibrate on; labels are not needed.", required=False)
_SPLIT = _FLAGS.split()
_LIMIT = _FLAGS.limit()
_TRAIN_DATA = _FLAGS.train_data()
_EVAL_DATA = _FLAGS.eval_data()
_FLAGS.preprocessing()
_FLAGS.input_scale()
_FLAGS.input_shift()
_PRECISION = _FLAGS.precision(default="w8a8")
_STATS = _FLAGS.DEFINE_string("stats", None, "Statistics of measure_model.py, instead of --data.")
_FIT = _FLAGS.DEFINE_enum(
    "fit",
    "mse",
    ["mse", "max", "clip_budget"],
    "How bits are split: smallest error, nothing clips, or 1 % may clip.",
)
_FOLD = _FLAGS.DEFINE_boolean("fold_batch_norm", True, "Fold BatchNormalization before quantizing.")
_EQUALIZE = _FLAGS.DEFINE_boolean(
    "equalize", False, "Even out the channels of kernels first; folds BatchNormalization."
)
_ROUNDING = _FLAGS.DEFINE_enum(
    "rounding",
    None,
    ["portable", "engine"],
    "Rounding where the precision map names none: the same on every runtime (default), or that of "
    "LiteRT's default engine.",
)
_CALIBRATE = _FLAGS.choice_or_none(
    "calibrate",
    "auto",
    ["auto", "formats", "adaround"],
    "Choose binary points by the network's output and centre biases; adaround also learns whether "
    "each weight is rounded up or down (minutes). auto: adaround for kernels below 8 bits, formats "
    "for others, and nothing where a training learns the formats.",
)
_SAMPLES = _FLAGS.DEFINE_integer(
    "calibration_samples",
    None,
    "Samples that calibration holds, the first ones; by default all arrays, and of what streams 32 "
    "to 1,024, fewer for larger networks.",
    lower_bound=1,
)
_ACCUMULATOR_BITS = _FLAGS.DEFINE_integer(
    "accumulator_bits",
    None,
    "Shrink kernels so that no input overflows accumulators of these bits, in training too.",
    lower_bound=8,
    upper_bound=32,
)
_STRATEGY = strategy_flags(_FLAGS, ["none", "mirrored"])
_EPOCHS = _FLAGS.DEFINE_integer("epochs", 2, "Epochs of fine-tuning.", lower_bound=0)
_RATE = _FLAGS.DEFINE_float("learning_rate", 5e-3, "Largest relative step.", lower_bound=0.0)
_AUGMENT = _FLAGS.DEFINE_enum("augment", "none", ["none", "flip", "flip_crop"], "Training images.")
_TEACHER = _FLAGS.DEFINE_float(
    "teacher_weight",
    0.5,
    "Share of the float model's outputs in the loss; all without labels.",
    0.0,
    1.0,
)
_FORMATS = _FLAGS.DEFINE_enum(
    "formats", "learned", ["learned", "fixed"], "Whether fine-tuning moves binary points."
)
_SPARSITY = _FLAGS.DEFINE_string(
    "sparsity",
    None,
    "Zeros among weights: 0.75, 2:4, blocks:0.75, channels:0.5 or a sparsity map (.json); made "
    "during fine-tuning, or at once without it.",
)
_ACTIVATION_L1 = _FLAGS.DEFINE_float(
    "activation_l1", 0.0, "Price of ReLUs' outputs by their mean, in fine-tuning.", lower_bound=0.0
)
_ACTIVATION_HOYER = _FLAGS.DEFINE_float(
    "activation_hoyer", 0.0, "The same by Hoyer's ratio.", lower_bound=0.0
)
_ACTIVATION_BUDGET = _FLAGS.DEFINE_float(
    "activation_budget",
    None,
    "Raise the points at which ReLUs begin, within this relative squared error of the output "
    "(0.01); before fine-tuning.",
)
_BATCH_SIZE = _FLAGS.batch_size(64)
_METRIC = _FLAGS.metric()
_DIRECTION = _FLAGS.direction()
_OUTPUT = _FLAGS.output("Quantized model to write (.keras or .h5).", ".keras", ".h5", required=True)
_SAVE_PRECISION = _FLAGS.output(
    "Write the formats as a precision map (.json).", ".json", name="save_precision"
)
_SEED = _FLAGS.seed()
_JSON = _FLAGS.json()
_PROGRESS = _FLAGS.progress()
_ROUNDS_WELL = 8  # bits of kernels from which rounding to nearest loses little
_COUNTED = 200  # samples that zeros are counted on
_LOOK = 256  # samples of a stream that are looked at for saturation


def main() -> None:
    """All steps, each with its figures."""
    precision, model = cli.read_precision(_PRECISION.value), _network()
    calibration, training, evaluation = _data(model)
    from tfxp.keras import keras

    settings = _checked_settings(training)
    keras.utils.set_random_seed(_SEED.value)
    figures: dict[str, Any] = {"model": _MODEL.value, "precision": _PRECISION.value}
    stats = _measure(model, calibration)
    qmodel = tfxp.quantize_model(
        model, precision, stats,
        fold_batch_norm=_FOLD.value, fit=_FIT.value, rounding=_ROUNDING.value,
    )  # fmt: skip
    _evaluate("float", model, evaluation, figures)
    _evaluate("quantized", qmodel, evaluation, figures)
    _warn_of_saturation(qmodel, calibration, training, evaluation)
    trains = training is not None and _EPOCHS.value > 0
    method = _calibration_method(qmodel, trains)
    if method != "none" and calibration is not None:
        figures["output_error"] = _calibrate(qmodel, calibration, method)
        _evaluate("calibrated", qmodel, evaluation, figures)
    if _ACCUMULATOR_BITS.value is not None:
        figures["accumulator_bits"] = _bound(qmodel)
        _evaluate("bounded", qmodel, evaluation, figures)
    raises = _ACTIVATION_BUDGET.value is not None
    counted = evaluation if settings.makes_zeros or raises else None
    _count_zeros("before", qmodel, counted, figures)
    if raises:
        figures["thresholds"] = _threshold(qmodel, calibration)
        _evaluate("thresholds", qmodel, evaluation, figures)
    if training is not None and trains:
        figures["losses"] = _fine_tune(qmodel, model, training)
        _evaluate("fine-tuned", qmodel, evaluation, figures)
    elif settings.sparsity is not None:
        tfxp.prune_model(qmodel, settings.sparsity)
        _evaluate("pruned", qmodel, evaluation, figures)
    _count_zeros("after", qmodel, counted, figures)
    _write(qmodel, figures)


def _network() -> KerasModel:
    """The float model, without columns that 8 bits would crush, equalized if that is asked for."""
    from tfxp.devices import make_strategy

    with make_strategy(*_STRATEGY.values).scope():  # all that is made of it lives there too
        model = tfxp.load_model(_MODEL.value, **_OPENING.options())
    model, _ = tfxp.split_normalization(model, always=False)
    if not _EQUALIZE.value:
        return model
    if _STATS.value or not _FOLD.value:
        raise ConfigError(
            "--equalize: got --stats or --nofold_batch_norm; expected --data and folding, "
            "since it folds first and activations change."
        )
    return tfxp.equalize(model)


def _data(model: KerasModel) -> list[Source | None]:
    """What is measured on, trained on and evaluated on, as far as it is given."""
    wants_labels = _TEACHER.present and _TEACHER.value < 1  # else the float model teaches alone
    return [
        _load(flag.value, model, limit, labels, split)
        for flag, limit, labels, split in (
            (_DATA, _LIMIT.value, False, _SPLIT.value or "train"),
            (_TRAIN_DATA, None, wants_labels, "train"),
            (_EVAL_DATA, None, True, "test"),
        )
    ]


def _checked_settings(training: Source | None) -> Any:
    """The settings of a fine-tuning, looked at before any long work."""
    from tfxp.training.repair.samples import check_samples

    settings = _settings()
    if training is not None and _EPOCHS.value:
        check_samples(settings, training)
    elif _ACTIVATION_L1.value or _ACTIVATION_HOYER.value:
        raise ConfigError("price of activations: got no training; expected --train_data.")
    return settings


def _warn_of_saturation(qmodel: KerasModel, *sources: Source | None) -> None:
    for data in sources:
        if data is not None:
            seen = data if isinstance(data, ModelData) else data.in_memory(_LOOK)
            cli.warn_of_saturation(seen, _input_ranges(qmodel))


def _load(
    path: str | None, model: Any, limit: int | None, labels: bool, split: str
) -> Source | None:
    """A checked data set as the model takes it; files with both halves give the one named."""
    return read_data(
        _FLAGS, path, model, limit=limit, default_split=split, labels=labels, keep=True
    )


def _input_ranges(qmodel: Any) -> dict[str, tuple[float, float] | None]:
    """Input name -> smallest and largest value of its format; None for float ones."""
    rules, result = tfxp.precision_of(qmodel).layers, {}
    for name in qmodel.input_names:
        fmt = rules[name].activations if name in rules else None
        result[name] = (fmt.min, fmt.max) if isinstance(fmt, FixedPointFormat) else None
    return result


def _measure(model: Any, data: Source | None) -> ModelStats | None:
    if _STATS.value:
        return ModelStats.load(_STATS.value)
    if data is None:
        return None
    with Progress(data.samples, "measuring", "sample", _PROGRESS.value) as bar:
        return tfxp.measure_model(
            model,
            data.x,
            fold_batch_norm=_FOLD.value,
            batch_size=_BATCH_SIZE.value,
            progress=bar.reach,
        )


def _calibrate(qmodel: Any, data: Source, method: str) -> dict[str, float]:
    with Progress(None, "calibrating", "step", _PROGRESS.value) as bar:
        started = time.monotonic()
        result = tfxp.calibrate_model(
            qmodel, data.x, method=method, samples=_SAMPLES.value, seed=_SEED.value,
            progress=bar.reach,
        )  # fmt: skip
    seconds = time.monotonic() - started
    steps = ", ".join(f"{name} {value:.3g}" for name, value in result.items())
    print(f"{method}, relative squared output error: {steps} ({seconds:.1f} s)")
    return result


def _calibration_method(qmodel: Any, trains: bool) -> str:
    """The flag's, or what ends best (docs/results_learned.md); 8 bits round well as is."""
    if _CALIBRATE.value != "auto":
        return str(_CALIBRATE.value)
    if trains and _FORMATS.value == "learned":
        return "none"
    from tfxp.quantization.read_network import read_network

    layers = read_network(qmodel).formats.values()
    few = any(fmt.bits < _ROUNDS_WELL for layer in layers for fmt in layer.weights)
    return "adaround" if few and not trains else "formats"


def _bound(qmodel: Any) -> dict[str, int]:
    from tfxp.training import bound_accumulators

    found = bound_accumulators(qmodel, _ACCUMULATOR_BITS.value)
    shown = ", ".join(f"{name} {bits}" for name, bits in found.items())
    print(f"bits of accumulators in the worst case: {shown}")
    return found


def _threshold(qmodel: Any, data: ModelData | None) -> dict[str, Any]:
    from tfxp.sparsity import threshold_activations

    if data is None:
        raise ConfigError("activation_budget: got no samples; expected --data.")
    found = threshold_activations(qmodel, data.x, budget=_ACTIVATION_BUDGET.value)
    rows = [
        [name, f"{t.value:g}", f"{t.zeros_before:.1%}", f"{t.zeros_after:.1%}"]
        for name, t in found.items()
    ]
    print(cli.format_table(["ReLU", "begins at", "zeros before", "after"], rows))
    return {name: dataclasses.asdict(threshold) for name, threshold in found.items()}


def _settings() -> Any:
    from tfxp.training import FineTuneSettings

    return FineTuneSettings(
        max(_EPOCHS.value, 1),
        _RATE.value,
        _BATCH_SIZE.value,
        _AUGMENT.value,
        _TEACHER.value,
        _SEED.value,
        formats=_FORMATS.value,
        sparsity=_SPARSITY.value,
        activation_l1=_ACTIVATION_L1.value,
        activation_hoyer=_ACTIVATION_HOYER.value,
    )


def _fine_tune(qmodel: Any, model: Any, data: Source) -> list[float]:
    from tfxp.training import fine_tune

    labels = data.answers() if isinstance(data, ModelData) else None
    with Progress(None, "fine-tuning", "step", _PROGRESS.value) as bar:
        losses = fine_tune(qmodel, data.x, labels, _settings(), teacher=model, progress=bar.reach)
    kept = f"; epoch {losses.kept} is kept" if losses.kept else ""
    print("loss by epoch: " + ", ".join(f"{loss:.4f}" for loss in losses) + kept)
    return losses


def _evaluate(step: str, model: Any, data: Source | None, figures: dict[str, Any]) -> None:
    if data is None:
        return
    from tfxp.measure import evaluate_model, make_scorer

    started = time.monotonic()
    scorer = make_scorer(_METRIC.value, model.output_names, _DIRECTION.value)
    with Progress(data.samples, f"evaluating {step}", "sample", _PROGRESS.value) as bar:
        value = evaluate_model(model, data, scorer, progress=bar.reach)
    seconds = time.monotonic() - started
    figures.setdefault(scorer.name, {})[step] = value
    text = f"{step}: {scorer.name} {value:.4f} on {bar.done:,} samples ({seconds:.1f} s)"
    print(text, flush=True)


def _count_zeros(step: str, qmodel: Any, data: Source | None, figures: dict[str, Any]) -> None:
    """Zeros and executed operations of some samples, counted in the interpreter's run."""
    if data is None or len(qmodel.inputs) > 1:
        return
    from tfxp.commands.zero_counts import counts_of_model

    found = counts_of_model(qmodel, data.in_memory(_COUNTED).x)
    if isinstance(found, str):
        print(f"zeros {step}: not counted. {found}")
        return
    figures.setdefault("zeros", {})[step] = found
    print(
        f"zeros {step}: {found['executed']:.1%} of {found['macs']:,} MACs executed, "
        f"{found['skipped_activation']:.1%} met a zero activation, {found['skipped_weight']:.1%} a "
        f"zero weight; {found['kib_compressed']:.1f} KiB of {found['kib_dense']:.1f} moved a sample"
    )


def _write(qmodel: Any, figures: dict[str, Any]) -> None:
    chosen = tfxp.precision_of(qmodel)
    rows = []
    for name, rule in chosen.layers.items():
        several = rule.weights if isinstance(rule.weights, tuple) else (rule.weights,)
        shown = " ".join(dict.fromkeys(str(fmt) for fmt in several if fmt is not None))
        rows.append([name, shown, str(rule.activations)])
    print(cli.format_table(["layer", "weights", "activations"], rows))
    with atomic_path(_OUTPUT.value) as temporary:
        qmodel.save(temporary)
    print(f"The quantized model is in {_OUTPUT.value}.")
    if _SAVE_PRECISION.value:
        chosen.save(_SAVE_PRECISION.value)
    if _JSON.value:
        write_json(_JSON.value, {**figures, "formats": chosen.to_dict()["layers"]})


run = cli.entry_point(main, _FLAGS)

if __name__ == "__main__":
    run()
