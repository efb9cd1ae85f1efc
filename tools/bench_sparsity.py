#!/usr/bin/env python3
"""How zeros grow as bits get fewer, and as networks are trained for them.

    tools/bench_sparsity.py --model=resnet8.h5 --data=cifar10_train.npz --limit=256 \
        --eval_data=cifar10_test.npz --images=100 --json=sparsity.json --plot=sparsity.svg

Every word length is converted as assign_precision.py --method=adaption does behind the ReLU, or
before it (--placements), with no weight clips and one activation in a thousand. It is measured in
Keras on --limit samples of --data, evaluated on all of --eval_data, exported, and run in the
interpreter on --images of --eval_data, which counts the operations that it skips. Nothing is
calibrated or fine-tuned, unless --train_data is given: then every word length is measured again
after --epochs of fine-tuning in the same formats, with the float network as teacher.

    tools/bench_sparsity.py --model=resnet8.h5 --data=cifar10_train.npz --limit=256 \
        --train_data=cifar10_train.npz --eval_data=cifar10_test.npz --epochs=2 --augment=flip \
        --rows=w8a8,w8a8/0.5,w8a8/2:4,w8a8/hoyer=0.1 --files=rows --json=rows.json --plot=rows.svg

With --rows every row is a precision and what makes zeros: a pattern of weights, a price of
activations (l1=, hoyer=). It is calibrated, fine-tuned, exported to --files, and the file is run on
all of --eval_data. Rows that --json has already are not repeated.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

import tfxp
from tfxp import cli
from tfxp.assign import AdaptionAssigner
from tfxp.commands.sparse_rows import SparseRow, SparseTrainings, progress_line
from tfxp.commands.zero_counts import counts_of_model
from tfxp.data import evaluate_metric, input_shapes, load_model_data, load_npz
from tfxp.errors import ConfigError
from tfxp.files import atomic_path, read_json, write_json
from tfxp.precision import PLACEMENTS, ModelStats
from tfxp.training import FineTuneSettings, fine_tune

_FLAGS = cli.ToolFlags(__doc__)
_MODEL = _FLAGS.model()
_DATA = _FLAGS.data("Samples to choose formats and count zeros on.")
_EVAL = _FLAGS.eval_data(required=True)
_LIMIT = _FLAGS.limit()
_INPUT_SCALE = _FLAGS.input_scale()
_INPUT_SHIFT = _FLAGS.input_shift()
_BITS = _FLAGS.DEFINE_list(
    "bits", ["16", "8", "6", "4"], "Word lengths of weights and activations."
)
_PLACEMENTS = _FLAGS.DEFINE_list(
    "placements",
    ["post_activation"],
    "Where activations are rounded: post_activation, behind the ReLU, or pre_activation, before it "
    "as in the paper; both to compare.",
)
_IMAGES = _FLAGS.DEFINE_integer("images", 200, "Samples for the interpreter.", lower_bound=1)
_EVAL_LIMIT = _FLAGS.DEFINE_integer("eval_limit", None, "Samples of --eval_data (default: all).")
_ROWS = _FLAGS.DEFINE_list("rows", [], "Networks to train; see above.")
_TRAIN = _FLAGS.train_data()
_EPOCHS = _FLAGS.DEFINE_integer("epochs", 2, "Epochs of every row.", lower_bound=1)
_RATE = _FLAGS.DEFINE_float("learning_rate", 5e-3, "Largest relative step.", lower_bound=0.0)
_AUGMENT = _FLAGS.DEFINE_enum("augment", "none", ["none", "flip", "flip_crop"], "Training images.")
_FILES = _FLAGS.output("Folder for the rows' files.", name="files", folder=True)
_SEED = _FLAGS.seed()
_PLOT = _FLAGS.plot("Save the shares of zeros, or accuracy by MACs, as a picture")
_JSON = _FLAGS.json()
_CLIP = 1e-3


def main() -> None:
    """Convert, measure, run, print; or train, export, run, print."""
    if _ROWS.value:
        train_rows()
        return
    if not all(text.isdigit() for text in _BITS.value):
        raise ConfigError(f"bits: got {_BITS.value}; expected whole numbers.")
    wrong = [name for name in _PLACEMENTS.value if name not in PLACEMENTS]
    if wrong or not _PLACEMENTS.value:
        raise ConfigError(f"placements: got {_PLACEMENTS.value}; expected some of {PLACEMENTS}.")
    model = tfxp.load_model(_MODEL.value)
    shape = model.inputs[0].shape[1:]
    scale = _INPUT_SCALE.value, _INPUT_SHIFT.value
    x = load_npz(_DATA.value, limit=_LIMIT.value, default_split="train").shaped(shape)
    tests = load_npz(_EVAL.value, limit=_EVAL_LIMIT.value, default_split="test").shaped(shape)
    stats = tfxp.measure_model(model, x.inputs(*scale))
    training = None
    if _TRAIN.value is not None:
        training = load_npz(_TRAIN.value, default_split="train").shaped(shape).inputs(*scale)

    def measured(network: Any) -> dict[str, Any]:
        after = tfxp.measure_model(network, x.inputs(*scale))
        return {
            **zeros_of(after),
            "accuracy": accuracy(network, tests, scale),
            "output_sqnr_db": after.output_sqnr,
            **skipped(network, tests.inputs(*scale)[: _IMAGES.value]),
        }

    results = {"float": {**zeros_of(stats), "accuracy": accuracy(model, tests, scale)}}
    for text, placement in itertools.product(_BITS.value, _PLACEMENTS.value):
        bits = int(text)
        name = f"{bits} bits" + (", before the ReLU" if placement == "pre_activation" else "")
        assigner = AdaptionAssigner(bits, bits, 0.0, _CLIP, placement=placement)
        qmodel = tfxp.quantize_model(model, assigner.assign(stats).map)
        results[name] = measured(qmodel)
        if training is not None:
            fine_tune(qmodel, training, settings=_settings(formats="fixed"), teacher=model)
            results[f"{name}, fine-tuned"] = measured(qmodel)
        print(f"{name} done", file=sys.stderr, flush=True)
    show(results)
    if _PLOT.value:
        plot(results, _PLOT.value)
    if _JSON.value:
        write_json(_JSON.value, results)


def train_rows() -> None:
    """Every row that is not there yet, each written as soon as it is done."""
    rows = [SparseRow.parse(text) for text in _ROWS.value]
    if _TRAIN.value is None or _FILES.value is None:
        raise ConfigError("rows: got no --train_data or no --files; expected both.")
    done = read_json(_JSON.value, "rows") if _JSON.value and Path(_JSON.value).exists() else {}
    model = tfxp.load_model(_MODEL.value)
    calibration, training, tests = (
        load_model_data(path, input_shapes(model), None, limit, split, labels).scaled(
            _INPUT_SCALE.value, _INPUT_SHIFT.value
        )
        for path, limit, split, labels in (
            (_DATA.value, _LIMIT.value, "train", False),
            (_TRAIN.value, None, "train", False),
            (_EVAL.value, _EVAL_LIMIT.value, "test", True),
        )
    )
    Path(_FILES.value).mkdir(parents=True, exist_ok=True)
    work = SparseTrainings(model, calibration, training, tests, _settings(), Path(_FILES.value))
    for row in rows:
        if row.name not in done:
            done[row.name] = work.run(row)
            progress_line(done[row.name])
            if _JSON.value:
                write_json(_JSON.value, done)
    show_rows([done[row.name] for row in rows])
    if _PLOT.value:
        plot_rows([done[row.name] for row in rows], _PLOT.value)


def _settings(**changes: Any) -> FineTuneSettings:
    return FineTuneSettings(
        _EPOCHS.value, _RATE.value, augment=_AUGMENT.value, seed=_SEED.value, **changes
    )


def show_rows(results: list[dict[str, Any]]) -> None:
    """Accuracy and what was executed, a line per row."""
    shares = ("accuracy", "executed", "skipped_activation", "skipped_weight")
    lines = [
        [r["row"], *(f"{r[key]:.2%}" for key in shares), f"{r['kib_compressed']:.1f}"]
        for r in results
    ]
    header = ["row", "top-1", "MACs executed", "zero activation", "zero weight", "KiB compressed"]
    print(cli.format_table(header, lines))


def plot_rows(results: list[dict[str, Any]], path: str) -> None:
    """Accuracy against executed MACs, a point per row."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    middle = 50 * (min(r["executed"] for r in results) + max(r["executed"] for r in results))
    for result in results:
        place = 100 * result["executed"], 100 * result["accuracy"]
        axes.plot(*place, "o", ms=5)
        side, shift = ("right", -7) if place[0] > middle else ("left", 7)  # words stay inside
        axes.annotate(
            result["row"], place, textcoords="offset points", xytext=(shift, -3), ha=side,
            fontsize=8,
        )  # fmt: skip
    axes.set_xlabel("executed MACs, % of the dense network's")
    axes.set_ylabel("top-1 of the exported file, %")
    axes.grid(alpha=0.3)
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
    pyplot.close(figure)


