"""Two replicas against one: losses, formats, counts, callbacks, checkpoints."""

import json

import numpy as np
import pytest

from tests.devices.replicas import compare
from tests.forked import Forked

pytestmark = pytest.mark.slow  # seven trainings, each on one device and on two


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replicas")
    Forked(compare, [folder], folder / "log").finish(900)
    return json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize("what", ["fit", "learned", "fine_tuned", "fixed_point", "watched"])
def test_losses_are_those_of_one_device(found, what):
    one, two = found[what]["one"]["losses"], found[what]["two"]["losses"]
    assert len(one) == 2 and np.allclose(one, two, rtol=1e-5, atol=0)


def test_quantized_outputs_are_equal_bit_for_bit(found):
    assert found["fit"]["one"]["before"] == found["fit"]["two"]["before"]
    for what in ("fit", "fine_tuned"):
        assert [found[what][name]["replicated"] for name in ("one", "two")] == [False, True]


def test_learned_formats_are_reduced(found):
    one, two = (found["learned"][name]["steps"] for name in ("one", "two"))
    assert len(one) == len(two) > 1
    for a, b in zip(one, two, strict=True):
        assert a["scale"] == b["scale"] and a["frozen"] == b["frozen"]
        for key in ("trained", "average", "slope"):
            assert np.allclose(a[key], b[key], rtol=1e-4, atol=1e-7), key
    assert all(found["learned"][name]["same"] for name in ("one", "two"))


def test_gradients_are_counted_on_all_replicas(found):
    one, two = found["fixed_point"]["one"], found["fixed_point"]["two"]
    assert one["counts"] == two["counts"] and one["clipped"] == two["clipped"]
    assert two["copies"] == 2 and two["agree"]


def test_stochastic_rounding_keeps_replicas_together(found):
    assert found["stochastic"]["two"]["agree"]


def test_callbacks_see_the_same(found):
    one, two = found["watched"]["one"], found["watched"]["two"]
    assert one["steps"] == two["steps"] and two["steps"][-1] == 8
    assert two["mismatches"] == 0 and two["same"]
    first = [[records[0] for records in side["records"]] for side in (one, two)]
    assert first[0] == first[1]


def test_recipes_normalize_over_all_replicas(found):
    one, two = found["recipe"]["one"], found["recipe"]["two"]
    assert np.allclose(one["losses"], two["losses"], rtol=1e-4, atol=0)
    assert one["score"] == two["score"]


def test_what_cannot_be_shared_is_refused(found):
    probe, uneven = found["refused"]
    assert probe.startswith("GradientProbe under MirroredStrategy: got 2 replicas; expected one.")
    assert uneven.startswith("batch_size: got 15 for 2 replicas; expected a multiple of 2.")
