"""Masks against loops that count, and patterns and maps against their text."""

import itertools
import json

import numpy as np
import pytest

from tfxp.errors import ConfigError, PrecisionError
from tfxp.sparsity import SparsityMap, SparsityPattern, make_mask

TEXTS = ["0.75", "0.5", "2:4", "1:4", "4:4", "blocks:0.75", "channels:0.5", "dense"]


@pytest.mark.parametrize("text", TEXTS)
def test_patterns_and_their_text_are_inverse(text):
    pattern = SparsityPattern.parse(text)
    assert str(pattern) == text and SparsityPattern.parse(str(pattern)) == pattern


@pytest.mark.parametrize(
    "text", ["", "2:", "0:4", "5:4", "0:0", "1", "-0.1", "nan", "rows:0.5", "half", "blocks:1"]
)
def test_what_is_no_pattern_is_refused(text):
    with pytest.raises(ConfigError, match="expected"):
        SparsityPattern.parse(text)


def relative(kernel):
    """Magnitudes in units of their output channel's size."""
    return np.abs(kernel) / np.sqrt(np.mean(kernel**2, axis=(0, 1)))


@pytest.mark.parametrize("shape", [(1, 7, 5), (9, 3, 16), (4, 8, 20)])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.9])
def test_the_smallest_weights_go(shape, share, rng):
    kernel = rng.normal(size=shape) * 10.0 ** rng.integers(-3, 3, shape[-1])
    mask = make_mask(kernel, SparsityPattern("weights", share))
    gone, kept = relative(kernel)[~mask], relative(kernel)[mask]
    assert len(gone) == round(share * kernel.size)
    assert not len(gone) or gone.max() <= kept.min()


@pytest.mark.parametrize("text", ["2:4", "1:4", "3:5"])
@pytest.mark.parametrize("inputs", [1, 3, 4, 8, 10])
def test_groups_of_inputs_keep_their_largest(text, inputs, rng):
    kernel = rng.normal(size=(2, inputs, 3))
    mask, (kept, group) = make_mask(kernel, text), map(int, text.split(":"))
    for tap, output in itertools.product(range(2), range(3)):
        for start in range(0, inputs, group):
            part = list(np.abs(kernel[tap, start : start + group, output]))
            count = int(np.ceil(kept * len(part) / group))
            found = mask[tap, start : start + group, output]
            assert {part[i] for i in np.flatnonzero(found)} == set(sorted(part)[-count:])


@pytest.mark.parametrize("outputs", [16, 32, 20, 7])
def test_blocks_are_whole_and_the_smallest(outputs, rng):
    kernel = rng.normal(size=(9, 4, outputs))
    mask = make_mask(kernel, "blocks:0.5")
    scores, gone = [], []
    for tap, row in itertools.product(range(9), range(4)):
        for start in range(0, outputs, 16):
            part = mask[tap, row, start : start + 16]
            assert part.all() or not part.any()
            scores.append(relative(kernel)[tap, row, start : start + 16].mean())
            gone.append(not part.any())
    assert sum(gone) == round(0.5 * len(gone))
    scores, gone = np.array(scores), np.array(gone)
    assert scores[gone].max() <= scores[~gone].min()


def test_channels_go_whole_and_one_is_left(rng):
    kernel = rng.normal(size=(9, 4, 8))
    mask = make_mask(kernel, "channels:0.5")
    assert sorted(mask.any((0, 1))) == [False] * 4 + [True] * 4
    assert mask.any((0, 1)).tolist() == mask.all((0, 1)).tolist()
    assert make_mask(kernel[..., :1], "channels:0.9").all()


def test_equal_weights_have_one_mask():
    kernel = np.ones((1, 8, 2))
    assert make_mask(kernel, "2:4")[0, :, 0].tolist() == [True, True, False, False] * 2
    assert make_mask(kernel, "0.5").sum() == 8


def test_maps_are_saved_and_read(tmp_path):
    zeros = SparsityMap.parse("0.75").updated({"@first": "dense", "dense.*": "2:4"})
    zeros.save(tmp_path / "map.json")
    assert SparsityMap.parse(str(tmp_path / "map.json")) == zeros
    patterns = zeros.resolve(["conv", "dense_1", "dense_2"], {}, {"@first": ["conv"]})
    assert {name: str(pattern) for name, pattern in patterns.items()} == {
        "conv": "dense", "dense_1": "2:4", "dense_2": "2:4",
    }  # fmt: skip


def test_e_leaves_the_edges_dense():
    zeros = SparsityMap.parse("2:4e")
    assert zeros == SparsityMap.parse("2:4").updated({"@first": "dense", "@last": "dense"})


def test_keys_of_maps_are_those_of_precision_maps():
    with pytest.raises(PrecisionError, match="selector: got '@frist'"):
        SparsityMap.parse("0.5").updated({"@frist": "dense"})
    with pytest.raises(PrecisionError, match="'denze', which match no layer.*'dense'"):
        SparsityMap.parse("0.5").updated({"denze": "2:4"}).resolve(["dense"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Expecting value"),
        ("[]", "expected an object"),
        ('{"schema": 2}', "schema of"),
        ('{"schema": 1, "defaults": "0.5"}', "defaults"),
        ('{"schema": 1, "layers": ["dense"]}', "expected an object"),
        ('{"schema": 1, "layers": {"dense": "6:4"}}', "6:4"),
        ('{"schema": 1, "default": null}', "expected a share"),
    ],
)
def test_damaged_maps_are_refused(text, words, tmp_path):
    path = tmp_path / "map.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        SparsityMap.load(path)
    assert json.dumps(SparsityMap().to_dict())
