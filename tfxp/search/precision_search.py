"""A whole search: model and data in, precision map, trials and Pareto front out."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tfxp.assign import EvaluationLedger, WordSpace
from tfxp.assign.pareto import tolerance_with_margin
from tfxp.cost import CostSettings, EnergyTable, cost_heading
from tfxp.data import Dataset, ModelData, Source, input_shapes
from tfxp.errors import ConfigError, DataError
from tfxp.folder_lock import hold_folder
from tfxp.keras_types import KerasModel
from tfxp.measure import measure_model
from tfxp.measure.scorer import MetricLike
from tfxp.precision import ModelStats, PrecisionMap
from tfxp.progress import Progress
from tfxp.quantization import quantize_model
from tfxp.search import oracles
from tfxp.search.distributed import role_of_process, run_chief, run_worker
from tfxp.search.hparams_log import HparamsLog
from tfxp.search.precision_tuner import PrecisionTuner
from tfxp.search.search_goal import SearchGoal, check_cost, make_pricer, score_heading
from tfxp.search.search_settings import SearchSettings
from tfxp.search.stream_evaluator import Evaluator, make_evaluator
from tfxp.search.trial_record import SearchTrial, TrialRecord
from tfxp.search.trial_training import TrialTraining
from tfxp.search.warm_start import LinWarmStart
from tfxp.streams import open_data
from tfxp.training import FineTuneSettings
from tfxp.transforms.conversion.from_keras3 import as_tf_keras

LEDGER = "trials.jsonl"
_ADVICE = ", or start a chief and workers"
_CALIBRATION = 256


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """What a search has found.

    Args:
        map: the best precision map, or None if no trial reached the goal.
        best: its trial.
        trials: every finished trial, those of earlier runs included.
        front: the trials that nothing beats in accuracy and cost.
        goal: what was looked for.
        space: what configurations mean.
        start: the configuration of the warm start, if there was one.
        seconds: time of this run.
        new_trials: trials of this run.
        interrupted: whether Ctrl-C ended it.
    """

    map: PrecisionMap | None
    best: SearchTrial | None
    trials: list[SearchTrial]
    front: list[SearchTrial]
    goal: SearchGoal
    space: WordSpace
    start: Any = None
    seconds: float = 0.0
    new_trials: int = 0
    interrupted: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON form: trials as in the ledger."""
        return {
            "schema": 1,
            "goal": self.goal.to_dict(),
            "best": None if self.best is None else self.best.number,
            "map": None if self.map is None else self.map.to_dict(),
            "front": [trial.number for trial in self.front],
            "trials": [trial.to_entry(self.space) for trial in self.trials],
            "seconds": self.seconds,
            "new_trials": self.new_trials,
            "interrupted": self.interrupted,
        }


