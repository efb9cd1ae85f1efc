"""Searches find what brute force finds, keep what they saw, and respect their goal."""

import itertools
import json
import shutil

import numpy as np
import pytest

import tfxp
from tests.search.networks import classifier, labelled
from tests.search.search_process import make_search
from tests.slow_cases import slow, sometimes
from tfxp.assign import Configuration, EvaluationLedger, JuddDescent
from tfxp.cost import CostSettings, cost_report
from tfxp.errors import ConfigError, DataError
from tfxp.folder_lock import hold_folder
from tfxp.precision import PrecisionMap
from tfxp.search import FastEvaluator, PrecisionSearch, SearchGoal, SearchSettings
from tfxp.search.precision_tuner import PrecisionTuner
from tfxp.search.trial_record import SearchTrial


def full_scores(search, result):
    """Accuracies of all trials on all samples, by the same evaluator asked without a bound."""
    return {t.key: search.evaluator.evaluate(search.space.to_map(t.configuration)).accuracy
            for t in result.trials}  # fmt: skip


@pytest.mark.parametrize(
    "method", sometimes(["greedy", "evolution", "bayesian", "random"], {"greedy"})
)
def test_record_best_and_front_are_what_the_trials_say(tmp_path, method):
    search = make_search(tmp_path, method)
    result = search.run()
    assert result.new_trials == len(result.trials) > 3 and not result.interrupted
    goal, true, stopped = search.goal, full_scores(search, result), []
    assert goal.baseline == search.evaluator.float_score.accuracy
    for trial in result.trials:
        costs = cost_report(
            search.space.stats, search.space.to_map(trial.configuration), CostSettings(64)
        ).totals
        assert trial.costs == {name: float(value) for name, value in costs.items()}
        if trial.complete:
            assert trial.accuracy == true[trial.key] == trial.correct / trial.total
        else:
            stopped.append(trial)
    cost = {t.key: t.costs[goal.cost] for t in result.trials}
    for trial in stopped:  # it was right to stop: not good enough, or beaten
        assert true[trial.key] <= trial.accuracy
        beaten = any(t.complete and t.accuracy >= true[trial.key]
                     and cost[t.key] <= cost[trial.key] for t in result.trials)  # fmt: skip
        assert beaten or trial.accuracy < (1 - goal.tolerance) * goal.baseline
    assert stopped
    good = [key for key in true if (goal.baseline - true[key]) / goal.baseline <= goal.tolerance]
    assert cost[result.best.key] == min(cost[key] for key in good)
    assert result.map == search.space.to_map(result.best.configuration)
    front = [
        key for key in good
        if not any(cost[k] <= cost[key] and true[k] >= true[key]
                   and (cost[k], true[k]) != (cost[key], true[key]) for k in good)
    ]  # fmt: skip
    found = {(cost[t.key], t.accuracy) for t in result.front if t.accepted}
    assert found == {(cost[key], true[key]) for key in front}
    again = make_search(tmp_path, method).run()
    assert again.new_trials == 0 and again.best == result.best
    assert [t.key for t in again.trials] == [t.key for t in result.trials]


def test_a_margin_makes_the_tolerance_stricter(tmp_path):
    goal = make_search(tmp_path, "greedy", tolerance=0.05, margin=1.645).goal
    lost = goal.tolerance * goal.baseline
    samples = make_search(tmp_path, "greedy").evaluator.total
    assert lost + 1.645 * (lost / samples) ** 0.5 == pytest.approx(0.05 * goal.baseline)
    with pytest.raises(ConfigError, match="margin: got -1"):
        make_search(tmp_path, "greedy", margin=-1)


