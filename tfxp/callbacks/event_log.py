"""Where callbacks write: a file of JSON lines for programs, TensorBoard events for people."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.files import check_writable, plain
from tfxp.formats.tensor_stats import LOG2_LOW


class EventLog:
    """Appends records to `<folder>/<name>.jsonl` and to TensorBoard's events in `<folder>/<name>/`.

    A record goes out in one write and is flushed, so that what was recorded survives a training
    that is killed. The folder is what `tensorboard --logdir` takes; every log is a run in it.

    Args:
        folder: where to write; None writes nothing.
        name: name of the log.
        tensorboard: whether to write events beside the lines.

    Raises:
        OutputError: the folder takes no files.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> log = EventLog(folder, "loss", tensorboard=False)
        >>> log.write({"epoch": 0, "step": 10, "loss": 0.5})
        >>> (Path(folder) / "loss.jsonl").read_text()
        '{"epoch": 0, "step": 10, "loss": 0.5}\\n'
    """

    def __init__(
        self, folder: str | os.PathLike[str] | None, name: str, tensorboard: bool = True
    ) -> None:
        self._folder = None if folder is None else Path(folder)
        self._name, self._tensorboard = name, tensorboard
        self._writer: Any = None
        if self._folder is not None:
            check_writable(self.path)

    @property
    def path(self) -> Path | None:
        """The file of lines."""
        return None if self._folder is None else self._folder / f"{self._name}.jsonl"

    def write(
        self,
        record: Mapping[str, Any],
        scalars: Mapping[str, float] | None = None,
        histograms: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Append one record.

        Args:
            record: what the line holds; "step" is TensorBoard's step.
            scalars: tag -> number, for TensorBoard.
            histograms: tag -> counts of floor(log2|x|), one per octave from 2^-40 on.
        """
        if self._folder is None or self.path is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(plain(record), allow_nan=False) + "\n")
        if self._tensorboard and (scalars or histograms):
            self._write_events(int(record["step"]), scalars or {}, histograms or {})

    def _write_events(
        self, step: int, scalars: Mapping[str, float], histograms: Mapping[str, np.ndarray]
    ) -> None:
        """All values in one protocol buffer; an operation for each would take long."""
        if self._writer is None:
            assert self._folder is not None
            self._writer = tf.summary.create_file_writer(str(self._folder / self._name))
        summary = tf.compat.v1.Summary()
        for tag, value in scalars.items():
            summary.value.add(tag=tag, simple_value=float(value))
        for tag, counts in histograms.items():
            summary.value.add(tag=tag, histo=_histogram(counts))
        with self._writer.as_default(step=step):
            tf.summary.experimental.write_raw_pb(summary.SerializeToString(), step=step)
        self._writer.flush()

    def close(self) -> None:
        """Let go of TensorBoard's file; writing again opens a new one."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _histogram(counts: np.ndarray) -> Any:
    """TensorBoard's histogram of log2|x|: a bucket per octave, its edges the exponents."""
    proto = tf.compat.v1.HistogramProto()
    shown = np.flatnonzero(counts)
    if not shown.size:
        return proto
    first, last = int(shown[0]), int(shown[-1])
    octaves = np.arange(first, last + 1) + LOG2_LOW
    middle, weights = octaves + 0.5, counts[first : last + 1].astype(float)
    proto.min, proto.max, proto.num = float(octaves[0]), float(octaves[-1] + 1), weights.sum()
    proto.sum, proto.sum_squares = (weights * middle).sum(), (weights * middle**2).sum()
    proto.bucket_limit.extend([float(octaves[0]), *(octaves + 1.0)])
    proto.bucket.extend([0.0, *weights])
    return proto
