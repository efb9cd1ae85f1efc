"""Files that lie in one folder a class."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfxp.errors import DataError
from tfxp.keras import tf

_SEED = 0


@dataclass(frozen=True)
class ClassFolders:
    """The files of all classes, shuffled once.

    Args:
        classes: names of the folders, sorted; their positions are the class numbers.
        files: paths.
        labels: the class number of each file.
    """

    classes: tuple[str, ...]
    files: tuple[str, ...]
    labels: tuple[int, ...]

    @classmethod
    def of(cls, path: str, endings: tuple[str, ...], what: str) -> ClassFolders:
        """List a folder.

        Args:
            path: the folder.
            endings: of the files that count.
            what: what they are, for messages.

        Raises:
            DataError: no class folders, or one without such files.
        """
        names = sorted(entry.name for entry in os.scandir(path) if entry.is_dir())
        names = [name for name in names if not name.startswith(".")]
        if not names:
            raise DataError(
                f"folder {path!r}: got no folders in it; expected one folder of {what} a class."
            )
        files, labels = [], []
        for number, name in enumerate(names):
            inside = sorted(_files(os.path.join(path, name), endings))
            if not inside:
                raise DataError(
                    f"folder {os.path.join(path, name)!r}: got no {what} ({', '.join(endings)}); "
                    "expected at least one. Remove the folder or fill it."
                )
            files += inside
            labels += [number] * len(inside)
        order = np.random.default_rng(_SEED).permutation(len(files))
        shuffled = tuple(files[i] for i in order), tuple(labels[i] for i in order)
        return cls(tuple(names), *shuffled)

    def keys(self) -> Any:
        """A data set of (path, class number)."""
        columns = tf.constant(self.files), tf.constant(self.labels, tf.int64)
        return tf.data.Dataset.from_tensor_slices(columns)

    @staticmethod
    def where(number: int, key: Any) -> str:
        """The file of a sample."""
        return f"file {os.fsdecode(key[0])!r}"


def _files(path: str, endings: tuple[str, ...]) -> Any:
    for folder, _, names in os.walk(path, followlinks=True):
        for name in names:
            if name.lower().endswith(endings):
                yield os.path.join(folder, name)
