"""Memory shared by tensors: what is read stays right, and memory stays below its bound."""

import numpy as np
import pytest

from tests.interpreter.test_tape import all_tensors, images, network
from tfxp.errors import ModelError
from tfxp.interpreter import Interpreter
from tfxp.interpreter.arena import Arena


def test_pieces_go_to_tensors_that_do_not_live_together(rng):
    """Random graphs: no tensor that is still read ever changes; the pieces are few."""
    for _ in range(20):
        count = 30
        reads = [set(rng.integers(0, max(1, t), 2).tolist()) if t else set() for t in range(count)]
        last = {t: max((p for p in range(count) if t in reads[p]), default=-1)
                for t in range(count)}  # fmt: skip
        arena, kept = Arena(last), {}
        for position in range(count):
            for tensor in reads[position]:
                assert (kept[tensor] == tensor).all() and tensor not in arena.lost
            content = np.full(int(rng.integers(1, 50)), position, np.int32)
            kept[position] = arena.place(position, content)
            arena.release(position)
        for tensor in set(range(count)) - arena.lost:
            assert (kept[tensor] == tensor).all()
        assert len(arena.lost) > count // 4


def test_reading_what_is_gone_repeats_the_run_and_counts_nothing(rng):
    runner = Interpreter(network(rng))
    slow = Interpreter(runner.graph, engine="reference")
    x = images(rng, 3)
    for image in x:
        got, want = all_tensors(runner, image), all_tensors(slow, image)
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(a, b)
    assert runner._tape._arena.lost
    assert runner.report().to_dict() == slow.report().to_dict()


def test_what_is_gone_cannot_be_read_after_an_input_was_set(rng):
    runner, x = Interpreter(network(rng)), images(rng, 2)
    all_tensors(runner, x[0])
    gone = min(runner._tape._arena.lost)
    runner.set_tensor(0, x[0])
    runner.invoke()
    runner.set_tensor(0, x[1])
    with pytest.raises(ModelError, match="run invoke"):
        runner.get_tensor(gone)
    runner.get_tensor(runner.graph.outputs[0])  # outputs stay
    runner.invoke()
    runner.get_tensor(gone)
