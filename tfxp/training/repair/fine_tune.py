"""A short training of a quantized model, steered by labels or by its float twin."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.callbacks import FreezeFormats
from tfxp.data import ModelData, input_shapes
from tfxp.data.named_inputs import InputSignature
from tfxp.errors import ConfigError, DataError, ModelError, PrecisionError
from tfxp.keras import keras
from tfxp.keras_types import KerasModel, Samples
from tfxp.progress import Report, reporter
from tfxp.quantization.learned_formats import freeze_formats, is_learning, learn_formats
from tfxp.sparsity.activation_penalty import ActivationPenalty
from tfxp.sparsity.prunable import copy_masks
from tfxp.sparsity.pruning import GradualPruning
from tfxp.sparsity.sparsity_map import SparsityMap
from tfxp.training.repair.held_back import HeldBack, split
from tfxp.training.repair.objective import Objective
from tfxp.training.repair.relative_adam import RelativeAdam, relative_sizes

AUGMENTATIONS = ("none", "flip", "flip_crop")
FORMATS = ("learned", "fixed")
OPTIMIZERS = ("adam", "adafactor")
_CROP_PIXELS = 4


@dataclasses.dataclass(frozen=True)
class FineTuneSettings:
    """How a quantized model is fine-tuned.

    The defaults are what won on networks in 4 bits (docs/results_learned.md), with these reasons.
    BatchNormalization is folded before, so kernels and their channels differ in size by orders of
    magnitude: with one step for all (Adam at 1e-3) ResNet-8 on raw pixels collapses. Steps are
    shares of sizes instead. The rate rises from 0, because Adam's first steps have one size
    whatever the gradient is, and falls to 0 as a cosine, which ends the wandering of weights
    between two codes. Formats that are learned are held from the middle of the training on, those
    that move least first, so that none flips at its end.

    Args:
        epochs: passes over the data.
        learning_rate: largest relative step, 0.01 = 1 % of the size of a channel or tensor, and
            0.01 in log2 of a threshold.
        batch_size: samples per step.
        augment: "none", "flip" (left-right) or "flip_crop" (pad by 4, crop, flip); images only.
        teacher_weight: share of the loss that compares with the float model's outputs, 0 to 1.
        held_back: share of the samples that is not trained on, and decides which epoch is kept; at
            0, or where a batch would not be left, all samples do both.
        seed: seed of shuffling, augmentation, and the choice of samples that are held back.
        formats: "learned" (binary points train, by "tqt" of `learn_formats`) or "fixed".
        optimizer: "adam" (steps are shares of each channel's size) or "adafactor" (of each
            tensor's; for models whose channels must not drift apart).
        warm_up: share of the steps in which the rate rises.
        sparsity: zeros to make in the first half of the steps, by the cubic schedule of
            `tfxp.callbacks.PruningSchedule`; masks that the model has already hold without it.
        activation_l1, activation_hoyer: strengths of `tfxp.sparsity.ActivationZeros` for every
            ReLU.

    Raises:
        ConfigError: a value outside its range.
    """

    epochs: int = 2
    learning_rate: float = 5e-3
    batch_size: int = 64
    augment: str = "none"
    teacher_weight: float = 1.0
    seed: int = 0
    held_back: float = 0.1
    formats: str = "learned"
    optimizer: str = "adam"
    warm_up: float = 0.1
    sparsity: SparsityMap | str | float | None = None
    activation_l1: float = 0.0
    activation_hoyer: float = 0.0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or self.learning_rate <= 0:
            raise ConfigError(
                f"fine-tuning: got {self.epochs} epochs of batches of {self.batch_size} at rate "
                f"{self.learning_rate}; expected positive numbers."
            )
        if not 0 <= self.teacher_weight <= 1:
            raise ConfigError(f"teacher_weight: got {self.teacher_weight}; expected 0 to 1.")
        for name, share in (("held_back", self.held_back), ("warm_up", self.warm_up)):
            if not 0 <= share < 1:
                raise ConfigError(f"{name}: got {share}; expected 0 to below 1.")
        for name in ("activation_l1", "activation_hoyer"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name}: got {getattr(self, name)}; expected 0 or more.")
        if self.sparsity is not None:
            object.__setattr__(self, "sparsity", SparsityMap.of(self.sparsity))
        for name, word, known in (
            ("augment", self.augment, AUGMENTATIONS),
            ("formats", self.formats, FORMATS),
            ("optimizer", self.optimizer, OPTIMIZERS),
        ):
            if word not in known:
                raise ConfigError(f"{name}: got {word!r}; expected one of {known}.")

    @property
    def makes_zeros(self) -> bool:
        """Whether the network is to have more zeros than before."""
        return bool(self.sparsity is not None or self.activation_l1 or self.activation_hoyer)


def check_samples(settings: FineTuneSettings, data: ModelData) -> None:
    """Complain, before any long work, about data that a fine-tuning cannot use.

    Raises:
        DataError: less than a batch of samples.
        ConfigError: augmentation of several inputs, or of what are no images.
    """
    if len(data) < settings.batch_size:
        raise DataError(
            f"training data: got {len(data)} samples; expected at least a batch of "
            f"{settings.batch_size}."
        )
    if settings.augment == "none":
        return
    if len(data.parts) > 1:
        raise ConfigError(
            f"augment: got {settings.augment!r} for {len(data.parts)} inputs; expected none."
        )
    if data.parts[0].x.ndim != 4:
        shape = data.parts[0].x.shape[1:]
        raise ConfigError(f"augment: got inputs of shape {shape}; expected images.")


def fine_tune(
    qmodel: KerasModel,
    x: Samples,
    y: np.ndarray | None = None,
    settings: FineTuneSettings | None = None,
    *,
    teacher: KerasModel | None = None,
    progress: Report | None = None,
) -> Losses:
    """Train a quantized model in place for a few epochs, and keep the best of them.

        loss = (1 - t) * (L(y, q(x)) + R) + t * L(float(x), q(x)) + P

    L is the cross-entropy of a softmax, at every position, or of sigmoids, and the squared error
    of other outputs; R is what the network adds itself, its regularizers and `add_loss`; P is the
    settings' price of activations that are not zero. Some samples are held back. The model ends
    with the weights of the epoch, or of the beginning, that decides most of them rightly (by the
    labels, or without them as the float model does), with the smaller loss among equals. Where the
    training makes zeros, only epochs count that end with all of them. Ctrl-C ends the training and
    keeps the best so far.

    Args:
        qmodel: what `quantize_model` returned, with one output.
        x: inputs (samples, ...), as the model takes them; a list or dict of arrays where there are
            several; or batches of inputs, or of (inputs, labels), such as a `tf.data.Dataset`.
            They are held in memory.
        y: class numbers or float targets, where the batches have none; without either the model is
            trained on the teacher alone.
        settings: how.
        teacher: the float model; None trains on labels alone.
        progress: called with (steps done, steps in all, the running loss in words).

    Returns:
        The mean loss of every epoch, a list; its `kept` is the number of the epoch whose weights
        the model has, 0 for those before. Then a `TrainingWarning` says so.

    Raises:
        DataError: neither labels nor a teacher, labels twice, weights of samples, fewer samples
            than one batch, other inputs or targets than the model's, or values that are not finite.
        ConfigError: augmentation of several inputs, or of what are no images.
        ModelError: several outputs, or the loss became NaN; the weights before are put
            back then.
    """
    settings = settings or FineTuneSettings()
    signature = InputSignature.of(qmodel)
    inputs, labels = signature.labelled(x, "training data")
    if y is not None and labels is not None:
        raise DataError("training data: got labels in the batches and as y; expected one of them.")
    y = labels if y is None else np.asarray(y)
    trained = _trained(qmodel, settings)
    objective = Objective(trained, y, teacher, settings.teacher_weight, _penalty(trained, settings))
    data = ModelData.of((inputs, y), qmodel.input_names, "training data")
    data = data.shaped(input_shapes(qmodel))
    settings = _with_fixed_batch(settings, signature.batch)
    check_samples(settings, data)
    arrays = [part.x for part in data.parts]
    learned, held = split(len(data), settings.batch_size, settings.held_back, settings.seed)
    start = not settings.makes_zeros
    judge = HeldBack(trained, objective, arrays, data.y, held, settings.batch_size, start)
    training = [part[learned] for part in arrays], None if data.y is None else data.y[learned]
    losses = Losses(_epochs(trained, objective, training, settings, judge, reporter(progress)))
    losses.kept = judge.finish("fine-tuning")
    if trained is not qmodel and losses.kept:
        qmodel.set_weights(freeze_formats(trained).get_weights())
        if settings.sparsity is not None:
            copy_masks(trained, qmodel)
    return losses


class Losses(list[float]):
    """The mean loss of every epoch, and the epoch whose weights were kept: 0 for none."""

    kept: int = 0


def _epochs(
    qmodel: KerasModel,
    objective: Objective,
    training: tuple[list[np.ndarray], np.ndarray | None],
    settings: FineTuneSettings,
    judge: HeldBack,
    progress: Report,
) -> Iterator[float]:
    """Train, show every epoch to the judge, and yield its loss; Ctrl-C ends it early."""
    (arrays, y), before = training, qmodel.get_weights()
    steps = len(arrays[0]) // settings.batch_size
    steering = _Steering(qmodel, settings, steps * settings.epochs)
    step = objective.step(_optimizer(qmodel, settings, steps * settings.epochs))
    for epoch in range(settings.epochs):
        total = 0.0
        try:
            for done, batch in enumerate(shuffled_batches(arrays, y, settings, epoch), 1):
                total += float(step(*batch))
                if not np.isfinite(total):
                    qmodel.set_weights(before)
                    raise ModelError(
                        f"fine-tuning: the loss became NaN in step {done} of epoch {epoch + 1}; "
                        "the model is as it was. Use a smaller learning rate."
                    )
                steering.after_step(epoch * steps + done)
                loss = f"loss {total / done:.4f}"
                progress(epoch * steps + done, steps * settings.epochs, loss)
            if steering.has_zeros:
                judge.look(epoch + 1)
        except KeyboardInterrupt:
            if not judge.has_looked:
                steering.make_zeros()
                judge.look(epoch + 1)
            return
        yield total / steps


def _trained(qmodel: KerasModel, settings: FineTuneSettings) -> KerasModel:
    """The model that is trained: one that learns formats, unless none of them can be learned."""
    if settings.formats == "fixed" or is_learning(qmodel):
        return qmodel
    try:
        learning = learn_formats(qmodel)
    except PrecisionError:
        return qmodel
    shapes = [
        [w.shape for w in model.get_weights()] for model in (qmodel, freeze_formats(learning))
    ]
    return learning if shapes[0] == shapes[1] else qmodel


def _optimizer(qmodel: KerasModel, settings: FineTuneSettings, steps: int) -> Any:
    """The optimizer of all steps: the rate rises and falls."""
    warm, rate = round(settings.warm_up * steps), settings.learning_rate
    schedules = keras.optimizers.schedules
    schedule = schedules.CosineDecay(rate, steps)
    if warm:
        schedule = schedules.CosineDecay(0.0, steps - warm, warmup_target=rate, warmup_steps=warm)
    if settings.optimizer == "adafactor":
        return keras.optimizers.Adafactor(schedule, relative_step=False)
    return RelativeAdam(schedule, relative_sizes(qmodel))


class _Steering:
    """What changes during a training besides the weights: zeros and formats.

    Zeros are made in its first half. Learned formats are held from the middle on, and all of them
    in its last fourth.

    Args:
        qmodel: the model in training.
        settings: which zeros.
        steps: of the whole training.
    """

    def __init__(self, qmodel: KerasModel, settings: FineTuneSettings, steps: int) -> None:
        often = max(steps // 40, 1)
        self._freezing = FreezeFormats(steps // 2, often, max(3 * steps // 4, steps // 2))
        self._freezing.set_model(qmodel)
        self._freezing.on_train_begin()
        self._pruning = None
        if settings.sparsity is not None:
            self._pruning = GradualPruning(qmodel, settings.sparsity, 0, steps // 2, often)
            self._pruning.hold()  # before the step is compiled

    def after_step(self, done: int) -> None:
        """Change what is due after so many steps."""
        self._freezing.on_train_batch_end(done)
        if self._pruning is not None:
            self._pruning.update(done)

    @property
    def has_zeros(self) -> bool:
        """Whether all zeros are there that were asked for."""
        return self._pruning is None or self._pruning.is_finished

    def make_zeros(self) -> None:
        """Make all of them now."""
        if self._pruning is not None:
            self._pruning.finish()


def _penalty(qmodel: KerasModel, settings: FineTuneSettings) -> ActivationPenalty | None:
    """The price of activations that are not zero, if there is one."""
    strengths = {"l1": settings.activation_l1, "hoyer": settings.activation_hoyer}
    return ActivationPenalty(qmodel, strengths) if any(strengths.values()) else None


def _with_fixed_batch(settings: FineTuneSettings, batch: int | None) -> FineTuneSettings:
    """The same settings for a network that takes one number of samples only."""
    return settings if batch is None else dataclasses.replace(settings, batch_size=batch)


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
