"""How files become a network's inputs: resizing, cropping, scaling, features, columns, MFCC."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from tfxp.data.input_scaling import InputScaling
from tfxp.data.model_notes import keep_notes, notes_of
from tfxp.errors import ConfigError, check_fields
from tfxp.files import read_json
from tfxp.keras_types import KerasModel

SCHEMA = 1
_KEY = "preprocessing"
_NOTES = ("schema", "description", "reference")
METHODS = ("bilinear", "nearest", "bicubic", "area", "lanczos3", "lanczos5", "gaussian",
           "mitchellcubic")  # fmt: skip
ENCODINGS = ("none", "raw", "image")
ROLES = ("x", "y", "weights")
TYPES = ("float32", "int64", "uint8", "int8", "int16", "int32", "float64")


@dataclasses.dataclass(frozen=True)
class ImageSteps:
    """From a picture's file to an array, in this order.

    Args:
        resize: (height, width), or one number for the shorter side; None leaves the size.
        crop: (height, width) cut from the middle; None cuts nothing.
        method: of `tf.image.resize`.
        antialias: whether shrinking averages.
        channels: 1 (grey) or 3.

    Raises:
        ConfigError: a value that cannot be.
    """

    resize: int | tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    method: str = "bilinear"
    antialias: bool = False
    channels: int = 3

    def __post_init__(self) -> None:
        for name in ("resize", "crop"):
            value = getattr(self, name)
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
            value = getattr(self, name)
            pair = isinstance(value, tuple) and len(value) == 2 and _are_sizes(*value)
            single = name == "resize" and _are_sizes(value)
            if value is not None and not (pair or single):
                raise _wrong(f"image {name}", value, "two positive whole numbers")
        if self.method not in METHODS or self.channels not in (1, 3):
            raise _wrong(
                "image", (self.method, self.channels), f"one of {METHODS}; 1 or 3 channels"
            )


@dataclasses.dataclass(frozen=True)
class AudioSteps:
    """From a WAV file to mel-frequency cepstral coefficients, by `tf.signal`.

        frames = |STFT(x)|;  mel = frames . M;  c = DCT-II(ln(mel + 1e-6)), the first few

    Args:
        rate: samples a second that every file must have.
        samples: length to cut to or to fill up with zeros.
        frame, step: samples of a window and between two windows.
        mels: bands from `low` to `high` Hz.
        coefficients: how many are kept.
        low, high: edges of the bands, in Hz.

    Raises:
        ConfigError: a value that cannot be.
    """

    rate: int = 16000
    samples: int = 16000
    frame: int = 640
    step: int = 320
    mels: int = 40
    coefficients: int = 10
    low: float = 20.0
    high: float = 4000.0

    def __post_init__(self) -> None:
        counts = (self.rate, self.samples, self.frame, self.step, self.mels, self.coefficients)
        if not _are_sizes(*counts) or self.coefficients > self.mels or self.frame > self.samples:
            raise _wrong("audio", counts, "positive whole numbers, frame <= samples, "
                         "coefficients <= mels")  # fmt: skip
        if not 0 <= self.low < self.high <= self.rate / 2:
            raise _wrong("audio", (self.low, self.high), f"0 <= low < high <= {self.rate / 2:g} Hz")


@dataclasses.dataclass(frozen=True)
class Feature:
    """One feature of the records of a TFRecord file.

    Args:
        shape: of one sample.
        type: of its numbers.
        encoding: "none" (a list of numbers), "raw" (their bytes) or "image" (a JPEG or PNG file,
            which the image steps turn into an array).
        role: "x" (an input of that name), "y" (the answer) or "weights".

    Raises:
        ConfigError: a value that cannot be.
    """

    shape: tuple[int, ...] = ()
    type: str = "float32"
    encoding: str = "none"
    role: str = "x"

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        for name, value, known in (
            ("type", self.type, TYPES),
            ("encoding", self.encoding, ENCODINGS),
            ("role", self.role, ROLES),
        ):
            if value not in known:
                raise _wrong(f"feature {name}", value, f"one of {', '.join(known)}")
        if not all(isinstance(size, int) and size > 0 for size in self.shape):
            raise _wrong("feature shape", self.shape, "positive whole numbers")
        if self.encoding == "none" and self.type not in ("float32", "int64"):
            raise _wrong("feature type", self.type, "float32 or int64 where nothing is encoded")


@dataclasses.dataclass(frozen=True)
class TableColumns:
    """The columns of a .csv table; those that are not named are the input, in their order.

    Args:
        target: the column with the answers, or several.
        drop: columns that are not read.
    """

    target: str | tuple[str, ...] = "y"
    drop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.target, str):
            object.__setattr__(self, "target", tuple(self.target))
        object.__setattr__(self, "drop", tuple(self.drop))

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns with answers."""
        return (self.target,) if isinstance(self.target, str) else self.target


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How a set's files become inputs, as a small JSON file says it.

        {"schema": 1, "image": {"resize": 256, "crop": [224, 224]}, "scale": 0.0078125, "shift": -1}

    It travels with the model: in saved Keras models and in an exported file's metadata.

    Args:
        image: pictures; None reads them as they are.
        audio: WAV files; None takes the defaults of `AudioSteps`.
        features: name -> feature of TFRecord files.
        table: the columns of .csv files.
        scaling: x * scale + shift behind all of it; None leaves it to the model.

    Example:
        >>> steps = Preprocessing.from_dict({"schema": 1, "image": {"resize": [32, 32]}})
        >>> steps.image.resize, Preprocessing.from_dict(steps.to_dict()) == steps
        ((32, 32), True)
    """

    image: ImageSteps | None = None
    audio: AudioSteps | None = None
    features: Mapping[str, Feature] = dataclasses.field(default_factory=dict)
    table: TableColumns | None = None
    scaling: InputScaling | None = None

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Preprocessing:
        """Read the JSON file.

        Raises:
            ConfigError: no such file, no JSON, unknown fields or impossible values.
        """
        return cls.from_dict(read_json(path, "preprocessing"), repr(os.fspath(path)))

    @classmethod
    def from_dict(cls, data: object, name: str = "") -> Preprocessing:
        """From the JSON form.

        Raises:
            ConfigError: it is none.
        """
        what = f"preprocessing {name}".rstrip()
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            raise ConfigError(f"{what}: expected an object of schema {SCHEMA}.")
        known = ("image", "audio", "features", "table", "scale", "shift")
        check_fields(what, {k: v for k, v in data.items() if k not in _NOTES}, list(known))
        features = data.get("features", {})
        if not isinstance(features, dict):
            raise ConfigError(f"{what}: got features {features!r}; expected an object.")
        return cls(
            _part(ImageSteps, data.get("image"), f"image of {what}"),
            _part(AudioSteps, data.get("audio"), f"audio of {what}"),
            {k: _part(Feature, v, f"feature {k!r} of {what}") for k, v in features.items()},
            _part(TableColumns, data.get("table"), f"table of {what}"),
            _scaling(data, what),
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON form; entries that say nothing are left out."""
        data: dict[str, Any] = {"schema": SCHEMA}
        for name in ("image", "audio", "table"):
            if getattr(self, name) is not None:
                data[name] = _plain(getattr(self, name))
        if self.features:
            data["features"] = {name: _plain(item) for name, item in self.features.items()}
        if self.scaling is not None:
            data.update(self.scaling.to_dict())
        return data


