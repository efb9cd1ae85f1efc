"""What all oracles of a search share: warm start, record, state on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tfxp.assign import Configuration
from tfxp.files import atomic_path
from tfxp.search import kerastuner
from tfxp.search.kerastuner import Trial
from tfxp.search.search_goal import Costs
from tfxp.search.trial_record import SearchTrial, TrialRecord
from tfxp.search.warm_start import LinWarmStart

AT_LEAST = "search/at_least"
RUNNING, IDLE, STOPPED = "RUNNING", "IDLE", "STOPPED"
COMPLETED, FAILED = "COMPLETED", "FAILED"
LOSS = "loss"
# What a worker reports beside the loss, as numbers.
REPORTED = ("accuracy", "complete", "correct", "seen", "total", "steps", "seconds")


class SearchOracle(kerastuner.Oracle):
    """What all oracles of a search share; stands before keras-tuner's own among the bases.

    Finished trials live in the record, which is on disk before keras-tuner hears of them; its own
    files per trial are not written. `oracle.json` holds what is under way and the oracle's own
    state, written whole or not at all. So a search that was killed at any moment goes on with every
    finished trial, and repeats what was under way.

    Args:
        record: finished trials; its space names the hyper-parameters "<unit>/<family>".
        price: costs of a precision map.
        warm_start: where to begin, or None to leave that to the oracle.
        max_trials: how many trials at most; None where the oracle knows when to stop.
        seed: seed of every draw.
    """

    def __init__(
        self,
        record: TrialRecord,
        price: Callable[[Any], Costs],
        warm_start: LinWarmStart | None = None,
        max_trials: int | None = None,
        seed: int = 0,
        **options: object,
    ) -> None:
        self.record, self._price, self.warm_start = record, price, warm_start
        self._known_costs: dict[Configuration, float] = {}
        space = kerastuner.HyperParameters()
        for unit, family in record.space.parameters():
            words = list(record.space.words(family))
            space.Choice(f"{unit}/{family}", words, default=words[-1], ordered=True)
        if max_trials is not None:
            options["max_trials"] = max_trials
        super().__init__(
            objective=kerastuner.Objective(LOSS, "min"),
            hyperparameters=space,
            allow_new_entries=False,
            tune_new_entries=False,
            seed=seed + 1,  # keras-tuner takes 0 for none
            **options,
        )
        self.max_trials = max_trials
        self.verbose = 0

    @kerastuner.synchronized
    def create_trial(self, tuner_id: str) -> Any:
        """The next trial; nobody is sent home while a trial may still come back from a process
        that is gone.
        """
        trial = super().create_trial(tuner_id)
        if trial.status == STOPPED and self.ongoing_trials:
            trial.status = IDLE
            self.tuner_ids.add(tuner_id)
        return trial

    # Which trial comes next -------------------------------------------------------------------

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """keras-tuner's question: the values of the next trial, or that there is none (yet)."""
        wanted = self._warm_up()
        if wanted is not None:
            busy = wanted.key() in self._under_way()
            return {"status": IDLE} if busy else self._answer(wanted)
        response = self.propose(trial_id)
        if response["status"] != RUNNING:
            return response
        return self._answer(self.configuration_of(response["values"]), response["values"])

    def propose(self, trial_id: str) -> dict[str, Any]:
        """The next trial after the warm start."""
        return super().populate_space(trial_id)

    def _warm_up(self) -> Configuration | None:
        """What the warm start wants to know; in the end, how good the start itself is."""
        warm, goal = self.warm_start, self.record.goal
        if warm is None:
            return None
        if warm.start is None and goal.budget is not None:  # costs are known without a trial
            warm.start = warm.dearest(self.cost_of, goal.budget)
        wanted = warm.start or warm.ask(self._accepted) or warm.start
        return wanted if wanted is not None and self.record.find(wanted) is None else None

    def _accepted(self, config: Configuration) -> bool | None:
        trial = self.record.find(config)
        return None if trial is None else trial.complete and trial.accepted

    def _answer(
        self, config: Configuration, values: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        result = dict(values or self.values_of(config))
        result[AT_LEAST] = self.at_least(config)
        return {"status": RUNNING, "values": result}

    def at_least(self, config: Configuration) -> float:
        """The accuracy below which a configuration can change nothing."""
        return self.record.at_least(self.cost_of(config))

    def _under_way(self) -> set[str]:
        """Keys of configurations that are being tried or wait for another try."""
        waiting = [self.trials[number] for number in self._retry_queue]
        running = [*self.ongoing_trials.values(), *waiting]
        return {self.configuration_of(t.hyperparameters.values).key() for t in running}

    def untried(self, config: Configuration) -> bool:
        """Whether nobody has tried a configuration or is trying it."""
        return self.record.find(config) is None and config.key() not in self._under_way()

    # Between keras-tuner's values and ours ----------------------------------------------------

    def configuration_of(self, values: dict[str, Any]) -> Configuration:
        """The configuration that hyper-parameter values stand for."""
        keys = self.record.space.parameters()
        return Configuration.of({(u, f): int(values[f"{u}/{f}"]) for u, f in keys})

    @staticmethod
    def values_of(config: Configuration) -> dict[str, Any]:
        """Hyper-parameter values of a configuration."""
        return {f"{unit}/{family}": bits for unit, family, bits in config.values}

    def cost_of(self, config: Configuration) -> float:
        """The cost that the goal is about; remembered, since children are priced by the hundred."""
        if config not in self._known_costs:
            costs = self._price(self.record.space.to_map(config))
            self._known_costs[config] = costs[self.record.goal.cost]
        return self._known_costs[config]

    def _compute_values_hash(self, values: dict[str, Any]) -> str:
        own = {name: value for name, value in values.items() if name != AT_LEAST}
        return super()._compute_values_hash(own)

    # What has been found ----------------------------------------------------------------------

    @kerastuner.synchronized
    def end_trial(self, trial: Trial) -> None:
        """Put a finished trial on disk before keras-tuner counts it; late doubles are dropped."""
        number = trial.trial_id
        if number not in self.trials or number in self.record.trials:
            self._forget(number)
            return
        metrics = self.trials[number].metrics
        reported = {name: metrics.get_history(name)[-1].value[0] for name in REPORTED}
        values = trial.hyperparameters.values
        self.record.add(self._finished(number, values, reported, self._tuner_of(number)))
        if number in self._retry_queue:  # given up, and back before anybody else took it
            self._retry_queue.remove(number)
        super().end_trial(trial)

    def _finished(
        self, number: str, values: dict[str, Any], reported: dict[str, float], tuner: str
    ) -> SearchTrial:
        config = self.configuration_of(values)
        costs = self._price(self.record.space.to_map(config))
        goal, accuracy = self.record.goal, float(reported["accuracy"])
        cost = costs[goal.cost]
        whole = {name: int(reported[name]) for name in ("correct", "seen", "total", "steps")}
        return SearchTrial(
            number, config, accuracy, bool(reported["complete"]), costs,
            goal.loss(accuracy, cost), goal.accepts(accuracy, cost),
            seconds=float(reported["seconds"]), tuner=tuner, **whole,
        )  # fmt: skip

    def _tuner_of(self, number: str) -> str:
        owners = [t for t, trial in self.ongoing_trials.items() if trial.trial_id == number]
        return owners[0] if owners else ""

    def _forget(self, number: str) -> None:
        for tuner in [t for t, run in self.ongoing_trials.items() if run.trial_id == number]:
            del self.ongoing_trials[tuner]

    @kerastuner.synchronized
    def give_up(self, tuner_id: str) -> str | None:
        """Take the trial of a process that is gone away from it, for another one to run."""
        self.tuner_ids.discard(tuner_id)
        trial = self.ongoing_trials.pop(tuner_id, None)
        if trial is None:
            return None
        self._retry_queue.append(trial.trial_id)
        self.save()
        return trial.trial_id

    # State on disk ----------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """keras-tuner's state, and the values of what is under way."""
        state = super().get_state()
        numbers = [*self._retry_queue, *(t.trial_id for t in self.ongoing_trials.values())]
        running = {n: self.trials[n].hyperparameters.values for n in numbers}
        return {**state, "running": running}

    def _save_trial(self, trial: Trial) -> None:
        """Nothing: finished trials are in the ledger, others in `oracle.json`."""

    def save(self) -> None:
        """Write `oracle.json`, whole or not at all."""
        with atomic_path(self._get_oracle_fname()) as temporary:
            temporary.write_text(json.dumps(self.get_state()), encoding="utf-8")

    def reload(self) -> None:
        """Take finished trials from the record, and the rest from `oracle.json` if it is there."""
        try:
            with open(self._get_oracle_fname(), encoding="utf-8") as file:
                state = json.load(file)
        except (OSError, ValueError):
            state = None
        for trial in self.record.trials.values():
            self.trials[trial.number] = self._restored(trial)
        if state is None:
            self.start_order = self.end_order = list(self.trials)
        else:
            self._take_state(state)
        for number, trial in self.trials.items():
            if number in self.record.trials:
                self._record_values(trial)
        self._fill_gaps()

    def _fill_gaps(self) -> None:
        """keras-tuner numbers trials by their count, so a number that was lost stays taken."""
        digits = max((len(number) for number in self.trials), default=0)
        for index in range(max((int(number) for number in self.trials), default=-1)):
            number = f"{index:0{digits}d}"
            if not any(int(known) == index for known in self.trials):
                self.trials[number] = self._trial(number, {}, FAILED)

    def _take_state(self, state: dict[str, Any]) -> None:
        running = state.pop("running")
        for number, values in running.items():
            if number not in self.trials:
                self.trials[number] = self._trial(number, values, RUNNING)
        self.set_state(state)
        # What was under way is tried again; what finished just before the kill is not.
        queue = [*state["retry_queue"], *state["ongoing_trials"].values()]
        queue = [n for n in dict.fromkeys(queue) if n not in self.record.trials]
        self._retry_queue: list[str] = queue
        self.ongoing_trials: dict[str, Any] = {}
        self.end_order = list(self.record.trials)

    def _restored(self, trial: SearchTrial) -> Any:
        result = self._trial(trial.number, self.values_of(trial.configuration), COMPLETED)
        result.metrics.register(LOSS, "min")
        result.metrics.update(LOSS, trial.loss)
        result.score = trial.loss
        return result

    def _trial(self, number: str, values: dict[str, Any], status: str) -> Any:
        hyperparameters = self.hyperparameters.copy()
        hyperparameters.values = dict(values)
        return kerastuner.Trial(hyperparameters, number, status)
