"""Integer LSTM and SVDF against LiteRT, over several calls, so that the state counts."""

import itertools

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter as LiteRT

from tests.interpreter.litert_oracle import RESOLVERS, Model, T, draw
from tfxp.interpreter import Interpreter

ARITHMETICS = ("builtin", "litert")


def check_calls(case, arithmetic, rng, calls=3):
    content = case.bytes()
    theirs = LiteRT(
        model_content=content, experimental_op_resolver_type=RESOLVERS[arithmetic], num_threads=1
    )
    mine = Interpreter(model_content=content, arithmetic=arithmetic)
    for runner in (theirs, mine):
        runner.allocate_tensors()
    for _ in range(calls):
        x = draw(case.fed[0], rng)
        results = []
        for runner in (theirs, mine):
            runner.set_tensor(runner.get_input_details()[0]["index"], x)
            runner.invoke()
            results.append(runner.get_tensor(runner.get_output_details()[0]["index"]))
        assert (results[0] == results[1]).all()


def lstm(rng, cifg, peephole, norm, projection, time_major, clip):
    cells, inputs, outputs, batch, steps = 6, 5, 4 if projection else 6, 2, 3

    def weights(rows, columns):
        data = rng.integers(-127, 128, (rows, columns))
        return T((rows, columns), "INT8", 0.01, 0, data=data)

    def wide(scale):
        return T((cells,), "INT16", scale, 0, data=rng.integers(-30000, 30000, cells))

    def bias(count):
        return T((count,), "INT32", 1e-4, 0, data=rng.integers(-2000, 2000, count))

    def gates(make, count=4):
        return [None if cifg and gate == 0 else make() for gate in range(count)]

    sides = (steps, batch) if time_major else (batch, steps)
    tensors = [T((*sides, inputs), "INT8", 0.02, 3)]
    tensors += gates(lambda: weights(cells, inputs)) + gates(lambda: weights(cells, outputs))
    tensors += gates(lambda: wide(2.0**-14), 3) if peephole else [None] * 3
    tensors += gates(lambda: bias(cells))
    tensors += [weights(outputs, cells), bias(outputs)] if projection else [None, None]
    tensors += [
        T((batch, outputs), "INT8", 0.008, -5, variable=True),
        T((batch, cells), "INT16", 2.0**-11, 0, variable=True),
    ]
    tensors += gates(lambda: wide(3e-5)) if norm else []
    scratch = [T((0,), "INT16", 1.3e-4 if norm else 2.0**-12) for _ in range(4)]
    scratch.append(T((0,), "INT8", 0.008, 7 if projection else -5))
    options = dict(
        fusedActivationFunction=4, timeMajor=time_major, cellClip=clip, projClip=clip / 4
    )
    output = T((*sides, outputs), "INT8", 0.008, -5)
    return Model(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        tensors,
        [output],
        "UnidirectionalSequenceLSTMOptions",
        options,
        2,
        scratch,
    )


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize(
    ("cifg", "peephole", "norm", "projection"), itertools.product((False, True), repeat=4)
)
def test_lstm(cifg, peephole, norm, projection, arithmetic, rng):
    for time_major, clip in ((False, 0.0), (True, 0.0), (False, 2.0)):
        case = lstm(rng, cifg, peephole, norm, projection, time_major, clip)
        check_calls(case, arithmetic, rng)


@pytest.mark.parametrize("skip", [True, False])
def test_products_of_an_lstm_are_counted(skip, rng):
    """Every product of a code with a weight, one by one; what comes back is read again."""
    case = lstm(rng, True, False, False, False, False, 0.0)
    for matrix in case.inputs[2:9]:
        if matrix is not None:
            matrix.data = matrix.data * (rng.random(matrix.shape) < 0.7)
    runner = Interpreter(model_content=case.bytes(), skip_zeros=skip)
    runner.allocate_tensors()
    x = draw(case.fed[0], rng)
    x[rng.random(x.shape) < 0.4] = case.inputs[0].zero
    runner.set_tensor(0, x)
    runner.invoke()
    y = runner.get_tensor(runner.get_output_details()[0]["index"])
    (row,) = runner.report().rows
    before = np.concatenate([np.full_like(y[:, :1], -5), y[:, :-1]], axis=1)
    expected = dict.fromkeys(("total", "executed", "weight", "zeros", "low", "high"), 0)
    for codes, zero, matrices, biases in (
        (x, 3, case.inputs[2:5], case.inputs[13:16]),
        (before, -5, case.inputs[6:9], [None] * 3),
    ):
        for image, step in itertools.product(range(2), range(3)):
            expected["zeros"] += int(sum(code == zero for code in codes[image, step]))
            for matrix, bias in zip(matrices, biases, strict=True):
                for number, weights in enumerate(matrix.data):
                    total = 0 if bias is None else int(bias.data[number])
                    for code, weight in zip(codes[image, step], weights, strict=True):
                        total += (int(code) - zero) * int(weight)
                        expected["total"] += 1
                        expected["weight"] += int(weight == 0)
                        expected["executed"] += int(weight != 0 and code != zero)
                    expected["low"] = min(expected["low"], total)
                    expected["high"] = max(expected["high"], total)
    seen = row.counters
    assert (seen.macs_total, seen.input_zeros) == (expected["total"], expected["zeros"])
    assert (seen.accumulator_min, seen.accumulator_max) == (expected["low"], expected["high"])
    assert seen.macs_executed == expected["executed" if skip else "total"]
    assert seen.macs_skipped_weight == (expected["weight"] if skip else 0)
    assert seen.output_zeros == (y == -5).sum() and seen.output_elements == y.size
    assert seen.bits_dense == 8 * (x.size + before.size + y.size)
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM " in str(runner.report())


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("with_bias", [True, False])
def test_svdf(rank, with_bias, arithmetic, rng):
    filters, memory, inputs, batch = 12, 5, 7, 2
    units = filters // rank
    tensors = [
        T((batch, inputs), "INT8", 0.05, 4),
        T((filters, inputs), "INT8", 0.01, data=rng.integers(-127, 128, (filters, inputs))),
        T((filters, memory), "INT16", 1e-4, data=rng.integers(-30000, 30000, (filters, memory))),
        T((units,), "INT32", 1e-6, data=rng.integers(-2000, 2000, units)) if with_bias else None,
        T((batch, memory * filters), "INT16", 0.001, variable=True),
    ]
    options = {"rank": rank, "fusedActivationFunction": 1}
    output = T((batch, units), "INT8", 0.02, -3)
    check_calls(Model("SVDF", tensors, [output], "SVDFOptions", options, 3), arithmetic, rng, 8)


def test_reset_clears_the_state(rng):
    case = lstm(rng, False, False, False, False, False, 0.0)
    runner = Interpreter(model_content=case.bytes())
    runner.allocate_tensors()
    runner.set_tensor(0, draw(case.fed[0], rng))
    results = []
    for reset in (False, True):
        if reset:
            runner.reset_all_variables()
        runner.invoke()
        results.append(runner.get_tensor(runner.get_output_details()[0]["index"]))
    runner.invoke()
    assert (results[0] == results[1]).all()
    assert (runner.get_tensor(runner.get_output_details()[0]["index"]) != results[1]).any()
    assert np.asarray(results).any()
