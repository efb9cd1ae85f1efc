"""A short training of a quantized model, steered by labels or by its float twin."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.data import ModelData, input_shapes
from tfxp.errors import ConfigError, DataError, ModelError
from tfxp.keras import keras
from tfxp.keras_types import KerasModel, Samples
from tfxp.transforms.layer_graph import LayerGraph
from tfxp.transforms.normalize.normalize import is_softmax

Progress = Callable[[int, int, float], None]
AUGMENTATIONS = ("none", "flip", "flip_crop")
_CROP_PIXELS = 4


@dataclasses.dataclass(frozen=True)
class FineTuneSettings:
    """How a quantized model is fine-tuned.

    Steps are relative: Adafactor scales every update by the root mean square of the tensor it
    moves, so one rate suits layers whose weights differ by orders of magnitude, as they do once
    BatchNormalization is folded. With a fixed step for all (Adam at 1e-3) ResNet-8 on raw pixels
    collapses, because its first kernel is a hundred times smaller than its last.

    Args:
        epochs: passes over the data.
        learning_rate: first relative step, 0.01 = 1 % of a tensor's size; falls to 0 as a cosine.
        batch_size: samples per step.
        augment: "none", "flip" (left-right) or "flip_crop" (pad by 4, crop, flip); images only.
        teacher_weight: share of the loss that compares with the float model's outputs, 0 to 1.
        seed: seed of shuffling and augmentation.

    Raises:
        ConfigError: a value outside its range.
    """

    epochs: int = 2
    learning_rate: float = 1e-2
    batch_size: int = 64
    augment: str = "none"
    teacher_weight: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or self.learning_rate <= 0:
            raise ConfigError(
                f"fine-tuning: got {self.epochs} epochs of batches of {self.batch_size} at rate "
                f"{self.learning_rate}; expected positive numbers."
            )
        if self.augment not in AUGMENTATIONS:
            raise ConfigError(f"augment: got {self.augment!r}; expected one of {AUGMENTATIONS}.")
        if not 0 <= self.teacher_weight <= 1:
            raise ConfigError(f"teacher_weight: got {self.teacher_weight}; expected 0 to 1.")


def fine_tune(
    qmodel: KerasModel,
    x: Samples,
    y: np.ndarray | None,
    settings: FineTuneSettings | None = None,
    *,
    teacher: KerasModel | None = None,
    progress: Progress | None = None,
) -> list[float]:
    """Train a quantized model in place for a few epochs.

        loss = (1 - t) * CE(y, q(x)) + t * CE(float(x), q(x))

    CE is the cross-entropy of softmax outputs; outputs without a softmax and float targets use
    the squared error instead.

    Args:
        qmodel: what `quantize_model` returned, with one output.
        x: inputs (samples, ...), as the model takes them; a list or dict of arrays where there are
            several.
        y: class numbers or float targets; None trains on the teacher alone.
        settings: how.
        teacher: the float model; None trains on labels alone.
        progress: called with (steps done, steps in all, running loss).

    Returns:
        The mean loss of every epoch.

    Raises:
        DataError: neither labels nor a teacher, fewer samples than one batch, other inputs than the
            model's, or values that are not finite.
        ConfigError: augmentation of several inputs, or of what are no images.
        ModelError: several outputs, or the loss became NaN; the weights before are put
            back then.
    """
    settings = settings or FineTuneSettings()
    share = _teacher_share(settings, y, teacher)
    if len(qmodel.outputs) != 1:
        raise ModelError(
            f"fine-tuning of {qmodel.name!r}: got {len(qmodel.outputs)} outputs; expected one. Use "
            "your own fit instead."
        )
    data = ModelData.of((x, y), qmodel.input_names, "training data")
    arrays = [part.x for part in data.shaped(input_shapes(qmodel)).parts]
    steps = len(data) // settings.batch_size
    if steps == 0:
        raise DataError(
            f"training data: got {len(data)} samples; expected at least a batch of "
            f"{settings.batch_size}."
        )
    rate = keras.optimizers.schedules.CosineDecay(settings.learning_rate, steps * settings.epochs)
    optimizer = keras.optimizers.Adafactor(rate, relative_step=False)
    step = train_step(qmodel, teacher, optimizer, share, is_classifier(qmodel))
    before = qmodel.get_weights()
    losses = []
    for epoch in range(settings.epochs):
        total = 0.0
        for done, batch in enumerate(shuffled_batches(arrays, y, settings, epoch), 1):
            total += float(step(*batch))
            if not np.isfinite(total):
                qmodel.set_weights(before)
                raise ModelError(
                    f"fine-tuning: the loss became NaN in step {done} of epoch {epoch + 1}; the "
                    "model is as it was. Use a smaller learning rate."
                )
            if progress is not None:
                progress(epoch * steps + done, steps * settings.epochs, total / done)
        losses.append(total / steps)
    return losses


def _teacher_share(settings: FineTuneSettings, y: np.ndarray | None, teacher: Any) -> float:
    if teacher is None and y is None:
        raise DataError("fine-tuning: got neither labels nor a float model; expected one of them.")
    if teacher is None:
        return 0.0
    return 1.0 if y is None else settings.teacher_weight


def is_classifier(model: Any) -> bool:
    """Whether the output is a softmax, whatever shape layers follow it."""
    graph = LayerGraph.from_model(model)
    ref = graph.outputs[0]
    while True:
        spec = graph.spec_of(ref)
        if is_softmax(spec) or spec.config.get("activation") == "softmax":
            return True
        if spec.kind not in ("Reshape", "Flatten", "Dropout"):
            return False
        ref = graph.calls[ref.call].refs()[0]


def train_step(
    qmodel: Any, teacher: Any, optimizer: Any, share: float, classifier: bool
) -> Callable[..., tf.Tensor]:
    """A compiled step: (inputs, labels) -> loss, for `share` of the teacher's in the loss."""
    optimizer.build(qmodel.trainable_variables)

    def against(targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        outputs = tf.reshape(outputs, (tf.shape(outputs)[0], -1))
        targets = tf.reshape(targets, (tf.shape(outputs)[0], -1))
        if not classifier:
            return tf.reduce_mean(tf.square(tf.cast(targets, outputs.dtype) - outputs))
        if targets.shape[-1] == 1:
            loss = keras.losses.sparse_categorical_crossentropy(targets, outputs)
        else:
            loss = keras.losses.categorical_crossentropy(targets, outputs)
        return tf.reduce_mean(loss)

    @tf.function(reduce_retracing=True)
    def step(x: Any, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            outputs = qmodel(x, training=True)
            loss = tf.constant(0.0)
            if share < 1:
                loss += (1 - share) * against(y, outputs)
            if share > 0:
                loss += share * against(tf.stop_gradient(teacher(x, training=False)), outputs)
        gradients = tape.gradient(loss, qmodel.trainable_variables)
        optimizer.apply_gradients(zip(gradients, qmodel.trainable_variables, strict=True))
        return loss

    return step


def shuffled_batches(
    x: Sequence[np.ndarray], y: np.ndarray | None, settings: FineTuneSettings, epoch: int
) -> Any:
    """Shuffled and augmented batches of one epoch, the same ones for the same seed and epoch.

    Args:
        x: one array per input.
        y: labels, or None.
        settings: batch size, augmentation, seed.
        epoch: which epoch.
    """
    if len(x) > 1 and settings.augment != "none":
        raise ConfigError(f"augment: got {settings.augment!r} for {len(x)} inputs; expected none.")
    count = len(x[0])
    labels = np.zeros(count, np.int64) if y is None else np.asarray(y)
    data = tf.data.Dataset.from_tensor_slices(np.arange(count))
    data = data.shuffle(count, seed=settings.seed + epoch).batch(settings.batch_size, True)
    draws = np.random.default_rng((settings.seed, epoch))
    for index in data.as_numpy_iterator():
        parts = [np.asarray(part[index], np.float32) for part in x]
        if not all(np.isfinite(part).all() for part in parts):
            # quantizers would turn NaN into an ordinary code
            raise DataError("training data: got values that are NaN or infinite; expected numbers.")
        if settings.augment != "none":
            parts = [_augmented(parts[0], settings.augment, draws)]
        tensors = [tf.constant(part) for part in parts]
        yield tensors if len(tensors) > 1 else tensors[0], tf.constant(labels[index])


def _augmented(images: np.ndarray, how: str, draws: np.random.Generator) -> np.ndarray:
    if images.ndim != 4:
        raise ConfigError(f"augment: got inputs of shape {images.shape[1:]}; expected images.")
    flipped = draws.random(len(images)) < 0.5
    images = np.where(flipped[:, None, None, None], images[:, :, ::-1], images)
    if how == "flip":
        return images
    size, pad = images.shape[1:3], _CROP_PIXELS
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    tops, lefts = draws.integers(0, 2 * pad + 1, (2, len(images)))
    crops = [
        image[top : top + size[0], left : left + size[1]]
        for image, top, left in zip(padded, tops, lefts, strict=True)
    ]
    return np.stack(crops)
