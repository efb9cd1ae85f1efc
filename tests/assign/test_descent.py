"""Judd's procedure against a loop written down here, on networks with a known answer."""

import json

import pytest

from tfxp.assign import (
    BitSpace,
    Configuration,
    EvaluationLedger,
    JuddAssigner,
    JuddDescent,
    cheapest_within,
    pareto_front,
    sensitivity_profile,
    uniform_start,
    uniform_sweep,
)
from tfxp.cost import CostSettings, cost_report
from tfxp.errors import ConfigError
from tfxp.formats import TensorStats
from tfxp.precision import LayerStats, ModelStats


def measured(*values):
    stats = TensorStats()
    for value in values:
        stats.update([value])
    return stats


def network():
    weights, wide = measured(-0.9, 0.7), measured(-2.5, 1.0)
    layers = [
        LayerStats("x", "input", (), (6, 6, 1), activations=measured(0.0, 1.0)),
        LayerStats("a", "conv", ("x",), (6, 6, 4), (3, 3, 1, 4), 36 * 36, 4, weights=weights,
                   activations=measured(0.0, 6.5)),
        LayerStats("p", "pool", ("a",), (3, 3, 4)),
        LayerStats("b", "dense", ("p",), (5,), (36, 5), 180, 5, weights=wide,
                   activations=measured(-11.0, 9.0)),
    ]  # fmt: skip
    return ModelStats({layer.name: layer for layer in layers}, ("b",))


# bits below which a parameter hurts, and how much each missing bit costs
NEED = {
    ("x", "data_integer"): (2, 0.4),
    ("x", "data_fraction"): (3, 0.02),
    ("a", "weight_bits"): (5, 0.03),
    ("a", "data_integer"): (4, 0.3),
    ("a", "data_fraction"): (2, 0.011),
    ("b", "weight_bits"): (6, 0.007),
    ("b", "data_integer"): (5, 0.2),
    ("b", "data_fraction"): (1, 0.004),
}
BASELINE = 0.8


def accuracy_of(values):
    loss = sum(slope * max(need - values[key], 0) for key, (need, slope) in NEED.items())
    return BASELINE * (1 - min(loss, 1.0))


def evaluator(space):
    """Accuracy from the formats of a map alone, as a real evaluation has it."""

    def evaluate(pmap):
        values = {}
        for name, rule in pmap.resolve(space.stats.layers).items():
            if name not in space.units:
                continue
            fmt = rule.activations
            values[name, "data_integer"] = fmt.integer_bits + 1
            values[name, "data_fraction"] = fmt.fractional_bits
            if (name, "weight_bits") in NEED:
                values[name, "weight_bits"] = rule.weights.bits
        evaluate.calls += 1
        return accuracy_of(values)

    evaluate.calls = 0
    return evaluate


def test_space_and_maps():
    space = BitSpace(network())
    assert list(space.units) == ["x", "a", "b"]
    assert set(space.parameters()) == set(NEED)
    config = space.uniform({"weight_bits": 7, "data_integer": 4, "data_fraction": 3})
    pmap = space.to_map(config)
    assert str(pmap.layers["x"].activations) == "UQ3.3"  # data that are never negative
    assert str(pmap.layers["b"].activations) == "Q3.3"
    assert str(pmap.layers["a"].weights) == "Q0.6"
    assert str(pmap.layers["b"].weights) == "Q2.4"  # its range needs two integer bits
    assert pmap.layers["x"].weights == "float"
    assert Configuration.from_key(config.key()) == config


def test_space_stops_at_the_shortest_words():
    space = BitSpace(network())
    config = space.uniform({"weight_bits": -20, "data_integer": 2, "data_fraction": -20})
    for rule in space.to_map(config).layers.values():
        assert rule.activations.bits == (2 if rule.activations.signed else 1)
        if rule.weights != "float":
            assert rule.weights.bits == 2
    assert space.lowered(config) == []


def test_blocks_share_their_parameters_and_freezes_hold():
    space = BitSpace(network(), {"all": ["a", "b"]}, {"data_fraction": 0})
    assert list(space.units) == ["x", "all"]
    config = space.uniform({"weight_bits": 7, "data_integer": 5})
    assert {family for _, family, _ in space.lowered(config)} == {"weight_bits", "data_integer"}
    lowered = config.changed("all", "data_integer", 3)
    pmap = space.to_map(lowered)
    assert pmap.layers["a"].activations.integer_bits == 2
    assert pmap.layers["b"].activations.integer_bits == 2
    with pytest.raises(ConfigError, match="Did you mean 'data_fraction'"):
        BitSpace(network(), freeze={"data_fractions": 0})
    with pytest.raises(ConfigError, match="layer of block 'm': got 'c'"):
        BitSpace(network(), {"m": ["c"]})


