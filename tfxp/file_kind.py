"""The kind of a file by its content, for messages about files of another kind."""

from __future__ import annotations

import io
import os
import zipfile

_MAGIC = (
    (b"\x93NUMPY", "a .npy file, one array"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, such as a Keras model"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"PAR1", "a Parquet table"),
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"MATLAB 5.0", "a MATLAB file"),
)
_KERAS, _NPZ = "a Keras model", "an .npz archive"


def file_kind(content: str | os.PathLike[str] | bytes) -> str | None:
    """What a file is, with its article; None where its content does not tell.

    Args:
        content: a path, or the bytes of a file.

    Example:
        >>> file_kind(b"x1,x2,y\\n1.5,2,0\\n")
        'a text file, such as CSV'
        >>> file_kind(b"")
        'an empty file'
        >>> file_kind(b"\\x1c\\0\\0\\0TFL3\\x14\\0")
        'a .tflite model'
    """
    if not isinstance(content, bytes):
        if os.path.isdir(content):
            saved = os.path.isfile(os.path.join(content, "saved_model.pb"))
            return "a SavedModel, a Keras model" if saved else "a folder"
        with open(content, "rb") as file:
            head = file.read(512)
        archive: io.BytesIO | str | os.PathLike[str] = content
    else:
        head, archive = content[:512], io.BytesIO(content)
    if not head:
        return "an empty file"
    if head[4:8] == b"TFL3":
        return "a .tflite model"
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head.startswith(b"PK"):
        return _kind_of_archive(archive)
    return _kind_of_text(head)


def is_keras(kind: str | None) -> bool:
    """Whether a kind is one that Keras writes."""
    return kind is not None and kind.endswith("Keras model")


def _kind_of_archive(archive: io.BytesIO | str | os.PathLike[str]) -> str | None:
    try:
        with zipfile.ZipFile(archive) as opened:
            names = opened.namelist()
    except Exception:  # damage surfaces as anything
        return None
    if "metadata.json" in names and "config.json" in names:
        return _KERAS
    return _NPZ if names and all(name.endswith(".npy") for name in names) else "a zip archive"


def _kind_of_text(head: bytes) -> str | None:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # not only a character that was cut
            return None
        text = head[: error.start].decode("utf-8")
    if any(ord(letter) < 32 and letter not in "\t\r\n\f" for letter in text):
        return None
    if text.lstrip().startswith(("{", "[")):
        return "a JSON file"
    return "a text file, such as CSV" if "," in text or "\n" in text or "\t" in text else None