def test_greedy_goes_where_it_would_go_with_every_image_seen(tmp_path):
    search = make_search(tmp_path, "greedy", front_error=0.0)
    result = search.run()
    assert not all(trial.complete for trial in result.trials)
    name, goal = search.goal.cost, search.goal
    descent = JuddDescent(
        search.space, result.start, goal.baseline, goal.tolerance,
        cost=lambda pmap: (search._price(pmap)[name], 1.0),
    ).run(lambda pmap: search.evaluator.accuracy(pmap))  # fmt: skip
    chosen = descent.select([goal.tolerance])[goal.tolerance]
    assert chosen.configuration == result.best.configuration
    assert {e.configuration for e in descent.path} <= {
        trial.configuration for trial in result.trials if trial.complete
    }
    assert set(descent.visited) <= {trial.configuration.key() for trial in result.trials}


def test_ledger_is_what_the_docs_say(tmp_path):
    search = make_search(tmp_path, "random")
    result = search.run()
    ledger = EvaluationLedger.read(tmp_path / "trials.jsonl")
    assert ledger.about["goal"] == search.goal.to_dict()
    assert ledger.about["samples"] == search.evaluator.total
    assert [SearchTrial.from_entry(entry) for entry in ledger.entries] == result.trials
    documented = {"key", "score", "complete", "trial", "map", "costs", "loss", "accepted",
                  "correct", "seen", "total", "steps", "seconds", "tuner"}  # fmt: skip
    for entry in ledger.entries:
        assert set(entry) == documented
        assert PrecisionMap.from_dict(entry["map"])
    json.dumps(result.to_dict())


def test_small_space_is_enumerated(tmp_path):
    search = make_search(tmp_path, "bayesian", weights=(4, 8), activations=(8,))
    result = search.run()
    keys = search.space.parameters()
    every = {
        Configuration.of(dict(zip(keys, bits, strict=True)))
        for bits in itertools.product((4, 8), repeat=len(keys))
    }
    assert len(every) == search.space.size == 8
    assert {trial.configuration for trial in result.trials} == every
    costs = [trial.costs[search.goal.cost] for trial in result.trials]
    assert costs == sorted(costs)


@pytest.mark.parametrize("method", [slow("greedy"), "evolution"])
def test_budget(tmp_path, method):
    search = make_search(tmp_path, method, tolerance=None, budget=1500.0, cost="model_size_bits")
    result = search.run()
    assert result.best.costs["model_size_bits"] <= 1500
    affordable = [t for t in result.trials if t.costs["model_size_bits"] <= 1500 and t.complete]
    assert result.best.accuracy == max(t.accuracy for t in affordable)
    assert not any(t.complete for t in result.trials if t.costs["model_size_bits"] > 1500)


def test_evolution_spends_the_budget(tmp_path):
    """Words shrink until it is enough, and then none could grow: the start is far above it."""
    search = make_search(
        tmp_path, "evolution", tolerance=None, budget=3000.0, cost="model_size_bits",
        warm_start=False,
    )  # fmt: skip
    children = [trial.configuration for trial in search.run().trials]
    assert len(children) > 3
    for child in children:
        longer = [search.space.step(child, *key, 1) for key in search.space.parameters()]
        costs = [search._price(search.space.to_map(one)) for one in longer if one is not None]
        assert all(cost["model_size_bits"] > 3000 for cost in costs)


@pytest.mark.parametrize("method", [slow("evolution"), "hyperband"])
def test_fine_tuning_leaves_the_weights_as_they_were(tmp_path, method):
    model = classifier()
    data = labelled(model, 120)
    options = {"max_trials": 3} if method == "evolution" else {"max_epochs": 3}
    search = PrecisionSearch(
        model, data, method=method, fine_tune_steps=2, train_data=data, train_batch_size=30,
        warm_start=False, directory=tmp_path, weights=(3, 6), activations=(4, 8), **options,
    )  # fmt: skip
    before = [w.numpy() for w in search.evaluator.qmodel.trainable_variables]
    result = search.run()
    after = [w.numpy() for w in search.evaluator.qmodel.trainable_variables]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    steps = {trial.steps for trial in result.trials}
    assert steps == ({2} if method == "evolution" else {2, 6}) or steps == {2, 4, 6}
    # A trial again, by hand: the same map, steps and batches give the same score.
    trial = next(t for t in result.trials if t.complete)
    pmap = search.space.to_map(trial.configuration)
    search.evaluator.setter.set(pmap)
    search._training.run(trial.steps)
    outputs = search.evaluator.qmodel.predict(data[0], verbose=0)
    search._training.restore()
    assert int((outputs.argmax(1) == data[1]).sum()) == trial.correct