def greedy_by_hand(space, start, stop):
    """The procedure once more, over dictionaries."""
    current, visited, path = start.to_dict(), [], []
    visited.append(dict(current))
    while (BASELINE - accuracy_of(current)) / BASELINE <= stop:
        path.append(dict(current))
        candidates = []
        for key in current:
            lower = {**current, key: current[key] - 1}
            signed = key[0] == "b"
            word = lower.get((key[0], "data_integer"), 9) + lower.get((key[0], "data_fraction"), 9)
            weight = lower.get((key[0], "weight_bits"), 9)
            if word - (0 if signed else 1) < (2 if signed else 1) or weight < 2:
                continue
            candidates.append(lower)
        visited += candidates
        if not candidates:
            break
        current = max(candidates, key=lambda c: (accuracy_of(c), -traffic(space, c)))
    return path, visited


def traffic(space, values):
    report = cost_report(
        space.stats, space.to_map(Configuration.of(values)), CostSettings(batch_size=64)
    )
    return report.total("traffic_batch_bits")


def begin(space):
    return space.uniform({"weight_bits": 7, "data_integer": 5, "data_fraction": 4})


def test_descent_takes_the_path_of_the_loop():
    space = BitSpace(network())
    path, visited = greedy_by_hand(space, begin(space), 0.10)
    descent = JuddDescent(space, begin(space), BASELINE).run(evaluator(space))
    assert [entry.configuration.to_dict() for entry in descent.path] == path
    expected = {Configuration.of(values).key() for values in visited}
    assert set(descent.visited) == expected
    assert "relative error" in descent.stop_reason
    for entry in descent.visited.values():
        assert entry.traffic_bits == traffic(space, entry.configuration.to_dict())


def test_front_and_selection_by_brute_force():
    space = BitSpace(network())
    descent = JuddDescent(space, begin(space), BASELINE).run(evaluator(space))
    entries = list(descent.visited.values())
    beaten = [
        a
        for a in entries
        if any(
            b.traffic_bits <= a.traffic_bits
            and b.accuracy >= a.accuracy
            and (b.traffic_bits < a.traffic_bits or b.accuracy > a.accuracy)
            for b in entries
        )
    ]
    front = {(e.traffic_bits, e.accuracy) for e in entries if e not in beaten}
    assert {(e.traffic_bits, e.accuracy) for e in descent.front()} == front
    ratios = []
    for tolerance, chosen in descent.select().items():
        good = [e for e in entries if e.accuracy >= BASELINE * (1 - tolerance) - 1e-9]
        assert chosen.traffic_bits == min(e.traffic_bits for e in good)
        ratios.append(chosen.traffic_ratio)
    assert ratios == sorted(ratios, reverse=True) and ratios[-1] < ratios[0]


def test_resumed_from_state_it_goes_on_the_same_way():
    space = BitSpace(network())
    whole = JuddDescent(space, begin(space), BASELINE).run(evaluator(space))
    evaluate, part = evaluator(space), JuddDescent(space, begin(space), BASELINE)
    for _ in range(23):  # in the middle of a round
        config = part.pending()[0]
        part.tell(config, evaluate(space.to_map(config)))
    state = json.loads(json.dumps(part.state()))
    resumed = JuddDescent.restore(space, state).run(evaluator(space))
    assert resumed.state() == whole.state()
    other = BitSpace(network(), freeze={"data_fraction": 0})
    with pytest.raises(ConfigError, match="another network or other settings"):
        JuddDescent.restore(other, state)


class Killed(Exception):
    pass


