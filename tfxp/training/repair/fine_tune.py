"""A short training of a quantized model, steered by labels or by its float twin."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from tfxp.callbacks import FreezeFormats
from tfxp.data.named_inputs import InputSignature
from tfxp.devices import check_every_replica, scope_of, strategy_of
from tfxp.errors import ModelError, PrecisionError, check_kind
from tfxp.keras_types import KerasModel, Samples
from tfxp.progress import Report, reporter
from tfxp.quantization.learned_formats import freeze_formats, is_learning, learn_formats
from tfxp.quantization.own_keras import require_tf_keras
from tfxp.sparsity.activation_penalty import ActivationPenalty
from tfxp.sparsity.prunable import copy_masks
from tfxp.sparsity.pruning import GradualPruning
from tfxp.training.repair.held_back import HeldBack
from tfxp.training.repair.objective import Objective
from tfxp.training.repair.optimizer import make_optimizer, rate_schedule
from tfxp.training.repair.samples import training_set
from tfxp.training.repair.settings import FineTuneSettings
from tfxp.training.repair.training_set import TrainingSet


def fine_tune(
    qmodel: KerasModel,
    x: Samples,
    y: np.ndarray | tuple[np.ndarray, ...] | Mapping[str, np.ndarray] | None = None,
    settings: FineTuneSettings | None = None,
    *,
    teacher: KerasModel | None = None,
    loss: str | Callable[..., object] | Mapping[str, object] | None = None,
    class_weight: Mapping[int, float] | None = None,
    sample_weight: np.ndarray | None = None,
    progress: Report | None = None,
) -> Losses:
    """Train a quantized model in place for a few epochs, and keep the best of them.

        loss = (1 - t) * (L(y, q(x)) + R) + t * L(float(x), q(x)) + P

    L is the cross-entropy of a softmax, at every position, or of sigmoids, and the squared error
    of other outputs; R is what the network adds itself, its regularizers and `add_loss`; P is the
    settings' price of activations that are not zero. Some samples are held back. The model ends
    with the weights of the epoch, or of the beginning, that has the smallest loss on them; without
    a teacher, of the one that decides most of them rightly. Where the training makes zeros, only
    epochs count that end with all of them. Ctrl-C ends the training and keeps the best so far. The
    losses of several outputs are added up, and so are their decisions.

    Args:
        qmodel: what `quantize_model` returned.
        x: inputs (samples, ...), as the model takes them; a list or dict of arrays where there are
            several. Or a stream with answers and perhaps weights: a `Source`, or a
            `tf.data.Dataset`, which is read anew in every epoch and not held (below 64 MiB it is);
            its first samples are held back, and the others are shuffled in a buffer (all of them,
            where the stream can find them by number).
        y: class numbers or float targets; for several outputs a tuple, or a dict by their names.
            Without any the model is trained on the teacher alone.
        settings: how.
        teacher: the float model; None trains on labels alone.
        loss: L of the answers, where it is another: the name, function or object of a Keras loss,
            or a dict of these by outputs. L of the teacher stays.
        class_weight: class number -> weight of its samples; others have 1.
        sample_weight: one a sample, for arrays; a stream brings its own.
        progress: called with (steps done, steps in all, the running loss in words).

    Returns:
        The mean loss of every epoch, a list; its `kept` is the number of the epoch whose weights
        the model has, 0 for those before. Then a `TrainingWarning` says so.

    Raises:
        DataError: neither labels nor a teacher, labels twice, fewer samples than one batch, other
            inputs or targets than the model's, or values that are not finite.
        ConfigError: augmentation of several inputs, or of what are no images; a loss or weights
            that do not go with the outputs; a batch smaller than the number of replicas.
        ModelError: a model of Keras 3, or the loss became NaN; the weights before are put back
            then.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> keras.utils.set_random_seed(0)
        >>> dense = [layers.Dense(8, activation="relu", input_shape=(8,)), layers.Dense(2)]
        >>> model = keras.Sequential(dense)
        >>> x = np.random.default_rng(0).uniform(0, 1, (256, 8)).astype("float32")
        >>> qmodel = tfxp.quantize_model(model, "w3a8", tfxp.measure_model(model, x))
        >>> settings = tfxp.training.FineTuneSettings(epochs=4, batch_size=16)
        >>> losses = fine_tune(qmodel, x, settings=settings, teacher=model)
        >>> losses[-1] < losses[0], losses.kept > 0
        (True, True)

    References:
        The teacher: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015,
        without its temperature.
    """
    require_tf_keras(qmodel, "fine_tune")
    settings = FineTuneSettings() if settings is None else settings
    check_kind(settings, FineTuneSettings, "settings", "tfxp.training.FineTuneSettings")
    settings = _with_fixed_batch(settings, InputSignature.of(qmodel).batch)
    check_every_replica(strategy_of(qmodel), settings.batch_size)
    samples, answers = training_set(qmodel, x, y, sample_weight, settings)
    trained = _trained(qmodel, settings)
    objective = Objective(
        trained, answers, teacher, settings.teacher_weight, _penalty(trained, settings),
        loss=loss, class_weight=class_weight,
    )  # fmt: skip
    judge = HeldBack(trained, objective, samples, not settings.makes_zeros)
    losses = Losses(_epochs(trained, objective, samples, settings, judge, reporter(progress)))
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
    samples: TrainingSet,
    settings: FineTuneSettings,
    judge: HeldBack,
    progress: Report,
) -> Iterator[float]:
    """Train, show every epoch to the judge, and yield its loss; Ctrl-C ends it early."""
    steps, before = samples.steps, qmodel.get_weights()
    steering = _Steering(qmodel, settings, steps * settings.epochs)
    with scope_of(qmodel):
        schedule = rate_schedule(settings, steps * settings.epochs)
        optimizer = make_optimizer(qmodel, settings, schedule)
    step = objective.step(optimizer)
    for epoch in range(settings.epochs):
        total = 0.0
        try:
            for done, batch in enumerate(samples.epoch(epoch), 1):
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
