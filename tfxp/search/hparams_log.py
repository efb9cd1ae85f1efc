"""A search in TensorBoard's HPARAMS dashboard: a run per trial, its bits and its figures."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorboard.plugins.hparams import api_pb2, summary, summary_v2

from tfxp.assign import WordSpace
from tfxp.files import check_writable
from tfxp.search.search_goal import SearchGoal
from tfxp.search.trial_record import SearchTrial

SCORE, BOUND = "score", "score at most"


class HparamsLog:
    """Writes trials of a search as TensorBoard's hparams plugin reads them.

    Bits of every unit are hyperparameters ("conv/weights"), the score, the cost and the seconds are
    metrics. A trial that was cut short has no score, which nobody knows, but a bound of it, and
    counts as failed. `tensorboard --logdir=<folder>` shows them; a trial that is there already is
    not written again, so that a search which goes on completes its folder.

    Args:
        folder: where a folder per trial is made.
        space: what configurations mean.
        goal: which cost is shown.

    Raises:
        OutputError: the folder takes no files.

    Example:
        >>> log = HparamsLog("runs", search.space, search.goal)   # doctest: +SKIP
        >>> log.write(result.best)                                 # doctest: +SKIP
    """

    def __init__(self, folder: str | os.PathLike[str], space: WordSpace, goal: SearchGoal) -> None:
        self._folder, self._cost = Path(folder), goal.cost
        check_writable(self._folder / "events")
        if not (self._folder / "experiment").is_dir():
            bits = [
                summary_v2.HParam("/".join(key), summary_v2.Discrete(list(space.words(key[1]))))
                for key in space.parameters()
            ]
            metrics = [summary_v2.Metric(tag) for tag in (SCORE, BOUND, goal.cost, "seconds")]
            self._write("experiment", [summary_v2.hparams_config_pb(bits, metrics)])

    def write(self, trial: SearchTrial) -> None:
        """Add a finished trial."""
        if (self._folder / trial.number).is_dir():
            return
        ended = time.time()
        bits = {"/".join(key): value for key, value in trial.configuration.to_dict().items()}
        status = "STATUS_SUCCESS" if trial.complete else "STATUS_FAILURE"
        figures = tf.compat.v1.Summary()
        for tag, value in (
            (SCORE if trial.complete else BOUND, trial.accuracy),
            (self._cost, trial.costs[self._cost]),
            ("seconds", trial.seconds),
        ):
            figures.value.add(tag=tag, simple_value=float(value))
        start = summary_v2.hparams_pb(bits, trial.number, ended - trial.seconds)
        end = summary.session_end_pb(api_pb2.Status.Value(status), ended)
        self._write(trial.number, [start, figures, end])

    def _write(self, run: str, summaries: list[Any]) -> None:
        writer = tf.summary.create_file_writer(str(self._folder / run))
        with writer.as_default(step=0):
            for part in summaries:
                tf.summary.experimental.write_raw_pb(part.SerializeToString(), step=0)
        writer.close()
