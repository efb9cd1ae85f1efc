"""Lin's allocation against equal bits, on networks whose accuracy is a formula."""

import math

import pytest

from tfxp.assign import (
    LinAssigner,
    SizePoint,
    best_saving,
    savings,
    size_curve,
    smallest_within,
)
from tfxp.errors import ConfigError
from tfxp.models import count_network

SIZES = {"conv0": 6912, "conv1": 294912, "conv2": 294912, "conv3": 589824, "conv4": 589824,
         "conv5": 1605632}  # fmt: skip


def accuracy_of(bits):
    """Saturates as noises of 3 dB per bit add up."""
    return 0.93 - 0.5 * sum(10 ** (-0.3 * bits[name]) for name in SIZES)


def evaluator(calls):
    def evaluate(pmap):
        calls.append(pmap)
        return accuracy_of({name: pmap.layers[name].weights for name in SIZES})

    return evaluate


def curve(calls, **settings):
    assigner = LinAssigner(anchor_bits=8, dense_bits=None, excluded=["fc0"], **settings)
    return size_curve(
        evaluator(calls), count_network("lin_cifar10"), assigner, [8, 8.25, 10, 12, 14], range(2, 9)
    )


def test_points_by_hand():
    calls = []
    points = curve(calls)
    equal = [p for p in points if p.kind == "equal"]
    assert [p.knob for p in equal] == list(range(2, 9))
    for point in equal:
        assert set(point.bits) == set(SIZES) and set(point.bits.values()) == {point.knob}
    # 8.25 rounds to the map of 8, which is neither scored nor listed twice
    allocated = [p for p in points if p.kind == "allocated"]
    assert [p.knob for p in allocated] == [8, 10, 12, 14]
    assert [p.bits["conv5"] for p in allocated] == [2, 2, 4, 6]
    for point in points:
        assert point.size_bits == sum(point.bits[n] * size for n, size in SIZES.items())
        assert point.accuracy == accuracy_of(point.bits)
    assert len(calls) == len(points)


def test_saving_by_hand():
    points = curve([])
    found = savings(points)
    equal = {p.size_bits: p.accuracy for p in points if p.kind == "equal"}
    assert found
    for saving in found:
        # the straight line between the two maps around it passes through the point
        sizes = sorted(equal)
        high = next(size for size in sizes if equal[size] >= saving.accuracy)
        assert saving.next_equal_bits == high
        low = sizes[sizes.index(high) - 1]
        slope = (equal[high] - equal[low]) / (high - low)
        assert equal[low] + slope * (saving.equal_bits - low) == pytest.approx(saving.accuracy)
        assert saving.share == 1 - saving.allocated_bits / saving.equal_bits
    assert max(s.share for s in found) > 0.1


def test_fixed_layers_and_rho_hold_for_both():
    points = curve([], fixed={"conv1": 7}, rho={n: math.sqrt(s) for n, s in SIZES.items()})
    assert {p.bits["conv1"] for p in points} == {7}
    allocated = [p for p in points if p.kind == "allocated"][-1]
    assert allocated.bits["conv5"] > 6  # a cost that grows more slowly takes fewer bits away


def test_unlike_ends():
    points = [SizePoint("equal", 2, {}, 200, 0.5), SizePoint("equal", 4, {}, 400, 0.8)]
    better = SizePoint("allocated", 9, {}, 500, 0.9)
    worse = SizePoint("allocated", 1, {}, 100, 0.4)
    same = SizePoint("allocated", 3, {}, 250, 0.8)
    found = savings([*points, better, worse, same])
    assert [(s.accuracy, s.equal_bits, s.share) for s in found] == [(0.8, 400, 0.375)]
    with pytest.raises(ConfigError, match="points of one kind"):
        savings(points)


def test_choices_below_saturation():
    equal = [SizePoint("equal", b, {}, 100 * b, a) for b, a in ((2, 0.5), (4, 0.8), (9, 0.9))]
    allocated = [
        SizePoint("allocated", b, {}, size, a)
        for b, size, a in ((1, 150, 0.5), (3, 210, 0.83), (5, 300, 0.86), (7, 310, 0.896))
    ]
    points = [*equal, *allocated]
    # 0.896 is saturated, 0.5 is no use; 0.83 needs 550 equal bits and 0.86 needs 700
    assert best_saving(points, 0.9) == max(
        (s for s in savings(points) if s.accuracy in (0.83, 0.86)), key=lambda s: s.share
    )
    assert best_saving(points, 0.9, saturated=0.05).accuracy == 0.83
    assert best_saving(points, 2.0) is None
    assert smallest_within(points, 0.9, 0.05).size_bits == 300
    assert smallest_within(points, 0.9, 0.001) is None