def preprocessing_of(model: KerasModel) -> Preprocessing | None:
    """How the data of a Keras model are read; None where nothing is known.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> model = keras.Sequential([layers.Dense(2, input_shape=(3,))])
        >>> steps = Preprocessing.from_dict({"schema": 1, "table": {"target": "price"}})
        >>> preprocessing_of(keep_preprocessing(model, steps)) == steps
        True
    """
    return preprocessing_in(notes_of(model))


def keep_preprocessing(model: KerasModel, steps: Preprocessing | None) -> Any:
    """Note on a Keras model how its data are read; None changes nothing. The same model."""
    return model if steps is None else keep_notes(model, {_KEY: steps.to_dict()})


def preprocessing_in(notes: Mapping[str, Any]) -> Preprocessing | None:
    """What notes say of reading data.

    Raises:
        ConfigError: they cannot be read.
    """
    found = notes.get(_KEY)
    return None if found is None else Preprocessing.from_dict(found, "of the model")


def _part(kind: Any, data: object, what: str) -> Any:
    if data is None:
        return None
    if not isinstance(data, dict):
        raise ConfigError(f"{what}: got {data!r}; expected an object.")
    check_fields(what, data, [field.name for field in dataclasses.fields(kind)])
    try:
        return kind(**data)
    except TypeError as error:
        raise ConfigError(f"{what}: {error}.") from None


def _scaling(data: Mapping[str, Any], what: str) -> InputScaling | None:
    if "scale" not in data and "shift" not in data:
        return None
    pair = [data.get("scale", 1.0), data.get("shift", 0.0)]
    lists = [value if isinstance(value, list) else [value] for value in pair]
    longest = max(map(len, lists))
    lists = [value * longest if len(value) == 1 else value for value in lists]
    try:
        return InputScaling.from_dict(dict(zip(("scale", "shift"), lists, strict=True)))
    except ConfigError as error:
        raise ConfigError(f"{what}: {error}") from None


def _plain(item: Any) -> dict[str, Any]:
    fields = dataclasses.asdict(item).items()
    return {key: list(value) if isinstance(value, tuple) else value for key, value in fields}


def _are_sizes(*values: object) -> bool:
    return all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in values)


def _wrong(what: str, got: object, expected: str) -> ConfigError:
    return ConfigError(f"preprocessing, {what}: got {got!r}; expected {expected}.")
