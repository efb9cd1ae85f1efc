"""The whole job on handwritten digits: train, measure, quantize, fine-tune, export, verify, run.

    tools/quickstart.py --output=out/quickstart

Prints each step and leaves in the output folder: digits.npz, float.keras, quantized.keras,
precision.json, model.tflite, weights.h, summary.json and report.html.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from tfxp import cli
from tfxp.data import evaluate_metric, load_digits
from tfxp.files import atomic_path, write_json
from tfxp.progress import Progress

KEYS = (
    "float_accuracy",
    "quantized_accuracy",
    "interpreter_accuracy",
    "litert_accuracy",
    "mismatches_interpreter",
    "mismatches_litert",
    "elements",
    "tflite_bytes",
    "float_bytes",
    "macs_total",
    "macs_executed",
    "samples",
    "precision",
    "seconds",
)

_FLAGS = cli.ToolFlags(__doc__)
_OUTPUT = _FLAGS.output(
    "Folder for everything that is made.", folder=True, default="out/quickstart"
)
_PRECISION = _FLAGS.precision(default="w4a4")
_EPOCHS = _FLAGS.DEFINE_integer("epochs", 25, "Epochs of float training.", lower_bound=1)
_TUNE_EPOCHS = _FLAGS.DEFINE_integer("tune_epochs", 10, "Epochs of fine-tuning.", lower_bound=0)
_SEED = _FLAGS.seed()
_PROGRESS = _FLAGS.progress()


def build_model() -> Any:
    """A small convolutional network with everything that makes exporting hard."""
    from tfxp.keras import keras, layers

    def block(x: Any, filters: int) -> Any:
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))

    image = keras.Input((8, 8, 1), name="image")
    x = block(image, 16)
    x = layers.MaxPooling2D()(block(x, 24))
    skip = layers.Conv2D(32, 1)(x)
    x = layers.ReLU()(layers.Add()([block(x, 32), skip]))
    x = layers.Dense(10, name="logits")(layers.Flatten()(x))
    return keras.Model(image, layers.Softmax()(x), name="digits")


def fit(model: Any, data: Any, epochs: int, rate: float, title: str) -> None:
    """Train with a progress bar."""
    from tfxp.keras import keras

    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    if epochs == 0:
        return
    with Progress(epochs, title, "epoch", _PROGRESS.value) as bar:
        done = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda _, logs: bar.step(note=f"loss {logs['loss']:.4f}")
        )
        decay = keras.optimizers.schedules.CosineDecay(rate, epochs)
        schedule = keras.callbacks.LearningRateScheduler(lambda epoch: float(decay(epoch)))
        model.fit(data.x, data.y, 64, epochs, verbose=0, callbacks=[done, schedule])


def save(model: Any, path: Path) -> None:
    """Write a Keras file, whole or not at all."""
    with atomic_path(path) as temporary:
        model.save(temporary)


def input_codes(runner: Any, x: np.ndarray) -> np.ndarray:
    """Real inputs as the codes of the model's input tensor."""
    detail = runner.get_input_details()[0]
    scale, zero_point = detail["quantization"]
    limits = np.iinfo(detail["dtype"])
    codes = np.rint(x / scale) + zero_point
    return np.clip(codes, limits.min, limits.max).astype(detail["dtype"])


def litert_outputs(path: Path, codes: np.ndarray) -> np.ndarray:
    """Output codes of LiteRT's default engine."""
    from tfxp.runtimes import open_runtime

    with open_runtime("litert", path.read_bytes(), name=repr(str(path))) as engine:
        return engine.run([codes])[0]


