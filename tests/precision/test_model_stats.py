"""Model statistics: totals and the JSON round trip."""

import json

import numpy as np
import pytest

from tfxp.errors import DataError
from tfxp.formats import TensorStats
from tfxp.precision import LayerStats, ModelStats


def measured(rng, *shape):
    stats = TensorStats()
    stats.update(rng.normal(size=shape))
    return stats


@pytest.fixture
def stats(rng):
    layers = [
        LayerStats("input_1", "input", output_shape=(8, 8, 3), activations=measured(rng, 100)),
        LayerStats(
            "conv", "conv", ("input_1",), (8, 8, 4), (3, 3, 3, 4), 8 * 8 * 108, 4,
            measured(rng, 108), measured(rng, 4), measured(rng, 256), measured(rng, 256),
        ),
        LayerStats("flatten", "reshape", ("conv",), (256,)),
        LayerStats("dense", "dense", ("flatten",), (10,), (256, 10), 2560, 10),
    ]  # fmt: skip
    return ModelStats({layer.name: layer for layer in layers}, ("dense",), 100, {"bn": "conv"})


def test_totals(stats):
    assert stats.macs == 8 * 8 * 108 + 2560
    assert stats.weight_count == 108 + 2560
    assert stats["conv"].output_count == 256 and stats["conv"].weight_count == 108
    assert stats["flatten"].weight_count == 0
    with pytest.raises(KeyError):
        stats["bn"]


def test_json_round_trip(stats, tmp_path):
    stats.save(tmp_path / "stats.json")
    back = ModelStats.load(tmp_path / "stats.json")
    assert back.to_dict() == stats.to_dict()
    assert list(back.layers) == list(stats.layers)
    assert (back.outputs, back.samples, back.aliases) == (("dense",), 100, {"bn": "conv"})
    assert back["conv"].inputs == ("input_1",) and back["conv"].weight_shape == (3, 3, 3, 4)
    assert back["dense"].weights is None
    ours, theirs = stats["conv"].pre_activations, back["conv"].pre_activations
    assert theirs.percentile(99) == ours.percentile(99) and theirs.std == ours.std
    assert np.array_equal(theirs.counts, ours.counts)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"schema": 2}, "schema of model statistics: got 2; expected 1"),
        ({"layers": None}, "Measure the model again"),
        ({"layers": ["conv"]}, "Measure the model again"),
        ({"layers": [{"name": "a"}]}, "Measure the model again"),
        ({"layers": [{"name": "a", "kind": "conv", "colour": 3}]}, "Measure the model again"),
        ({"layers": [{"name": "a", "kind": "conv", "weights": {}}]}, "tensor statistics: "),
        ({"samples": "many"}, "Measure the model again"),
        ({"aliases": [1]}, "Measure the model again"),
    ],
)
def test_broken_statistics(stats, change, text):
    with pytest.raises(DataError, match=text):
        ModelStats.from_dict({**stats.to_dict(), **change})
    key = next(iter(change))
    data = stats.to_dict()
    del data[key]
    with pytest.raises(DataError, match="model statistics"):
        ModelStats.from_dict(data)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"3", b"null", b'"text"'])
def test_broken_files(tmp_path, content):
    path = tmp_path / "stats.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match="model statistics"):
        ModelStats.load(path)


def test_files_that_cannot_be_read(tmp_path, stats):
    with pytest.raises(DataError, match="No such file"):
        ModelStats.load(tmp_path / "absent.json")
    text = json.dumps(stats.to_dict(), allow_nan=False)
    path = tmp_path / "cut.json"
    path.write_text(text[: len(text) // 2])
    with pytest.raises(DataError, match="cut.json"):
        ModelStats.load(path)