class PrecisionSearch:
    """Finds per-layer word lengths by measured accuracy.

    The model is quantized once; a trial assigns precision and evaluates, see `FastEvaluator`.
    Finished trials are kept in `<directory>/trials.jsonl`: the same search with the same directory
    goes on where it was, however it ended.

    With KERASTUNER_TUNER_ID, KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT set, `run` is the
    chief (an id with "chief" in it) or a worker of a search on several processes or hosts.

    Args:
        model: float tf_keras model.
        data: inputs and labels to search on, a `Dataset` or (x, y), for several inputs
            `ModelData` or a list or dict of arrays as x; or a `Source` or `tf.data.Dataset`, which
            is read anew in every trial. Report accuracy on others.
        settings: how; or give its fields as keywords.
        stats: what `measure_model` returned; by default measured on `calibration`.
        calibration: inputs to measure on; by default the first 256 of `data`.
        train_data: samples for fine-tuning, likewise; needed with `fine_tune_steps`.
        metric: what counts, where it is none of the settings' names: a Keras metric, a function
            (outputs, targets) -> number, or one of these by outputs; see `StreamEvaluator`.
        direction: "max" or "min", which way a function is better.
        directory: where trials are kept; by default a temporary folder.
        energy: table of energies, for costs of energy.
        progress: draw a progress bar? None: on a terminal only.
        patience: seconds after which a chief thinks a silent worker dead.
        tensorboard: folder for TensorBoard's HPARAMS dashboard, see `HparamsLog`.
        fields: fields of the settings, instead of `settings`.

    Raises:
        ConfigError, DataError, ModelError, UnsupportedLayerError: what cannot be.
        OutputError: a folder takes no files.

    Example:
        >>> search = tfxp.PrecisionSearch(model, (x, y), tolerance=0.01)   # doctest: +SKIP
        >>> search.run().map.save("map.json")                               # doctest: +SKIP
    """

    def __init__(
        self,
        model: KerasModel,
        data: Dataset | Source | tuple[Any, Any],
        settings: SearchSettings | None = None,
        *,
        stats: ModelStats | None = None,
        calibration: Any = None,
        train_data: Dataset | Source | tuple[Any, Any] | None = None,
        metric: MetricLike | None = None,
        direction: str | None = None,
        directory: str | os.PathLike[str] | None = None,
        energy: EnergyTable | None = None,
        progress: bool | None = None,
        patience: float = 300.0,
        tensorboard: str | os.PathLike[str] | None = None,
        **fields: Any,
    ) -> None:
        self.settings = options = _settings_of(settings, fields, metric)
        self._metric, self._direction = metric, direction
        self._progress, self._patience = progress, patience
        self._tensorboard = tensorboard
        self._directory = os.fspath(directory or tempfile.mkdtemp(prefix="tfxp_search_"))
        model = as_tf_keras(model)
        data = samples_of(data, model, "search data")
        if stats is None:
            stats = _measured(model, data, calibration)
        self.space = WordSpace(
            stats, options.weights, options.activations,
            blocks=options.blocks, fixed=options.fixed,
        )  # fmt: skip
        self._price = make_pricer(
            stats, CostSettings(options.cost_batch_size), energy, options.skips_zeros
        )
        self.evaluator = self._make_evaluator(model, data, stats)
        self.goal = self._make_goal()
        self.warm_start = LinWarmStart(self.space, stats) if options.warm_start else None
        self._fingerprint = _fingerprint(
            model, data, stats, self.space, self.goal, options, self.evaluator
        )
        self._training = self._make_training(model, train_data)

    def run(self) -> SearchResult:
        """Search until the oracle stops, all trials are done, or Ctrl-C.

        Returns:
            What was found, by a worker so far as it knows.

        Raises:
            ConfigError: the directory holds another search, or one that is running.
        """
        role = role_of_process()
        with hold_folder(self._directory, "search", _ADVICE, role != "worker"):
            ledger = self._ledger(role)
            record = TrialRecord(ledger, self.space, self.goal, self._hparams_log(role))
            oracle = self._make_oracle(record)
            known, started = len(record), time.monotonic()
            title, total = f"searching ({self.settings.method})", oracle.max_trials
            if known:
                title += f", {known} trials known"
            left = None if total is None else max(total - known, 0)
            with Progress(left, title, "trial", self._progress) as bar:
                interrupted = self._run_as(role, oracle, bar)
        return SearchResult(
            record.best_map(), record.best, list(record.trials.values()), record.front(),
            self.goal, self.space, self.warm_start and self.warm_start.start,
            time.monotonic() - started, len(record) - known, interrupted,
        )  # fmt: skip

    def _best_so_far(self, record: TrialRecord) -> str:
        best, goal = record.best, record.goal
        if best is None:
            return "none good enough yet"
        ratio, score = best.costs[goal.cost] / goal.reference, score_heading(self.evaluator.metric)
        return f"best {ratio:.4f} of float's {cost_heading(goal.cost)}, {score} {best.accuracy:.4f}"

    def _run_as(self, role: str, oracle: Any, bar: Progress) -> bool:
        """Do what this process is for; returns whether Ctrl-C ended it."""

        known = len(oracle.record)

        def show(_: object = None) -> None:
            bar.step(len(oracle.record) - known - bar.done, self._best_so_far(oracle.record))

        tuner = PrecisionTuner(
            oracle, self.evaluator, self._price, self._directory, "oracle",
            self._training, self.settings.fine_tune_steps,
            on_trial=show if role != "worker" else lambda reported: bar.step(),
        )  # fmt: skip
        try:
            if role == "chief":
                run_chief(oracle, self._patience, show)
            elif role == "worker":
                run_worker(tuner, self._patience)
            else:
                tuner.search()
        except KeyboardInterrupt:
            return True
        return False

    def _hparams_log(self, role: str) -> Callable[[SearchTrial], None] | None:
        if self._tensorboard is None or role == "worker":  # the chief writes
            return None
        return HparamsLog(self._tensorboard, self.space, self.goal).write

    def _ledger(self, role: str) -> EvaluationLedger:
        if role == "worker":  # the chief keeps it
            return EvaluationLedger(None, self._fingerprint)
        about = {
            "settings": self.settings.to_dict(),
            "goal": self.goal.to_dict(),
            "space": [[*key, *self.space.words(key[1])] for key in self.space.parameters()],
            "samples": self.evaluator.total,
        }
        return EvaluationLedger(Path(self._directory) / LEDGER, self._fingerprint, about)

    def _make_evaluator(self, model: KerasModel, data: Source, stats: ModelStats) -> Evaluator:
        options = self.settings
        widest = self.space.uniform(32, 32)
        qmodel = quantize_model(model, self.space.to_map(widest), stats, fit=options.fit)
        return make_evaluator(
            qmodel, data, stats, metric=self._metric or options.metric, direction=self._direction,
            batch_size=options.batch_size, cache_bytes=options.cache_mib << 20, fit=options.fit,
        )  # fmt: skip

    def _make_goal(self) -> SearchGoal:
        options = self.settings
        float_costs = self._price(PrecisionMap.uniform("float", "float"))
        check_cost(options.cost, float_costs)
        baseline, tolerance = self.evaluator.float_score.accuracy, None
        if options.budget is None and options.tolerance is not None:
            tolerance = tolerance_with_margin(
                options.tolerance, baseline, self.evaluator.total, options.margin
            )
        return SearchGoal(
            baseline, options.cost, float_costs[options.cost] or 1.0, tolerance, options.budget,
            options.front_error,
        )  # fmt: skip

    def _make_training(
        self, model: KerasModel, data: Dataset | Source | tuple[Any, Any] | None
    ) -> TrialTraining | None:
        options = self.settings
        if not options.fine_tune_steps:
            return None
        if data is None:
            raise DataError("fine-tuning of trials: got no train_data; expected inputs and labels.")
        source = samples_of(data, model, "training data")
        settings = FineTuneSettings(
            learning_rate=options.learning_rate,
            batch_size=options.train_batch_size,
            seed=options.seed,
        )
        source = source.scaled_by(model.input_names, {})
        answers = source.y if isinstance(source, ModelData) else None
        return TrialTraining(self.evaluator.qmodel, source.x, answers, settings, model)

    def _make_oracle(self, record: TrialRecord) -> Any:
        options = self.settings
        if options.method == "hyperband":
            return oracles.HyperbandOracle(
                record, self._price, None, None, options.seed, max_epochs=options.max_epochs
            )
        small = options.max_trials is not None and self.space.size <= options.max_trials
        if small and options.method != "greedy":
            return oracles.EnumerationOracle(record, self._price, None, None, options.seed)
        kind = {
            "greedy": oracles.GreedyOracle,
            "random": oracles.RandomOracle,
            "bayesian": oracles.BayesianOracle,
            "evolution": oracles.EvolutionOracle,
        }[options.method]
        return kind(record, self._price, self.warm_start, options.max_trials, options.seed)


