"""What a --data-like flag names, as a model takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfxp.cli import ToolFlags
from tfxp.data import Preprocessing, Source, input_shapes
from tfxp.data.input_scaling import keep_scalings, scalings_in_notes
from tfxp.data.model_notes import notes_of
from tfxp.data.preprocessing import keep_preprocessing, preprocessing_in
from tfxp.keras_types import KerasModel
from tfxp.streams import open_data


def read_data(
    flags: ToolFlags,
    path: str | None,
    model: KerasModel,
    *,
    split: str | None = None,
    limit: int | None = None,
    default_split: str = "test",
    labels: bool = False,
    keep: bool = False,
) -> Source | None:
    """Samples for a Keras model, scaled as the flags, the preprocessing or the model say.

    Args:
        flags: of the tool, with --preprocessing, --input_scale and --input_shift.
        path: what the flag names; None gives None.
        model: the model.
        split, limit, default_split, labels: as in `open_data`.
        keep: whether the model notes how its data were read and scaled.

    Raises:
        DataError, ConfigError: what `open_data` raises.
    """
    if path is None:
        return None
    notes = notes_of(model)
    steps = preprocessing_for(flags, notes)
    source = open_data(
        path, input_shapes(model), split=split, limit=limit, default_split=default_split,
        labels=labels, preprocessing=steps,
    )  # fmt: skip
    known = scalings_for(steps, notes, model.input_names)
    scaled, used = flags.scaled(source, model.input_names, known)
    if keep:
        keep_scalings(keep_preprocessing(model, steps), used)
    return scaled


def preprocessing_for(flags: ToolFlags, notes: Mapping[str, Any]) -> Preprocessing | None:
    """What --preprocessing says, else the notes that the model carries."""
    path = flags.values["preprocessing"].value
    return Preprocessing.load(path) if path else preprocessing_in(notes)


def scalings_for(
    steps: Preprocessing | None, notes: Mapping[str, Any], names: Sequence[str]
) -> dict[str, Any]:
    """The scaling that the preprocessing states for all inputs, else what the model notes."""
    if steps is not None and steps.scaling is not None:
        return dict.fromkeys(names, steps.scaling)
    return scalings_in_notes(notes)
