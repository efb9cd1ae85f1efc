"""Folders of pictures by class, as `keras.utils.image_dataset_from_directory` reads them."""

from __future__ import annotations

import os
from typing import Any

from tfxp.data.preprocessing import ImageSteps
from tfxp.keras import tf
from tfxp.streams.class_folders import ClassFolders
from tfxp.streams.stream import Element, Stream

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif")


def image_folder(path: str, steps: ImageSteps | None = None) -> Stream:
    """Pictures below one folder a class; classes are numbered in the order of their names.

    The order of the samples is one shuffle with a fixed seed, so that the first of them are a fair
    sample of all classes.

    Args:
        path: the folder.
        steps: resizing and cropping; None takes pictures as they are, in colour.

    Raises:
        DataError: no class folders, or one without pictures.
    """
    found, how = ClassFolders.of(path, ENDINGS, "pictures"), steps or ImageSteps()

    def read(file: tf.Tensor, label: tf.Tensor) -> Element:
        return {"x": (decode_image(tf.io.read_file(file), how),), "y": label}

    return Stream(
        f"folder {os.fspath(path)!r}", found.keys, read, len(found.files), found.where, light=True
    )


def decode_image(content: tf.Tensor, steps: ImageSteps) -> Any:
    """The bytes of a picture's file as float32 (height, width, channels), 0 to 255."""
    image = tf.io.decode_image(content, steps.channels, expand_animations=False)
    image.set_shape((None, None, steps.channels))
    image = tf.cast(image, tf.float32)
    if steps.resize is not None:
        image = tf.image.resize(
            image, _size(image, steps.resize), steps.method, antialias=steps.antialias
        )
    if steps.crop is not None:
        image = tf.image.resize_with_crop_or_pad(image, *steps.crop)
    shape = steps.crop or (steps.resize if isinstance(steps.resize, tuple) else (None, None))
    image.set_shape((*shape, steps.channels))
    return image


def _size(image: tf.Tensor, wanted: int | tuple[int, int]) -> Any:
    """(height, width) to resize to; a single number is the shorter side's."""
    if isinstance(wanted, tuple):
        return wanted
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    ratio = wanted / tf.reduce_min(size)
    return tf.maximum(tf.cast(tf.round(size * ratio), tf.int32), wanted)