@pytest.mark.parametrize("torn", [b"", b'{"key": "[[\\"x'])
def test_a_killed_search_repeats_nothing(tmp_path, torn):
    """Killed after any evaluation, even with half a line written, nothing is evaluated twice."""
    whole_calls = []
    for stop in (7, 90, 10_000):
        path = tmp_path / f"ledger_{stop}.jsonl"
        space = BitSpace(network())
        evaluate, done = evaluator(space), []

        def limited(pmap, evaluate=evaluate, done=done, stop=stop):
            if len(done) == stop:
                raise Killed
            done.append(evaluate(pmap))
            return done[-1]

        def assigner(function, path=path):
            return JuddAssigner(function, BASELINE, ledger=path, start_error=0.001)

        try:
            first = assigner(limited).assign(network())
        except Killed:
            with open(path, "ab") as file:
                file.write(torn)
            first = assigner(evaluate).assign(network())
        whole_calls.append(evaluate.calls)
        again = assigner(limited_to_nothing).assign(network())
        assert again.map == first.map
    assert len(set(whole_calls)) == 1


def limited_to_nothing(pmap):
    raise AssertionError("evaluated again")


def test_ledger_of_another_search_is_refused(tmp_path):
    path = tmp_path / "ledger.jsonl"
    EvaluationLedger(path, "one").put("a", 0.5)
    assert EvaluationLedger(path, "one").get("a") == 0.5
    with pytest.raises(ConfigError, match="got one of another search"):
        EvaluationLedger(path, "two")
    path.write_text("no json\n")
    with pytest.raises(ConfigError, match="expected JSON lines"):
        EvaluationLedger(path, "one")


def test_uniform_sweep_and_start():
    space = BitSpace(network())
    points = uniform_sweep(space, evaluator(space), BASELINE)
    words = [p for p in points if p.family == "weight_bits"]
    assert [p.value for p in words] == list(range(15, 1, -1))
    for point in words:
        loss = 0.03 * max(5 - point.value, 0) + 0.007 * max(6 - point.value, 0)
        assert point.relative_error == pytest.approx(loss)
    start, _ = uniform_start(space, evaluator(space), BASELINE)
    # the largest need of each family, and no less
    assert start == space.uniform({"weight_bits": 6, "data_integer": 5, "data_fraction": 3})


def test_start_that_cannot_be():
    with pytest.raises(ConfigError, match="start of the descent: got a relative error"):
        uniform_start(BitSpace(network()), lambda pmap: 0.5, BASELINE)


def test_sensitivity_varies_one_parameter_at_a_time():
    space = BitSpace(network())
    evaluate = evaluator(space)
    points = sensitivity_profile(space, evaluate, begin(space), BASELINE, stop_error=0.3)
    base = begin(space).to_dict()
    assert {(p.unit, p.family) for p in points} == set(NEED)
    for point in points:
        expected = accuracy_of({**base, (point.unit, point.family): point.value})
        assert point.accuracy == expected
    assert evaluate.calls == len({(p.unit, p.family, p.value) for p in points}) - len(NEED) + 1


def test_assigner_reports_everything():
    result = JuddAssigner(evaluator(BitSpace(network())), BASELINE, tolerance=0.05).assign(
        network()
    )
    figures = json.loads(json.dumps(result.figures))
    assert set(figures["selected"]) == {"0.01", "0.02", "0.05", "0.1"}
    assert figures["selected"]["0.05"]["relative_error"] <= 0.05
    assert figures["selected"]["0.05"]["map"] == result.map.to_dict()
    assert result.trace[0].tensor == "start" and len(result.trace) > 5
    assert len(figures["visited"]) > len(figures["front"]) > 1


def test_pareto_and_tolerance_edge_cases():
    assert pareto_front([], lambda p: p, lambda p: p) == []
    points = [(1, 0.5), (1, 0.5), (2, 0.5)]
    assert pareto_front(points, lambda p: p[0], lambda p: p[1]) == [(1, 0.5)]
    assert cheapest_within(points, lambda p: p[0], lambda p: p[1], 0.9, 0.1) is None
    with pytest.raises(ConfigError, match="baseline score"):
        cheapest_within(points, lambda p: p[0], lambda p: p[1], 0.0, 0.1)
    with pytest.raises(ConfigError, match="tolerance"):
        cheapest_within(points, lambda p: p[0], lambda p: p[1], 0.9, 1.1)


class Bounded:
    """Stops early where it may, and says so with a bound; counts how often."""

    def __init__(self, space):
        self._evaluate, self.stopped = evaluator(space), 0

    def evaluate(self, pmap, at_least=None):
        accuracy = self._evaluate(pmap)
        short = at_least is not None and accuracy < at_least
        self.stopped += short
        bound = (accuracy + at_least) / 2 if short else accuracy
        return type("Score", (), {"accuracy": bound, "complete": not short})


