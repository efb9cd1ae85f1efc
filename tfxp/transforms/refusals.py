"""Whatever goes wrong with one layer is said with the layer's name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from tfxp.errors import DataError, ModelError, TfxpError
from tfxp.transforms.bytecode import without_bytecode

_LONGEST = 240
# Keras' layers for data that are no numbers yet, and what to do with them.
BEFORE_MODELS = (
    "TextVectorization", "StringLookup", "IntegerLookup", "Hashing", "HashedCrossing",
    "CategoryEncoding", "Discretization",
)  # fmt: skip
TO_THE_DATA = "makes numbers of text or categories; apply it to the data, before the model"
NOT_READ = "is called in a way that tfxp cannot read"


@contextlib.contextmanager
def naming(layer: str, kind: str, doing: str) -> Iterator[None]:
    """Turn any exception of the block into an error that names a layer.

    Args:
        layer: its name.
        kind: its class.
        doing: what cannot be done with it, as in "cannot be converted".

    Raises:
        ModelError: the block raised something that has no sentence for the user.

    Example:
        >>> from tfxp.transforms.refusals import naming
        >>> with naming("odd", "Dense", "cannot be converted"):
        ...     raise KeyError("units")
        Traceback (most recent call last):
        tfxp.errors.ModelError: layer 'odd' (Dense): cannot be converted (KeyError: 'units'). \
Replace the layer, or cut the model before it.
    """
    try:
        yield
    except TfxpError:
        raise
    except Exception as error:  # Keras and TensorFlow raise nearly every type there is
        text = " ".join(without_bytecode(str(error)).split())
        short = f"{text[:_LONGEST]}…" if len(text) > _LONGEST else text
        raise ModelError(
            f"layer {layer!r} ({kind}): {doing} ({type(error).__name__}: {short.rstrip('.')}). "
            "Replace the layer, or cut the model before it."
        ) from error


@contextlib.contextmanager
def running_on(data: str) -> Iterator[None]:
    """Turn TensorFlow's refusal of values into an error that names the data.

    Args:
        data: what the network is run on, as in "calibration data".

    Raises:
        DataError: an operation does not take the values, such as an embedding's unknown index.
    """
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        words = str(error.message).split("[[", 1)[0].split("File", 1)[0]
        lines = [line for line in str(error.message).splitlines() if "is not in" in line]
        text = " ".join((lines[0] if lines else words).split())[:_LONGEST]
        raise DataError(
            f"{data}: got values that the network does not take ({text}). Check their range, "
            "and the sizes of embeddings."
        ) from error
