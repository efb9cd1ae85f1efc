"""TFRecord files, read by a description of their features."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from typing import Any

from tfxp.data.preprocessing import Feature, ImageSteps
from tfxp.errors import DataError
from tfxp.keras import tf
from tfxp.streams.image_folder import decode_image
from tfxp.streams.stream import Element, Stream


def records(
    pattern: str,
    features: Mapping[str, Feature],
    names: Sequence[str] = (),
    image: ImageSteps | None = None,
) -> Stream:
    """The samples of TFRecord files, in the order of the files' names.

    Args:
        pattern: a file, or several by a pattern such as "train-*.tfrecord".
        features: name -> how it is stored and what it is.
        names: the model's inputs in order, where it has several; features go by these names.
        image: resizing and cropping of encoded pictures.

    Raises:
        DataError: no such files, or features that are not the model's inputs.
    """
    files = sorted(glob.glob(pattern))
    if not files:
        raise DataError(f"TFRecord files {pattern!r}: got none; expected at least one.")
    inputs = _inputs(features, names, pattern)
    answers = [name for name, feature in features.items() if feature.role == "y"]
    weights = [name for name, feature in features.items() if feature.role == "weights"]
    if len(answers) > 1 or len(weights) > 1:
        raise DataError(f"features of {pattern!r}: got {len(answers)} answers and {len(weights)} "
                        "weights; expected at most one each.")  # fmt: skip
    roles = {"y": answers, "weights": weights}
    spec = {name: _spec(feature) for name, feature in features.items()}

    def read(_file: tf.Tensor, _number: tf.Tensor, record: tf.Tensor) -> Element:
        found = tf.io.parse_single_example(record, spec)
        values = {name: _decoded(found[name], features[name], image) for name in spec}
        single = {role: values[name[0]] for role, name in roles.items() if name}
        return {"x": tuple(values[name] for name in inputs), **single}

    def keys() -> Any:
        def numbered(file: tf.Tensor) -> Any:
            rows = tf.data.TFRecordDataset(file).enumerate()
            return rows.map(lambda number, record: (file, number, record))

        return tf.data.Dataset.from_tensor_slices(tf.constant(files)).flat_map(numbered)

    def where(_: int, key: Any) -> str:
        return f"record {int(key[1])} of file {os.fsdecode(key[0])!r}"

    return Stream(f"TFRecord files {pattern!r}", keys, read, None, where, has_answers=bool(answers))


def _inputs(features: Mapping[str, Feature], names: Sequence[str], pattern: str) -> list[str]:
    found = [name for name, feature in features.items() if feature.role == "x"]
    if not found:
        raise DataError(
            f"features of {pattern!r}: got {', '.join(features) or 'none'} and no input among "
            'them; expected one. Describe them under "features" in --preprocessing.'
        )
    if len(names) < 2 and len(found) == 1:
        return found
    if set(found) != set(names):
        raise DataError(
            f"features of {pattern!r}: got inputs {', '.join(found)}; expected {', '.join(names)}."
        )
    return list(names)


def _spec(feature: Feature) -> Any:
    if feature.encoding == "none":
        return tf.io.FixedLenFeature(feature.shape, tf.as_dtype(feature.type))
    return tf.io.FixedLenFeature((), tf.string)


def _decoded(value: object, feature: Feature, image: ImageSteps | None) -> Any:
    if feature.encoding == "raw":
        return tf.reshape(tf.io.decode_raw(value, tf.as_dtype(feature.type)), feature.shape)
    if feature.encoding == "image":
        return decode_image(value, image or ImageSteps())
    return value
