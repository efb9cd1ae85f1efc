"""Fast evaluation gives what quantizing afresh and looking at every sample gives."""

import dataclasses

import numpy as np
import pytest

import tfxp
from tests.cases import inputs_of, randomize
from tests.slow_cases import slow, sometimes
from tfxp.data import Dataset, evaluate_metric
from tfxp.errors import ConfigError, DataError, ModelError
from tfxp.keras import keras, layers, tf
from tfxp.precision import LayerPrecision, PrecisionMap
from tfxp.quantization import PrecisionSetter
from tfxp.search import FastEvaluator
from tfxp.search.activation_cache import ActivationCache
from tfxp.search.fast_evaluator import needed_correct
from tfxp.search.segments import dependencies, find_cuts
from tfxp.transforms.layer_graph import LayerGraph

SAMPLES = 90  # not a multiple of the batches


def network():
    """Residual, with a shared layer, pools, a mean, a concatenation and a relu6."""
    x = inputs = keras.Input((8, 6, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="stem")(x)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
    shared = layers.Conv2D(4, 1, name="shared")
    y = layers.Activation("relu", name="after")(shared(shared(x)))
    y = layers.DepthwiseConv2D(3, padding="same", activation="relu6", name="branch")(y)
    x = layers.ReLU(name="sum_relu")(layers.Add(name="add")([x, y]))
    x = layers.Concatenate(name="join")([x, y])
    x = layers.AveragePooling2D(2, name="pool")(x)
    x = layers.Dropout(0.5, name="drop")(layers.ReLU(max_value=1.3, name="limit")(x))
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return randomize(keras.Model(inputs, layers.Dense(4, activation="softmax", name="head")(x)))


@pytest.fixture(scope="module")
def setting():
    model = network()
    x = inputs_of(model, SAMPLES)
    # No class is the usual one, and a quarter is wrong anyhow, so that accuracies differ.
    logits = np.log(model.predict(x, verbose=0))
    head = model.get_layer("head")
    head.bias.assign_sub(logits.mean(axis=0))
    labels = np.argmax(logits - logits.mean(axis=0), axis=1)
    labels[::4] = (labels[::4] + 1) % 4
    stats = tfxp.measure_model(model, x)
    return model, x, labels, stats


def evaluator_of(setting, **options):
    model, x, labels, stats = setting
    qmodel = tfxp.quantize_model(model, "w8a8", stats)
    options = {"batch_size": 16, **options}
    return qmodel, FastEvaluator(qmodel, Dataset(x, labels), stats, **options)


@pytest.fixture(scope="module")
def shared_evaluator(setting):
    """For tests that leave nothing behind but what it has cached."""
    return evaluator_of(setting)


def maps(rng, names, count):
    """A walk: most steps change one tensor, as a search does, some change everything."""
    rules = {name: LayerPrecision(6, 6) for name in names}
    for number in range(count):
        if number % 5 == 0:
            for name in names:
                w, a = rng.integers(2, 9, 2)
                rules[name] = LayerPrecision(int(w), int(a))
        else:
            name = names[rng.integers(len(names))]
            field = ("weights", "activations")[rng.integers(2)]
            new = LayerPrecision(**{field: int(rng.integers(2, 9))})
            rules[name] = rules[name].updated(new)
        yield PrecisionMap(layers=dict(rules))


@pytest.mark.parametrize("cache_bytes", [slow(1 << 28), 40_000, slow(0)])
def test_equal_to_quantizing_afresh(setting, shared_evaluator, rng, monkeypatch, cache_bytes):
    """Fresh models are built for some; the others are compared by assignment, tested elsewhere."""
    model, x, labels, stats = setting
    qmodel, evaluator = shared_evaluator
    monkeypatch.setattr(evaluator, "_cache", ActivationCache(cache_bytes))
    names, other = list(evaluator.setter.plan.points), None
    found = set()
    for pmap in maps(rng, names, 16 if cache_bytes > 1 << 20 else 8):
        if other is None:
            other = tfxp.quantize_model(model, pmap, stats)
            setter = PrecisionSetter(other, stats)
        setter.set(pmap)
        outputs = other.predict(x, batch_size=SAMPLES, verbose=0)
        wanted = int((outputs.argmax(1) == labels).sum())
        score = evaluator.evaluate(pmap)
        assert (score.correct, score.seen, score.total) == (wanted, SAMPLES, SAMPLES)
        assert score.complete and score.accuracy == wanted / SAMPLES
        assert evaluator._cache.used_bytes <= cache_bytes
        found.add(wanted)
    assert tfxp.precision_of(qmodel).to_dict() == tfxp.precision_of(other).to_dict()
    assert len(found) > 3, "the maps must not all be alike"


def test_the_spread_of_a_loss_counts_what_differs(setting, shared_evaluator):
    """From lost and won samples of a fresh model: the variance of -1, 0 and 1."""
    model, x, labels, stats = setting
    _, evaluator = shared_evaluator
    right = model.predict(x, verbose=0).argmax(1) == labels
    pmap = PrecisionMap.uniform(3, 3)
    found = tfxp.quantize_model(model, pmap, stats).predict(x, verbose=0).argmax(1) == labels
    lost, won = int((right & ~found).sum()), int((found & ~right).sum())
    assert lost + won > 3
    wanted = ((lost + won) / SAMPLES - ((won - lost) / SAMPLES) ** 2) / SAMPLES
    assert evaluator.spread(pmap) == pytest.approx(wanted**0.5)


def test_every_way_through_gives_the_same_bits(setting, shared_evaluator, rng):
    """Outputs, not only who wins, whatever cut evaluation starts from."""
    x = setting[1][:15]  # one batch
    qmodel, evaluator = shared_evaluator
    runner, last = evaluator._runner, len(evaluator._cuts) - 1
    pmap = next(maps(rng, list(evaluator.setter.plan.points), 1))
    evaluator.evaluate(pmap)
    wanted = qmodel.predict(x, verbose=0)
    tensors = [tf.constant(x)]
    for cut in range(1, last):
        tensors = runner.run(cut - 1, cut, tensors)
        assert np.array_equal(runner.run(cut, last, tensors)[0], wanted), evaluator._cuts[cut]
    assert last >= 10, "a cut before every weight and every quantized tensor"


def test_early_stop_never_changes_a_decision(shared_evaluator, rng):
    _, evaluator = shared_evaluator
    names, stopped = list(evaluator.setter.plan.points), 0
    for pmap in maps(rng, names, 12):
        full = evaluator.evaluate(pmap)
        for at_least in (0.3, full.accuracy, full.accuracy + 1e-9, 0.8, 1.0):
            score = evaluator.evaluate(pmap, at_least)
            assert (score.accuracy >= at_least) == (full.accuracy >= at_least)
            assert score.accuracy >= full.accuracy
            if full.accuracy >= at_least:
                assert score == full
            stopped += not score.complete
    assert stopped > 12


def test_hard_samples_come_first(setting, shared_evaluator):
    _, evaluator = shared_evaluator
    _, plain = evaluator_of(setting, hard_first=False)
    assert evaluator.float_score == plain.float_score
    assert evaluator.evaluate("w3a3") == plain.evaluate("w3a3")
    threshold = evaluator.float_score.accuracy
    early, late = (e.evaluate("w2a2", threshold) for e in (evaluator, plain))
    assert early.seen <= late.seen and not early.complete


def test_nothing_is_retraced_and_little_is_recomputed(shared_evaluator, monkeypatch):
    _, evaluator = shared_evaluator
    head = {"head": LayerPrecision(weights=5)}
    base = PrecisionMap.uniform(6, 6)
    for pmap in (base, base.updated(head), base):
        evaluator.evaluate(pmap)
    functions = evaluator._runner._functions
    count, ran = len(functions), []
    original = evaluator._runner.run
    monkeypatch.setattr(
        evaluator._runner, "run", lambda a, b, t: ran.append((a, b)) or original(a, b, t)
    )
    evaluator.evaluate(base.updated({"head": LayerPrecision(weights=4)}))
    assert len(functions) == count
    before_head = max(
        i for i, cut in enumerate(evaluator._cuts) if ("head", "weights") not in cut.depends
    )
    assert {start for start, _ in ran} == {before_head}


def test_changed_weights_are_seen_after_refresh(setting):
    model, x, labels, stats = setting
    qmodel, evaluator = evaluator_of(setting)
    for _ in range(3):
        evaluator.evaluate("w4a4")
    head = qmodel.get_layer("head").layer
    head.kernel.assign(-head.kernel)
    evaluator.refresh()
    score = evaluator.evaluate("w4a4")
    outputs = qmodel.predict(x, verbose=0)
    assert score.correct == int((outputs.argmax(1) == labels).sum())


def test_thinning_keeps_order_and_ends(shared_evaluator):
    qmodel, evaluator = shared_evaluator
    graph, plan = LayerGraph.from_model(qmodel), evaluator.setter.plan
    depends = {layer.name: dependencies(layer, plan) for layer in qmodel.layers}
    cuts = find_cuts(graph, depends, at_most=6)
    assert len(cuts) == 6 and cuts[0].position == 0 and cuts[-1].position == len(graph.calls)
    assert list(cuts[-1].alive) == graph.outputs
    for before, after in zip(cuts, cuts[1:], strict=False):
        assert before.position < after.position and set(before.depends) <= set(after.depends)


def test_top5_and_refusals(setting):
    model, x, labels, stats = setting
    _, evaluator = evaluator_of(setting, metric="top5")
    assert evaluator.evaluate("w2a2").correct == SAMPLES  # four classes
    qmodel = tfxp.quantize_model(model, "w8a8", stats)
    with pytest.raises(ConfigError, match="metric: got 'mea'"):
        FastEvaluator(qmodel, Dataset(x, labels), stats, metric="mea")
    with pytest.raises(DataError, match="labels of data"):
        FastEvaluator(qmodel, Dataset(x), stats)
    with pytest.raises(ConfigError, match="batches of 0"):
        FastEvaluator(qmodel, Dataset(x, labels), stats, batch_size=0)
    twice = keras.Model(model.inputs, [model.output, model.output])
    with pytest.raises(ModelError, match="2 outputs; expected one"):
        FastEvaluator(twice, Dataset(x, labels), stats)


# (arguments of the last Dense layer, labels for its predictions)
HEADS = {
    "mae": ((2,), lambda rng, p: p + rng.normal(0, 0.05, p.shape)),
    "mse": ((2,), lambda rng, p: p + rng.normal(0, 0.05, p.shape)),
    "binary_accuracy": ((1, "sigmoid"), lambda rng, p: (p > 0.5).astype(int)),
    "accuracy": ((3, "softmax"), lambda rng, p: p.argmax(-1)),
}


@pytest.mark.parametrize("name", sometimes(HEADS, {"mse", "accuracy"}))
def test_other_outputs_than_one_class(name, rng):
    """Against the metric of models quantized afresh; segmentation has classes at 5 positions."""
    head, answer = HEADS[name]
    shape = (5, 4) if name == "accuracy" else (4,)
    x = rng.normal(size=(70, *shape)).astype(np.float32)
    inputs = keras.Input(shape)
    y = layers.Dense(8, "relu")(inputs)
    model = keras.Model(inputs, layers.Dense(*head)(y))
    data = Dataset(x, answer(rng, model.predict(x, verbose=0)))
    stats = tfxp.measure_model(model, x)
    qmodel = tfxp.quantize_model(model, "w8a8", stats)
    metric = name if name in ("mse", "mae") else "auto"
    evaluator = FastEvaluator(qmodel, data, stats, metric=metric, batch_size=16)
    assert evaluator.metric == name
    found = {}
    for text in ("w8a8", "w3a4", "w2a2"):
        fresh = tfxp.quantize_model(model, text, stats).predict(x, verbose=0)
        wanted = evaluate_metric(name, fresh, data)
        if name in ("mae", "mse"):
            constant = (np.median if name == "mae" else np.mean)(data.y, axis=0)
            wanted = 1 - wanted / np.mean(np.abs(data.y - constant) ** (2 if name == "mse" else 1))
        found[text] = evaluator.accuracy(text)
        assert found[text] == pytest.approx(wanted, abs=1e-6)
        assert evaluator.evaluate(text, at_least=wanted - 1e-6).complete
        early = evaluator.evaluate(text, at_least=min(wanted + 0.3, 1.0))
        assert early.complete or early.accuracy < wanted + 0.3
    assert found["w8a8"] >= found["w2a2"]
    assert evaluator.float_score.accuracy == pytest.approx(evaluator.float_score.correct / 70)


def test_needed_correct_is_exact():
    for total in (1, 7, 90, 1000):
        for correct in range(1, total + 1, max(1, total // 50)):
            assert needed_correct(correct / total, total) == correct
            assert needed_correct(np.nextafter(correct / total, 2), total) == correct + 1


def test_cache_keeps_its_limit(rng):
    cache = ActivationCache(100)
    for _ in range(500):
        key, batch = int(rng.integers(6)), int(rng.integers(3))
        kept = cache.get(key, batch)
        assert kept in (None, (key, batch))
        cache.put(key, batch, (key, batch), int(rng.integers(1, 60)))
        held = sum(size for entry in cache._entries.values() for _, size in entry.values())
        assert held == cache.used_bytes <= 100
    assert not cache.wanted("x")
    cache.note("x")
    assert cache.wanted("x")
    cache.clear()
    assert cache.used_bytes == 0 and not cache.wanted("x")


def test_a_wide_tensor_changes_the_layers_before_it(rng):
    """It takes all activations to 16-bit storage, where ties round otherwise."""
    inputs = keras.Input((6,))
    y = layers.Dense(8, "relu", name="first")(inputs)
    y = layers.Dense(2, name="head")(layers.Dense(8, "relu", name="second")(y))
    model = keras.Model(inputs, y)
    x = rng.normal(size=(64, 6)).astype(np.float32)
    data, stats = Dataset(x, rng.normal(size=(64, 2))), tfxp.measure_model(model, x)
    narrow = PrecisionMap(LayerPrecision(3, 3), {"@inputs": LayerPrecision(activations=3)})
    wide = dataclasses.replace(narrow, layers={**narrow.layers, "head": LayerPrecision(3, 12)})

    def evaluator():
        return FastEvaluator(tfxp.quantize_model(model, narrow, stats), data, stats, metric="mse")

    used, new = evaluator(), evaluator()
    for _ in range(3):  # what is before the head is kept
        used.accuracy(narrow)
    assert used.accuracy(wide) == new.accuracy(wide)