def accuracy(model: Any, tests: Any, scale: tuple[float, float]) -> float:
    """Top-1 accuracy in Keras."""
    return evaluate_metric("accuracy", model.predict(tests.inputs(*scale), verbose=0), tests)


def zeros_of(stats: ModelStats) -> dict[str, dict[str, float]]:
    """Layer -> share of zeros in its output, and in its kernel."""
    layers = stats.layers.values()
    return {
        "zeros": {
            layer.name: layer.activations.zero_fraction
            for layer in layers
            if layer.activations is not None
        },
        "weight_zeros": {
            layer.name: layer.weights.zero_fraction for layer in layers if layer.weights is not None
        },
    }


def skipped(qmodel: Any, images: np.ndarray) -> dict[str, Any]:
    """What the interpreter executed and skipped, counted in its run."""
    found = counts_of_model(qmodel, images)
    if isinstance(found, str):
        raise ConfigError(found)
    names = ("macs", "executed", "skipped_activation", "skipped_weight")
    return {name: found[name] for name in names}


def show(results: dict[str, Any]) -> None:
    """Print a table of zeros, and one of operations and accuracy."""
    for key, title in (("zeros", "zeros in the output of"), ("weight_zeros", "in the kernel of")):
        names = list(results["float"][key])
        table = [[name, *(f"{r[key][name]:.1%}" for r in results.values())] for name in names]
        print(cli.format_table([title, *results], table))
    keys = ("executed", "skipped_activation", "skipped_weight")
    rows = []
    for name, result in results.items():
        shares = [f"{result[key]:.1%}" if key in result else "" for key in keys]
        rows.append([name, f"{result['accuracy']:.2%}", *shares])
    header = ["", "top-1", "MACs executed", "zero activation", "zero weight"]
    print(cli.format_table(header, rows))


def plot(results: dict[str, Any], path: str) -> None:
    """Shares of zeros by layer, a line per word length."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 4.2), layout="constrained")
    for name, result in results.items():
        shares = [100 * share for share in result["zeros"].values()]
        axes.plot(list(result["zeros"]), shares, "o-", ms=4, label=name)
    axes.set_ylabel("zeros in the output, %")
    axes.tick_params(axis="x", rotation=60)
    axes.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside right upper")
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
    pyplot.close(figure)


run = cli.entry_point(main, _FLAGS)

if __name__ == "__main__":
    run()
