"""One door for all samples: paths, tf.data sets and arrays become a source."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tfxp.data.data_kind import DataKind, data_kind
from tfxp.data.model_data import ModelData, load_model_data
from tfxp.data.preprocessing import Preprocessing
from tfxp.data.source import Shapes, Source
from tfxp.errors import DataError
from tfxp.keras_types import Samples

if TYPE_CHECKING:
    from tfxp.streams.stream import Stream


def open_data(
    data: str | os.PathLike[str] | Source | Samples | tuple[Samples, Samples],
    shapes: Shapes | None = None,
    *,
    split: str | None = None,
    limit: int | None = None,
    default_split: str = "test",
    labels: bool = False,
    preprocessing: Preprocessing | str | None = None,
    steps: int | None = None,
) -> Source:
    """Samples of any kind as a source, which every entry point of tfxp takes.

    An `.npz` file and arrays are held in memory. Everything else streams: a folder of pictures or
    WAV files by class, TFRecord files ("train-*.tfrecord"), a data set of tensorflow-datasets
    ("tfds:mnist/3.0.1"), a `.npy` file, a `.csv` table, a `tf.data.Dataset`.

    Args:
        data: a path or name, a `tf.data.Dataset`, a source, arrays, or a pair of arrays (x, y).
        shapes: input name -> one sample's shape, in the model's order; `input_shapes(model)`.
        split: "train" or "test", of what has both: an `.npz` file with x_train and x_test, a folder
            with folders of these names, a set of tensorflow-datasets.
        limit: at most this many samples, the first ones.
        default_split: what a split of None means.
        labels: whether answers must be there.
        preprocessing: how files become inputs, or the path of a JSON file that says so.
        steps: elements to take of a `tf.data.Dataset` without an end.

    Raises:
        DataError: nothing that can be read, or not of the model's shapes.
        ConfigError: preprocessing that makes no sense.

    Example:
        >>> source = tfxp.open_data((np.zeros((5, 4)), np.arange(5)), {"x": (4,)})
        >>> [len(batch) for batch in source.batches(2)]
        [2, 2, 1]
    """
    steps_ = preprocessing
    if isinstance(steps_, str):
        steps_ = Preprocessing.load(steps_)
    source = _opened(data, shapes, split, limit, default_split, labels, steps_, steps)
    if labels and not source.has_answers:
        raise DataError(f"labels of {source.name}: got none; expected some.")
    return source


def _opened(
    data: object,
    shapes: Shapes | None,
    split: str | None,
    limit: int | None,
    default_split: str,
    labels: bool,
    preprocessing: Preprocessing | None,
    steps: int | None,
) -> Source:
    if isinstance(data, (str, Path)):
        text = os.fspath(data)
        kind = data_kind(text)
        if kind is DataKind.NPZ:
            known = dict(shapes) if shapes else {"x": None}
            return load_model_data(text, known, split, limit, default_split, labels)
        stream = _stream(text, kind, shapes, split or default_split, preprocessing)
    elif isinstance(data, Source):
        return _fitted(data, shapes, limit)
    elif hasattr(data, "element_spec"):
        from tfxp.streams.tf_dataset import tf_dataset

        stream = tf_dataset(data, shapes, steps)
    else:
        pair = data if isinstance(data, tuple) else (data, None)
        return _fitted(ModelData.of(pair, list(shapes or ())), shapes, limit)
    return _fitted(stream, shapes, limit)


def _fitted(source: Source, shapes: Shapes | None, limit: int | None) -> Source:
    source = source.take(limit)
    return source if shapes is None else source.shaped(shapes)


def _stream(
    path: str, kind: DataKind, shapes: Shapes | None, split: str, steps: Preprocessing | None
) -> Stream:
    """The stream of a path; each kind's reader loads TensorFlow."""
    steps = steps or Preprocessing()
    if kind is DataKind.TFDS:
        from tfxp.streams.tfds_source import tfds_source

        return tfds_source(path, split, shapes)
    if kind is DataKind.RECORDS:
        from tfxp.streams.records import records

        return records(path, steps.features, list(shapes or ()), steps.image)
    if kind is DataKind.NPY:
        from tfxp.streams.memory_map import memory_map

        return memory_map(path)
    if kind is DataKind.TABLE:
        from tfxp.streams.table import table

        return table(path, steps.table)
    from tfxp.streams import audio_folder, image_folder

    half = os.path.join(path, split)
    folder = half if os.path.isdir(half) else path
    if kind is DataKind.AUDIO:
        return audio_folder.audio_folder(folder, steps.audio)
    return image_folder.image_folder(folder, steps.image)
