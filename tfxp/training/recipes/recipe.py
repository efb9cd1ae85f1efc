"""TrainingRecipe: all that decides how a network is trained, as a value with a JSON form."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from typing import Any

from tfxp.errors import ConfigError, DataError, check_fields, did_you_mean
from tfxp.files import read_json, write_json
from tfxp.models.keras_models import check_settings
from tfxp.sparsity.sparsity_map import SparsityMap
from tfxp.training.recipes.recipe_precision import given_map

SCHEMA = 1
OPTIMIZERS = ("adam", "relative_adam", "sgd", "terngrad")
SCHEDULES = ("constant", "cosine", "step")
AUGMENTS = ("none", "flip", "pad_crop_flip")
PENALTIES = ("l1", "hoyer")
INITIALIZATIONS = ("fresh", "preserve")
CALLBACKS = (
    "PreciseBatchNorm", "PrecisionSchedule", "RangeLogger", "SaturationAlarm", "SparsityLogger",
    "SqnrLogger",
)  # fmt: skip
_PROVENANCE = ("description", "reference", "command", "expected")
_MODEL_FIELDS = ("name", "settings", "file")
_WIDEN_FIELDS = ("factor", "initialization", "noise")
_RESCALE_FIELDS = ("percentile", "weight_percentile", "add_batch_norm", "samples")


@dataclasses.dataclass(frozen=True)
class TrainingRecipe:
    """How one network is built and trained; the same for float and for few bits.

    The network is made in this order: `model`, `widen`, `rescale`, `weight_std`, `weight_decay`,
    `precision`. Every draw comes from `seed` and the number of the epoch, so that a training which
    was interrupted goes on as if it had not been.

    Args:
        model: {"name": one of tfxp.models, "settings": its arguments}, or {"file": path} for a
            trained network to start from.
        widen: None, a factor, or {"factor": number or rules, "initialization": "fresh" or
            "preserve", "noise": share}; see `tfxp.widen_model`.
        rescale: None, or settings of `tfxp.rescale_for_wrpn` (and "samples" to measure on), for
            warm starts under fixed grids.
        weight_std: None, or the standard deviation that kernels on a WRPN grid start with. Common
            initializers put nearly all weights on 0 there; behind a BatchNormalization the size of
            a kernel is free.
        weight_decay: None keeps the network's own regularizers; a number replaces them by
            L2(number) on all kernels, 0 by nothing.
        precision: None trains in float; a shorthand, a precision map (as an object, or the path
            of one), or {"wrpn": arguments of `wrpn_precision`}. A map with formats of gradients
            and accumulators trains in fixed point, with BatchNormalization kept.
        fold_batch_norm: as for `tfxp.quantize_model`; WRPN keeps BatchNormalization.
        sparsity: None, or zeros to make in the first half of the steps, as `tfxp.prune_model` takes
            them; an object is a sparsity map.
        activation_penalty: None, or {"l1": strength} or {"hoyer": strength}: the price of ReLUs'
            outputs (`tfxp.sparsity.regularize_activations`).
        clip_weights: hold float weights under a WRPN grid within [-1, 1]; "all" holds every kernel
            of a training in float there too, as fixed-point formats of that range do.
        backward: how gradients run where `precision` is a training map (or {"training_map": file}
            with "perturb", "bits" or "float"): fields of `BackwardSettings`, and "others", formats
            of biases and of BatchNormalization's parameters.
        input_scale, input_shift: what data are multiplied by and shifted by.
        augment: "none", "flip" (left-right) or "pad_crop_flip".
        pad: pixels of zeros around an image before a random crop.
        optimizer: "adam", "relative_adam" (each channel of a kernel moves in units of its own size,
            as in `fine_tune`; for networks whose BatchNormalization is folded), "sgd", or
            "terngrad" (sgd on gradients of three values); fixed-point training takes "sgd".
        momentum: of sgd and terngrad (Nesterov's; plain in fixed point); Adam's first moment stays
            at 0.9.
        learning_rate: after the warm-up; of "relative_adam" a share, 0.005 is half a percent.
        schedule: "cosine" to 0, "step" or "constant".
        step_epochs: "step": epochs after which the rate is multiplied by `step_factor`.
        step_factor: see there.
        warmup_epochs: epochs of a linear rise from 0; "cosine" only.
        label_smoothing: share of the target that is spread over all classes.
        epochs: passes over the training data.
        batch_size: samples a step; the rest of an epoch that fills no batch is left out.
        checkpoint_every: steps between checkpoints within an epoch, for epochs that take long; None
            writes one behind every epoch.
        evaluate_every: epochs between evaluations; the last is always evaluated.
        seed: of initialisation, order and augmentation.
        callbacks: {name: settings} of tfxp's Keras callbacks to train with.
        provenance: `description`, `reference`, `command`, `expected`.

    Raises:
        ConfigError: an impossible value; all of them are named.

    Example:
        >>> recipe = TrainingRecipe(model={"name": "lenet"}, epochs=3)
        >>> TrainingRecipe.from_dict(recipe.to_dict()) == recipe
        True
    """

    model: Mapping[str, Any]
    widen: Any = None
    rescale: Mapping[str, Any] | None = None
    weight_std: float | None = None
    weight_decay: float | None = None
    precision: Any = None
    fold_batch_norm: bool = True
    sparsity: Any = None
    activation_penalty: Mapping[str, float] | None = None
    clip_weights: bool | str = False
    backward: Mapping[str, Any] | None = None
    input_scale: float = 1.0
    input_shift: float = 0.0
    augment: str = "none"
    pad: int = 4
    optimizer: str = "adam"
    momentum: float = 0.9
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    step_epochs: tuple[int, ...] = ()
    step_factor: float = 0.1
    warmup_epochs: int = 0
    label_smoothing: float = 0.0
    epochs: int = 10
    batch_size: int = 128
    checkpoint_every: int | None = None
    evaluate_every: int = 1
    seed: int = 0
    callbacks: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "step_epochs", tuple(self.step_epochs))
        if isinstance(self.widen, int | float) and not isinstance(self.widen, bool):
            object.__setattr__(self, "widen", {"factor": self.widen})
        wrong = [*self._wrong_choices(), *self._wrong_numbers(), *self._wrong_objects()]
        if wrong:
            raise ConfigError("training recipe: " + "; ".join(wrong) + ". Change these fields.")
        if "name" in self.model:
            check_settings(self.model["name"], self.model.get("settings", {}))
        given_map(self.precision)
        given_sparsity(self.sparsity)

    def _wrong_choices(self) -> list[str]:
        choices = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES, "augment": AUGMENTS}
        return [
            f"{name}: got {getattr(self, name)!r}; expected one of {', '.join(allowed)}"
            for name, allowed in choices.items()
            if getattr(self, name) not in allowed
        ]

    def _wrong_numbers(self) -> list[str]:
        whole = {"epochs": 1, "batch_size": 1, "evaluate_every": 1, "seed": 0, "pad": 0}
        whole["warmup_epochs"] = 0
        wrong = [
            f"{name}: got {value!r}; expected a whole number, at least {low}"
            for name, low in whole.items()
            if not _is_whole(value := getattr(self, name)) or value < low
        ]
        every = self.checkpoint_every
        if every is not None and not (_is_whole(every) and every > 0):
            wrong.append(f"checkpoint_every: got {every!r}; expected null or a number of steps")
        for name in ("input_scale", "learning_rate", "step_factor"):
            if not _is_number(value := getattr(self, name)) or value <= 0:
                wrong.append(f"{name}: got {value!r}; expected a positive number")
        for name in ("momentum", "label_smoothing"):
            if not _is_number(value := getattr(self, name)) or not 0 <= value < 1:
                wrong.append(f"{name}: got {value!r}; expected a number from 0 to below 1")
        for name in ("weight_std", "weight_decay"):
            value = getattr(self, name)
            if value is not None and (not _is_number(value) or value < 0):
                wrong.append(f"{name}: got {value!r}; expected null or a number of at least 0")
        if self.clip_weights not in (True, False, "all"):
            wrong.append(f'clip_weights: got {self.clip_weights!r}; expected true, false or "all"')
        if not _is_number(self.input_shift):
            wrong.append(f"input_shift: got {self.input_shift!r}; expected a number")
        return wrong

    def _wrong_objects(self) -> list[str]:
        wrong = _unknown("model", self.model, _MODEL_FIELDS)
        if isinstance(self.model, Mapping) and ("name" in self.model) == ("file" in self.model):
            wrong.append(f'model: got {dict(self.model)}; expected either "name" or "file"')
        if self.widen is not None:
            wrong += _unknown("widen", self.widen, _WIDEN_FIELDS)
            if isinstance(self.widen, Mapping):
                start = self.widen.get("initialization", "fresh")
                if "factor" not in self.widen or start not in INITIALIZATIONS:
                    wrong.append(
                        f"widen: got {dict(self.widen)}; expected a factor, and initialization "
                        f"{' or '.join(INITIALIZATIONS)}"
                    )
        if self.rescale is not None:
            wrong += _unknown("rescale", self.rescale, _RESCALE_FIELDS)
        if self.activation_penalty is not None:
            wrong += _unknown("activation_penalty", self.activation_penalty, PENALTIES)
            if len(self.activation_penalty) != 1:
                wrong.append(
                    f"activation_penalty: got {self.activation_penalty!r}; expected one of "
                    f"{', '.join(PENALTIES)} with its strength"
                )
        if self.schedule == "step" and not self.step_epochs:
            wrong.append('step_epochs: got none; expected epochs for schedule "step"')
        if self.warmup_epochs and self.schedule != "cosine":
            wrong.append(f"warmup_epochs: got schedule {self.schedule!r}; expected cosine")
        if self.backward is not None and not isinstance(self.backward, Mapping):
            wrong.append(f"backward: got {self.backward!r}; expected null or an object")
        return wrong + _unknown("callbacks", self.callbacks, CALLBACKS)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TrainingRecipe:
        """Read a JSON file.

        Raises:
            ConfigError: missing, no JSON, or no recipe.
        """
        return cls.from_dict(read_json(path, "training recipe"), os.fspath(path))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "training recipe") -> TrainingRecipe:
        """From its JSON form.

        Raises:
            ConfigError: wrong schema, unknown field, or an impossible value.
        """
        known = [field.name for field in dataclasses.fields(cls) if field.name != "provenance"]
        check_fields(where, data, ["schema", *known, *_PROVENANCE])
        if data.get("schema") != SCHEMA:
            raise ConfigError(f"schema of {where}: got {data.get('schema')!r}; expected {SCHEMA}.")
        if "model" not in data:
            raise ConfigError(f'model of {where}: got none; expected {{"name": …}} or a file.')
        fields = {key: value for key, value in data.items() if key in known}
        kept = {key: data[key] for key in _PROVENANCE if key in data}
        try:
            return cls(**fields, provenance=kept)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """JSON form; `from_dict` is the inverse."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        provenance = fields.pop("provenance")
        fields["step_epochs"] = list(self.step_epochs)
        return {"schema": SCHEMA, **provenance, **fields}

    def updated(self, changes: Mapping[str, Any]) -> TrainingRecipe:
        """This recipe with some fields changed.

        Raises:
            ConfigError: an unknown field or an impossible value.
        """
        return TrainingRecipe.from_dict({**self.to_dict(), **changes})

    def steps_per_epoch(self, samples: int) -> int:
        """Whole batches in an epoch.

        Raises:
            DataError: there is not even one.
        """
        steps = samples // self.batch_size
        if steps == 0:
            raise DataError(
                f"training data: got {samples} samples; expected at least a batch of "
                f"{self.batch_size}."
            )
        return steps

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a JSON file, whole or not at all."""
        write_json(path, self.to_dict())


def _unknown(name: str, value: object, known: tuple[str, ...]) -> list[str]:
    if not isinstance(value, Mapping):
        return [f"{name}: got {value!r}; expected an object of {', '.join(known)}"]
    extra = [str(key) for key in value if key not in known]
    if not extra:
        return []
    hint = did_you_mean(extra[0], known)
    close = f" ({hint.strip()})" if hint else ""
    return [f"{name}: got {', '.join(extra)}; expected {', '.join(known)}{close}"]


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def given_sparsity(
    value: dict[str, Any] | str | float | SparsityMap | None,
) -> SparsityMap | None:
    """The sparsity map that a recipe's `sparsity` stands for."""
    if value is None:
        return None
    return SparsityMap.from_dict(value) if isinstance(value, dict) else SparsityMap.of(value)