def test_early_stops_change_no_decision(tmp_path):
    space, path = BitSpace(network()), tmp_path / "ledger.jsonl"
    whole = JuddDescent(space, begin(space), BASELINE).run(evaluator(space))
    bounded = Bounded(space)
    ledger = EvaluationLedger(path)
    quick = JuddDescent(space, begin(space), BASELINE).run(bounded, ledger)
    assert bounded.stopped > 5
    assert [e.configuration for e in quick.path] == [e.configuration for e in whole.path]
    quick.settle(bounded, ledger=ledger)
    assert quick.select() == whole.select()
    assert set(quick.visited) == set(whole.visited)
    for key, entry in quick.visited.items():
        assert entry.complete == (entry.accuracy == whole.visited[key].accuracy)
        assert entry.accuracy >= whole.visited[key].accuracy
    again = JuddDescent(space, begin(space), BASELINE)
    again.run(limited_to_nothing, EvaluationLedger(path))
    again.settle(limited_to_nothing, ledger=EvaluationLedger(path))
    assert again.state() == quick.state()


def test_a_bound_answers_only_what_it_can():
    ledger = EvaluationLedger()
    ledger.put("a", 0.6, complete=False)
    assert ledger.find("a", 0.7) == (0.6, False)
    assert ledger.find("a", 0.5) is None and ledger.get("a") is None
    ledger.put("a", 0.65, complete=False)  # says less than what is known
    assert ledger.find("a", 0.62) == (0.6, False)
    ledger.put("a", 0.4)
    assert ledger.find("a", 0.5) == (0.4, True) and ledger.get("a") == 0.4


def test_small_weights_have_no_leading_zeros():
    stats = network()
    tiny = LayerStats("a", "conv", ("x",), (6, 6, 4), (3, 3, 1, 4), 36 * 36, 4,
                      weights=measured(-0.02, 0.011), activations=measured(0.0, 6.5))  # fmt: skip
    space = BitSpace(ModelStats({**stats.layers, "a": tiny}, ("b",)))
    config = space.uniform({"weight_bits": 6, "data_integer": 5, "data_fraction": 2})
    assert str(space.to_map(config).layers["a"].weights) == "Q-5.10"  # 2^-5 holds 0.02


def test_measured_ranges_start_lower():
    space = BitSpace(network())
    wide = {"weight_bits": 6, "data_integer": 5, "data_fraction": 3}
    config = space.uniform(wide, "measured").to_dict()
    # 1.0, 6.5 and 11.0 need 0, 3 and 4 bits before the point, and a sign
    assert [config[name, "data_integer"] for name in "xab"] == [1, 4, 5]
    assert space.uniform(wide).to_dict()["a", "data_integer"] == 5
    start, sweep = uniform_start(
        BitSpace(network(), freeze={"data_fraction": 3}), lambda pmap: 0.8, 0.8, ranges="measured"
    )
    assert {p.family for p in sweep} == {"weight_bits"}
    assert start.to_dict()["a", "data_integer"] == 4


def test_storage_rounds_only_what_is_stored():
    stats = network()
    mean = LayerStats("m", "mean", ("a",), (4,), activations=measured(0.0, 3.0))
    layers = {**stats.layers, "p": mean}
    layers["m"] = layers.pop("p")
    layers["b"] = LayerStats("b", "dense", ("m",), (5,), (4, 5), 20, 5, weights=measured(0.5),
                             activations=measured(-1.0, 1.0))  # fmt: skip
    layers = {name: layers[name] for name in ("x", "a", "m", "b")}
    values = {"weight_bits": 6, "data_integer": 4, "data_fraction": 3}
    space = BitSpace(ModelStats(layers, ("b",)), arithmetic="storage")
    pmap = space.to_map(space.uniform(values)).layers
    assert pmap["a"].activations == "float" and str(pmap["m"].activations) == "UQ3.3"
    assert pmap["a"].bias == "float" and pmap["m"].bias is None
    assert {rule.rounding for rule in pmap.values()} == {"half_even"}
    whole = BitSpace(ModelStats(layers, ("b",)))
    assert str(whole.to_map(whole.uniform(values)).layers["a"].activations) == "UQ3.3"
    assert space.fingerprint() != whole.fingerprint()
    with pytest.raises(ConfigError, match="Did you mean 'storage'"):
        BitSpace(network(), arithmetic="storages")
