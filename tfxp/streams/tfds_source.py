"""Data sets of tensorflow-datasets by their names."""

from __future__ import annotations

import os
import re
from typing import Any

from tfxp.data.source import Shapes
from tfxp.errors import DataError, DependencyError
from tfxp.streams.stream import Stream
from tfxp.streams.tf_dataset import tf_dataset

PREFIX = "tfds:"
_VERSION = re.compile(r"/(\d+\.\d+\.\d+)$")  # its own names have a colon there


def tfds_source(name: str, split: str, shapes: Shapes | None = None) -> Stream:
    """The samples of a prepared data set, in the order of its files; nothing is downloaded.

    Args:
        name: "tfds:mnist/3.0.1"; data are looked for in TFDS_DATA_DIR or ~/tensorflow_datasets.
        split: "train" or "test", or what else the set has, such as "train[:10%]".
        shapes: input name -> one sample's shape, in the model's order.

    Raises:
        DependencyError: tensorflow-datasets is not installed.
        DataError: no such data set, not prepared, or no such split.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise DependencyError(
            f"data {name!r}: got no package tensorflow-datasets; expected it. Install it by `pip "
            'install "tfxp[tfds]"`.'
        ) from None
    folder = os.environ.get("TFDS_DATA_DIR")  # it looks at it when it is imported only
    try:
        builder = tfds.builder(_VERSION.sub(r":\1", name.removeprefix(PREFIX)), data_dir=folder)
        data: Any = builder.as_dataset(split=split, shuffle_files=False)
        count = int(builder.info.splits[split].num_examples)
    except Exception as error:  # its errors have many classes
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"data {name!r}, split {split!r}: cannot be read ({reason}). Prepare it by `tfds build "
            f"{name.removeprefix(PREFIX)}`."
        ) from None
    if builder.info.supervised_keys and len(shapes or ()) < 2:
        first, second = builder.info.supervised_keys[:2]
        data = data.map(lambda item: (item[first], item[second]))
    return tf_dataset(data, shapes, count, name, batched=False)