def _settings_of(
    settings: SearchSettings | None, fields: dict[str, Any], metric: MetricLike | None
) -> SearchSettings:
    """The settings, or those that the fields make, with a metric that is named beside them."""
    if settings is not None and fields:
        raise ConfigError("search: got settings and keywords; expected one of them.")
    settings = settings or SearchSettings(**fields)
    return dataclasses.replace(settings, metric=metric) if isinstance(metric, str) else settings


def _measured(model: KerasModel, data: Source, calibration: Any) -> ModelStats:
    """Statistics on the samples that are meant for it, or on the first that are searched on."""
    if calibration is None:
        calibration = data.take(_CALIBRATION).scaled_by(model.input_names, {}).x
    return measure_model(model, calibration)


def samples_of(data: Any, model: KerasModel, name: str) -> Source:
    """Samples in any form as a source of the model's shapes."""
    shapes = input_shapes(model)
    if not isinstance(data, Dataset | ModelData) and (
        isinstance(data, Source) or hasattr(data, "element_spec")
    ):
        return open_data(data, shapes, labels=True)
    return ModelData.of(data, model.input_names, name).shaped(shapes)


def _fingerprint(
    model: KerasModel,
    data: Source,
    stats: ModelStats,
    space: WordSpace,
    goal: SearchGoal,
    settings: SearchSettings,
    evaluator: Evaluator,
) -> str:
    """Differs between searches whose trials must not be mixed; `max_trials` may be raised."""
    digest = hashlib.sha256()
    inputs = [part.x for part in data.parts] if isinstance(data, ModelData) else []
    for array in [*model.get_weights(), *inputs]:
        digest.update(np.ascontiguousarray(array).tobytes())
    digest.update(evaluator.fingerprint())
    options = {**settings.to_dict(), "max_trials": 0, "batch_size": 0, "cache_mib": 0}
    options["metric"] = evaluator.metric
    digest.update(json.dumps(stats.to_dict()).encode())
    digest.update(repr([space.fingerprint(), goal, sorted(options.items())]).encode())
    return digest.hexdigest()
