"""The kind of data that a path or name stands for, told without reading the samples."""

from __future__ import annotations

import enum
import glob
import os

from tfxp.data.npz import check_npz
from tfxp.errors import DataError
from tfxp.file_kind import file_kind

_KINDS = (
    "an .npz file, an .npy file, a .csv table, TFRecord files (.tfrecord), a folder with a folder "
    "of pictures or WAV files a class, or a name such as tfds:mnist/3.0.1"
)


class DataKind(enum.Enum):
    """What can be read."""

    NPZ = "arrays in an .npz file"
    NPY = "one array in an .npy file"
    TABLE = "a .csv table"
    RECORDS = "TFRecord files"
    IMAGES = "pictures in class folders"
    AUDIO = "WAV files in class folders"
    TFDS = "a set of tensorflow-datasets"


def data_kind(path: str) -> DataKind:
    """The kind of some data, by ending and content.

    Args:
        path: a file, a folder, or a name such as `tfds:mnist/3.0.1`.

    Raises:
        DataError: nothing is there, or nothing that can be read.

    Example:
        >>> data_kind("tfds:mnist/3.0.1").value
        'a set of tensorflow-datasets'
    """
    path = os.fspath(path)
    if path.startswith("tfds:"):
        return DataKind.TFDS
    if os.path.isdir(path):
        return _folder_kind(path)
    if glob.has_magic(path) and not os.path.exists(path):
        if not glob.glob(path):
            raise DataError(f"data {path!r}: got no such files; expected {_KINDS}.")
        return DataKind.RECORDS
    for ending, kind in ((".npy", DataKind.NPY), (".csv", DataKind.TABLE)):
        if path.endswith(ending) and os.path.isfile(path):
            _check_content(path, kind)
            return kind
    if ".tfrecord" in os.path.basename(path) and os.path.isfile(path):
        return DataKind.RECORDS
    if not os.path.isfile(path):
        raise DataError(f"data file {path!r}: got no such file; expected {_KINDS}.")
    check_npz(path)
    return DataKind.NPZ


def _check_content(path: str, kind: DataKind) -> None:
    found = file_kind(path)
    wanted = {DataKind.NPY: "a .npy file, one array", DataKind.TABLE: "a text file, such as CSV"}
    if found not in (wanted[kind], None if kind is DataKind.TABLE else wanted[kind]):
        raise DataError(
            f"data file {path!r}: got {found or 'something else'}; expected {kind.value}."
        )


def _folder_kind(path: str) -> DataKind:
    """By the first file that can be read below the folder."""
    endings = {".wav": DataKind.AUDIO}
    endings |= dict.fromkeys((".jpg", ".jpeg", ".png", ".bmp", ".gif"), DataKind.IMAGES)
    for _, folders, names in os.walk(path, followlinks=True):
        folders.sort()
        for name in sorted(names):
            kind = endings.get(os.path.splitext(name)[1].lower())
            if kind is not None:
                return kind
    raise DataError(f"folder {path!r}: got no pictures or WAV files in it; expected {_KINDS}.")
