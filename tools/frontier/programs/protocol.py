"""What the programs of all peers share: the settings, the images, the training, the judging.

A program is started as `python peer_NAME.py SETTINGS.json RESULT.json` in the peer's environment,
so this file needs NumPy and TensorFlow (with Keras 2 or 3) and nothing of tfxp. Every peer is
trained by the same loop: cross-entropy against labels and against the float model's outputs, half
of it each, left-right flips, Adam with a rate that rises for a tenth of the steps and falls as a
cosine, and the best epoch by images that are held back.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

HELD_BACK = 0.1
TEACHER = 0.5
WARM_UP = 0.1
_EVALUATION_BATCH = 250


@dataclasses.dataclass(frozen=True)
class Settings:
    """One run, as the tool asks for it; the fields are those of the tool's flags."""

    peer: str
    precision: str
    weight_bits: int
    activation_bits: int
    model: str
    train_data: str
    eval_data: str
    file: str
    epochs: int = 0
    images: int = 20000
    eval_images: int | None = None
    calibration: int = 512
    batch_size: int = 64
    learning_rate: float = 1e-3
    seed: int = 0


Result = dict[str, Any]
Program = Callable[[Settings, Result], None]


def run(program: Program, seeds: bool = True) -> None:
    """Read the settings, run the peer, write the result; a peer's error is a result too.

    Args:
        program: what a peer does.
        seeds: whether to seed TensorFlow here; not for programs that import it in their own way.
    """
    settings_path, result_path = sys.argv[1:]
    with open(settings_path, encoding="utf-8") as file:
        settings = Settings(**json.load(file))
    if seeds:
        import tensorflow as tf

        tf.keras.utils.set_random_seed(settings.seed)
    started, result = time.monotonic(), Result()
    try:
        program(settings, result)
    except Exception as error:  # whatever a peer raises is what the row has to say
        traceback.print_exc()
        text = next((line for line in str(error).splitlines() if line.strip()), "")
        result["error"] = f"{type(error).__name__}: {text.strip()}"[:400]
    result["seconds"] = round(time.monotonic() - started, 1)
    with open(result_path + ".part", "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
    os.replace(result_path + ".part", result_path)


def versions(*packages: str) -> dict[str, str]:
    """Package -> installed version."""
    return {name: importlib.metadata.version(name) for name in packages}


def images(path: str, count: int | None, split: str) -> tuple[np.ndarray, np.ndarray]:
    """The first images as float32 in the model's own range, and their labels."""
    with np.load(path) as file:
        x, y = ("x", "y") if "x" in file else (f"x_{split}", f"y_{split}")
        return file[x][:count].astype(np.float32), file[y][:count].reshape(-1)


def training_images(settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels to train on."""
    return images(settings.train_data, settings.images, "train")


def calibration_images(settings: Settings) -> np.ndarray:
    """Images to choose ranges on: the first training images."""
    return images(settings.train_data, settings.calibration, "train")[0]


def float_model(settings: Settings) -> Any:
    """The float model, which is the teacher too."""
    import tensorflow as tf

    return tf.keras.models.load_model(settings.model, compile=False)


def train(student: Any, teacher: Any, settings: Settings, result: Result) -> None:
    """Train `student` in place by labels and the outputs of `teacher`, and keep the best epoch."""
    if not settings.epochs:
        return
    import tensorflow as tf

    x, y = training_images(settings)
    random = np.random.default_rng(settings.seed)
    order = random.permutation(len(x))
    held = int(HELD_BACK * len(x))
    held, learned = x[order[:held]], order[held:]
    steps = len(learned) // settings.batch_size * settings.epochs
    warm = round(WARM_UP * steps)
    rate = tf.keras.optimizers.schedules.CosineDecay(
        0.0, steps - warm, warmup_target=settings.learning_rate, warmup_steps=warm
    )
    optimizer = tf.keras.optimizers.Adam(rate)
    step = _step(student, teacher, optimizer)
    wanted = predict(teacher, held)
    best, losses, started = None, [], time.monotonic()
    for epoch in range(settings.epochs):
        batches = _batches(x[learned], y[learned], settings.batch_size, random)
        total = [float(step(*batch)) for batch in batches]
        losses.append(float(np.mean(total)))
        score = _agreement(predict(student, held), wanted)
        print(f"epoch {epoch + 1}: loss {losses[-1]:.4f}, agreement {score}", flush=True)
        if best is None or score > best[0]:
            best = score, epoch + 1, student.get_weights()
    student.set_weights(best[2])
    result |= {"losses": losses, "kept": best[1]}
    result["seconds_an_epoch"] = round((time.monotonic() - started) / settings.epochs, 1)


def _step(student: Any, teacher: Any, optimizer: Any) -> Any:
    import tensorflow as tf

    def loss_of(batch: Any, labels: Any) -> Any:
        taught = teacher(batch, training=False)
        wanted = TEACHER * taught + (1 - TEACHER) * tf.one_hot(labels, taught.shape[-1])
        given = tf.clip_by_value(student(batch, training=True), 1e-7, 1.0)
        loss = -tf.reduce_mean(tf.reduce_sum(wanted * tf.math.log(given), -1))
        return tf.add_n([loss, *student.losses]) if student.losses else loss

    def step(batch: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(batch, labels)
        variables = student.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    return tf.function(step)


def _batches(
    x: np.ndarray, y: np.ndarray, size: int, random: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images, flipped at random, and their labels."""
    order = random.permutation(len(x))
    for start in range(0, len(x) - size + 1, size):
        chosen = order[start : start + size]
        batch, flipped = x[chosen], random.random(size) < 0.5
        yield np.where(flipped[:, None, None, None], batch[:, :, ::-1], batch), y[chosen]


def _agreement(given: np.ndarray, wanted: np.ndarray) -> tuple[float, float]:
    """Share of equal decisions, then minus the cross-entropy, to decide among equals."""
    same = float(np.mean(given.argmax(-1) == wanted.argmax(-1)))
    return same, float(np.mean(np.sum(wanted * np.log(np.clip(given, 1e-7, 1.0)), -1)))


def predict(model: Any, x: np.ndarray) -> np.ndarray:
    """Outputs of a Keras model, in inference."""
    import tensorflow as tf

    call = tf.function(lambda batch: model(batch, training=False), reduce_retracing=True)
    parts = range(0, len(x), _EVALUATION_BATCH)
    return np.concatenate([call(x[i : i + _EVALUATION_BATCH]).numpy() for i in parts])


def judge_simulation(model: Any, settings: Settings, result: Result, name: str) -> None:
    """Accuracy of a Keras model whose floats are rounded as integers would be."""
    x, y = images(settings.eval_data, settings.eval_images, "test")
    result["accuracy"] = float(np.mean(predict(model, x).argmax(-1) == y))
    result["eval_images"] = len(y)
    result["measured_on"] = f"simulation in {name}"


def judge_file(content: bytes, settings: Settings, result: Result, interpreter: Any) -> None:
    """Write a .tflite file and measure its accuracy in LiteRT, with 1 thread.

    Args:
        content: the file.
        settings: where to write it, and the images.
        result: gets the accuracy, the bytes and the types of the file's tensors.
        interpreter: the class that runs it, of TensorFlow or of ai_edge_litert.
    """
    with open(settings.file, "wb") as file:
        file.write(content)
    runner = interpreter(model_path=settings.file, num_threads=1)
    runner.allocate_tensors()
    source, target = runner.get_input_details()[0], runner.get_output_details()[0]
    x, y = images(settings.eval_data, settings.eval_images, "test")
    decisions = []
    for image in _as_input(x, source):
        runner.set_tensor(source["index"], image[None])
        runner.invoke()
        decisions.append(int(runner.get_tensor(target["index"])[0].argmax()))
    result["accuracy"] = float(np.mean(np.array(decisions) == y))
    result["eval_images"] = len(y)
    result["measured_on"] = "file in LiteRT"
    result["file_bytes"] = len(content)
    result["input_type"] = np.dtype(source["dtype"]).name
    types = [np.dtype(tensor["dtype"]).name for tensor in runner.get_tensor_details()]
    result["tensor_types"] = {name: types.count(name) for name in sorted(set(types))}


def _as_input(x: np.ndarray, source: dict[str, Any]) -> np.ndarray:
    """Images as the file takes them."""
    kind = np.dtype(source["dtype"])
    if kind.kind == "f":
        return x.astype(kind)
    scale, zero = source["quantization"]
    limits = np.iinfo(kind)
    return np.clip(np.rint(x / scale + zero), limits.min, limits.max).astype(kind)