def test_ctrl_c_keeps_what_was_found(tmp_path, monkeypatch):
    run, count = PrecisionTuner.run_trial, itertools.count()

    def impatient(self, trial):
        if next(count) == 5:
            raise KeyboardInterrupt
        return run(self, trial)

    monkeypatch.setattr(PrecisionTuner, "run_trial", impatient)
    result = make_search(tmp_path, "evolution").run()
    assert result.interrupted and len(result.trials) == 5 and result.best is not None
    shutil.rmtree(tmp_path / "oracle")  # the ledger alone is enough
    rest = make_search(tmp_path, "evolution").run()
    numbers = [trial.number for trial in rest.trials]
    assert len(set(numbers)) == len(numbers) > 5
    assert not rest.interrupted and rest.trials[:5] == result.trials


def test_refusals(tmp_path):
    make_search(tmp_path, "random").run()
    with pytest.raises(ConfigError, match="another search"):
        make_search(tmp_path, "evolution").run()
    with hold_folder(tmp_path, "search"), pytest.raises(ConfigError, match="where one is running"):
        make_search(tmp_path, "random").run()
    with pytest.raises(ConfigError, match="Did you mean 'traffic_bits'"):
        make_search(tmp_path, "random", cost="trafic_bits")
    with pytest.raises(DataError, match="no train_data"):
        make_search(tmp_path, "random", fine_tune_steps=3)


def test_settings(tmp_path):
    for wrong, said in [
        ({"method": "evolve"}, "method: got 'evolve'"),
        ({"max_trials": 0}, "max_trials: got 0"),
        ({"method": "hyperband"}, "no steps of fine-tuning"),
        ({"fine_tune_steps": -1}, "fine_tune_steps: got -1"),
    ]:
        with pytest.raises(ConfigError, match=said):
            SearchSettings(**wrong)
    path = tmp_path / "s.json"
    path.write_text('{"schema": 1, "methd": "greedy"}')
    with pytest.raises(ConfigError, match="Did you mean 'method'"):
        SearchSettings.load(path)
    settings = SearchSettings(method="greedy", budget=3.0, fixed=("a",))
    path.write_text(json.dumps(settings.to_dict()))
    assert SearchSettings.load(path).to_dict() == json.loads(json.dumps(settings.to_dict()))
    with pytest.raises(ConfigError, match="exactly one"):
        SearchGoal(0.9, "macs", 1.0)


def test_goal_by_brute_force(rng):
    """A bound never hides a winner nor a point of the front: random records against all pairs."""
    for _ in range(200):
        tolerance = float(rng.choice([0.0, 0.01, 0.1]))
        goal = SearchGoal(0.9, "c", 100.0, tolerance=tolerance)
        points = [(round(float(a), 2), int(c)) for a, c in
                  zip(rng.uniform(0.5, 1, 9), rng.integers(1, 9, 9), strict=True)]  # fmt: skip
        *known, (accuracy, cost) = points
        good = [p for p in known if goal.accepts(*p)]
        best = min(good, key=lambda p: goal.rank(*p), default=None)
        dominating = max((a for a, c in known if c <= cost), default=0.0)
        if accuracy >= goal.at_least(cost, best, dominating):
            continue
        assert not goal.accepts(accuracy, cost) or best is not None
        if goal.accepts(accuracy, cost):
            assert goal.rank(*best) < goal.rank(accuracy, cost)
            assert any(a >= accuracy and c <= cost for a, c in known)


def test_public_name():
    assert tfxp.PrecisionSearch is PrecisionSearch
    assert FastEvaluator.__doc__