class Quickstart:
    """The steps, in order; each adds its figures to `summary`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tflite = folder / "model.tflite"
        self.train, self.test = load_digits("train"), load_digits("test")
        self.summary: dict[str, Any] = {"precision": _PRECISION.value, "samples": len(self.test)}
        self._started = time.monotonic()

    def say(self, step: str, text: str) -> None:
        """Print a line with the time."""
        seconds = time.monotonic() - self._started
        self.summary["seconds"] = round(seconds, 1)
        print(f"{seconds:6.1f} s  {step:<10} {text}", flush=True)

    def accuracy(self, outputs: np.ndarray) -> float:
        """Of outputs on the test images."""
        return evaluate_metric("accuracy", outputs, self.test)

    def save_data(self) -> None:
        """The images as a file, to try the other tools on."""
        halves = {"train": self.train, "test": self.test}
        arrays = {f"x_{name}": half.x for name, half in halves.items()}
        arrays.update({f"y_{name}": half.y for name, half in halves.items()})
        with atomic_path(self.folder / "digits.npz") as temporary:
            np.savez_compressed(temporary, **arrays)

    def train_float(self) -> None:
        """A float network, and what its tensors look like."""
        import tfxp

        self.model = build_model()
        fit(self.model, self.train, _EPOCHS.value, 5e-3, "training")
        save(self.model, self.folder / "float.keras")
        share = self.accuracy(self.model.predict(self.test.x, verbose=0))
        self.summary["float_accuracy"] = share
        size = f"{self.model.count_params():,} parameters, {len(self.train):,} images"
        self.say("train", f"{size}: {share:.2%} of {len(self.test)} test images")
        self.stats = tfxp.measure_model(self.model, self.train.x)
        self.say("measure", f"{len(self.stats.layers)} layers, {self.stats.macs:,} MACs an image")

    def quantize(self) -> None:
        """The same network in few bits, fine-tuned."""
        import tfxp

        precision = cli.read_precision(_PRECISION.value)
        self.say("quantize", "fitting formats")
        self.qmodel = tfxp.quantize_model(self.model, precision, self.stats)
        share = self.accuracy(self.qmodel.predict(self.test.x, verbose=0))
        self.say("quantize", f"{_PRECISION.value} without training: {share:.2%}")
        fit(self.qmodel, self.train, _TUNE_EPOCHS.value, 2e-3, "fine-tuning")
        share = self.accuracy(self.qmodel.predict(self.test.x, verbose=0))
        self.summary["quantized_accuracy"] = share
        self.say("fine-tune", f"{_TUNE_EPOCHS.value} epochs: {share:.2%}")
        save(self.qmodel, self.folder / "quantized.keras")
        tfxp.precision_of(self.qmodel).save(self.folder / "precision.json")

    def export(self) -> None:
        """The integer file, compared element by element on every image that there is."""
        import tfxp
        from tfxp.export import save_c_header, steps_or_reason

        images = np.concatenate([self.test.x, self.train.x])
        self.say("export", "writing and comparing every tensor; compiling kernels, once")
        report = tfxp.export_tflite(self.qmodel, self.tflite, verify=images)
        steps, _ = steps_or_reason(self.qmodel)
        save_c_header(self.folder / "weights.h", tfxp.integer_weights(self.qmodel), steps)
        figures = report.to_dict()
        for key in ("mismatches_interpreter", "mismatches_litert", "elements"):
            self.summary[key] = figures[key]
        self.summary.update(tflite_bytes=report.tflite_bytes, float_bytes=report.float_bytes)
        size = f"{report.tflite_bytes:,} bytes; the weights in float32 are {report.float_bytes:,}"
        self.say("export", size)
        self.say(
            "verify",
            f"of {figures['elements']:,} outputs differ from Keras:"
            f" {figures['mismatches_interpreter']} in the interpreter,"
            f" {figures['mismatches_litert']} in LiteRT",
        )

    def run(self) -> None:
        """The integer file in both engines."""
        import tfxp

        runner = tfxp.Interpreter(self.tflite)
        runner.allocate_tensors()
        codes = input_codes(runner, self.test.x)
        ours = self.accuracy(runner.predict_codes(codes))
        self.counted = runner.report()
        total, executed = self.counted.macs_total, self.counted.macs_executed
        self.say("run", f"interpreter: {ours:.2%}; {1 - executed / total:.1%} of MACs skipped")
        theirs = self.accuracy(litert_outputs(self.tflite, codes))
        self.say("run", f"LiteRT: {theirs:.2%}")
        self.summary.update(interpreter_accuracy=ours, litert_accuracy=theirs)
        self.summary.update(macs_total=total, macs_executed=executed)

    def write(self) -> None:
        """The figures for programs, and the page for people."""
        import tfxp
        from tfxp.report import ModelFigures, model_costs, model_page, provenance

        precision = tfxp.precision_of(self.qmodel)
        figures = ModelFigures(
            name="Handwritten digits",
            stats=self.stats,
            precision=precision,
            after=tfxp.measure_model(self.qmodel, self.test.x),
            costs=model_costs(self.stats, precision),
            provenance=provenance([self.folder / "digits.npz"], _SEED.value),
            runs=self.counted.to_dict()["layers"],
            accuracies={
                "float": self.summary["float_accuracy"],
                f"quantized, {_PRECISION.value}": self.summary["quantized_accuracy"],
                "integers in the interpreter": self.summary["interpreter_accuracy"],
                "integers in LiteRT": self.summary["litert_accuracy"],
            },
            tflite_bytes=self.summary["tflite_bytes"],
            float_bytes=self.summary["float_bytes"],
            elements=self.summary["elements"],
            mismatches={
                "the interpreter": self.summary["mismatches_interpreter"],
                "LiteRT": self.summary["mismatches_litert"],
            },
        )
        model_page(figures).write(self.folder / "report.html")
        write_json(self.folder / "summary.json", {key: self.summary[key] for key in KEYS})

    def table(self) -> str:
        """What the interpreter counted, layer by layer."""
        header = ["layer", "MACs", "executed", "zero activation", "zero weight", "zeros in", "acc."]
        rows = []
        for row in self.counted.rows:
            c = row.counters
            counts = [c.macs_executed, c.macs_skipped_activation, c.macs_skipped_weight]
            shares = [f"{count / c.macs_total:.1%}" for count in counts]
            zeros = f"{row.zero_fraction_input:.1%}"
            rows.append([row.name, c.macs_total, *shares, zeros, f"{c.accumulator_bits} bits"])
        return cli.format_table(header, rows)


def main() -> int:
    """Run all steps; 1 if any output differs anywhere."""
    folder = Path(_OUTPUT.value)
    from tfxp.keras import keras

    keras.utils.set_random_seed(_SEED.value)
    folder.mkdir(parents=True, exist_ok=True)
    job = Quickstart(folder)
    for step in (job.save_data, job.train_float, job.quantize, job.export, job.run, job.write):
        step()
    print(f"\n{job.table()}\n")
    print(f"Look at {folder / 'report.html'}; the figures are in {folder / 'summary.json'}.")
    differ = job.summary["mismatches_interpreter"] or job.summary["mismatches_litert"]
    return 1 if differ else 0


run = cli.entry_point(main, _FLAGS)

if __name__ == "__main__":
    run()
