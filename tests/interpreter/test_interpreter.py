"""Interpreter: the calls of tf.lite.Interpreter, batches, threads, state, errors, start-up."""

import subprocess
import sys

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter as LiteRT

from tests.interpreter.litert_oracle import Model, T, draw
from tests.interpreter.mac_cases import Case
from tfxp.errors import (
    ConfigError,
    DataError,
    ModelError,
    TfliteFormatError,
    UnsupportedOpError,
)
from tfxp.graph import IntegerGraph, Operator, Quantization, Signature, Tensor, write_tflite
from tfxp.interpreter import Interpreter
from tfxp.interpreter.encoding import decode_output, encode_input
from tfxp.interpreter.executor import Settings, prepare


def network():
    """Convolution, pooling, reshape and a dense layer, made for one image."""
    rng = np.random.default_rng(5)
    graph = IntegerGraph(name="net")

    def tensor(name, shape, scale, zero, data=None, kind="INT8"):
        scheme = None if scale is None else Quantization(scale, np.full(np.size(scale), zero))
        return graph.add_tensor(Tensor(name, shape, kind, scheme, data))

    x = tensor("image", (1, 6, 6, 3), 0.05, 3)
    w = tensor("w", (4, 3, 3, 3), 0.01, 0, rng.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8))
    b = tensor("b", (4,), 0.0005, 0, rng.integers(-99, 99, 4).astype(np.int32), "INT32")
    y = tensor("y", (1, 6, 6, 4), 0.1, -4)
    pooled = tensor("pooled", (1, 3, 3, 4), 0.1, -4)
    size = tensor("size", (2,), None, 0, np.array([-1, 36], np.int32), "INT32")
    flat = tensor("flat", (1, 36), 0.1, -4)
    v = tensor("v", (5, 36), 0.02, 0, rng.integers(-127, 128, (5, 36)).astype(np.int8))
    c = tensor("c", (5,), 0.002, 0, rng.integers(-99, 99, 5).astype(np.int32), "INT32")
    z = tensor("score", (1, 5), 0.3, 7)
    convolution = {"padding": "SAME", "stride_h": 1, "stride_w": 1}
    pool = {"padding": "VALID", "stride_h": 2, "stride_w": 2, "filter_height": 2, "filter_width": 2}
    graph.add_operator(Operator("CONV_2D", [x, w, b], [y], convolution, version=3))
    graph.add_operator(Operator("MAX_POOL_2D", [y], [pooled], pool, version=2))
    graph.add_operator(Operator("RESHAPE", [pooled, size], [flat]))
    graph.add_operator(Operator("FULLY_CONNECTED", [flat, v, c], [z], {}, version=4))
    graph.inputs, graph.outputs = [x], [z]
    graph.signatures = [Signature("serve", {"image": x}, {"score": z})]
    return graph


@pytest.fixture
def runner():
    interpreter = Interpreter(network())
    interpreter.allocate_tensors()
    return interpreter


@pytest.fixture
def images(rng):
    return rng.integers(-128, 128, (11, 6, 6, 3)).astype(np.int8)


def litert_outputs(images):
    runner = LiteRT(model_content=write_tflite(network()))
    runner.allocate_tensors()
    rows = []
    for image in images:
        runner.set_tensor(runner.get_input_details()[0]["index"], image[None])
        runner.invoke()
        rows.append(runner.get_tensor(runner.get_output_details()[0]["index"]))
    return np.concatenate(rows)


def test_details_equal_litert(runner):
    other = LiteRT(model_content=write_tflite(network()))
    other.allocate_tensors()
    for mine, theirs in (
        (runner.get_input_details(), other.get_input_details()),
        (runner.get_output_details(), other.get_output_details()),
    ):
        assert len(mine) == len(theirs)
        for a, b in zip(mine, theirs, strict=True):
            assert a.keys() == b.keys()
            for key in ("name", "index", "dtype"):
                assert a[key] == b[key]
            assert a["quantization"] == pytest.approx(b["quantization"])
            np.testing.assert_array_equal(a["shape"], b["shape"])
            np.testing.assert_array_equal(a["shape_signature"], b["shape_signature"])
            for key in ("scales", "zero_points"):
                left, right = a["quantization_parameters"], b["quantization_parameters"]
                np.testing.assert_array_equal(left[key], right[key])
    assert runner.get_signature_list() == other.get_signature_list()


@pytest.mark.parametrize("engine", ["fast", "reference"])
@pytest.mark.parametrize("settings", [{}, {"batch_size": 3}, {"batch_size": 1}], ids=str)
def test_batches_of_any_size(engine, settings, images):
    interpreter = Interpreter(network(), engine=engine)
    expected = litert_outputs(images)
    np.testing.assert_array_equal(interpreter.predict_codes(images, **settings), expected)
    assert interpreter.predict_codes(images[:0]).shape == (0, 5)
    named = interpreter.predict_codes({"image": images})
    np.testing.assert_array_equal(named, expected)


@pytest.mark.parametrize(
    "elements, wanted", [(2**10, 32), (2**14, 16), (2**17, 4), (2**21, 2), (2**22, 1)]
)
def test_images_of_a_pass_by_the_memory_they_take(elements, wanted):
    x, y = (Tensor(name, (1, elements), "FLOAT32") for name in "xy")
    graph = IntegerGraph([x, y], [Operator("RELU", [0], [1])], [0], [1])
    assert prepare(graph, Settings("litert", "fast"), {}).images_per_pass() == wanted


def test_threads_give_the_same_codes_and_counts(images):
    one, four = Interpreter(network()), Interpreter(network(), threads=4)
    np.testing.assert_array_equal(one.predict_codes(images), four.predict_codes(images))
    assert one.report() == four.report()
    assert [row.counters.runs for row in one.report().rows] == [11, 11]


def test_resize_runs_a_batch_in_one_invoke(runner, images):
    runner.resize_tensor_input(0, (11, 6, 6, 3))
    runner.allocate_tensors()
    assert runner.get_output_details()[0]["shape"].tolist() == [11, 5]
    assert runner.report().macs_total == 0, "finding out shapes is not counted"
    runner.set_tensor(0, images)
    runner.invoke()
    np.testing.assert_array_equal(runner.get_tensor(9), litert_outputs(images))


def test_signature_runner(runner, images):
    serve = runner.get_signature_runner("serve")
    assert list(serve.get_input_details()) == ["image"]
    np.testing.assert_array_equal(serve(image=images)["score"], litert_outputs(images))
    np.testing.assert_array_equal(serve(image=images[:1])["score"], litert_outputs(images[:1]))
    with pytest.raises(ConfigError, match=r"inputs of signature 'serve': got \['img'\]"):
        serve(img=images)
    with pytest.raises(ConfigError, match="Did you mean 'serve'"):
        runner.get_signature_runner("served")


def test_any_tensor_can_be_tapped(runner, images):
    runner.set_tensor(0, images[:1])
    runner.invoke()
    convolved, pooled = runner.get_tensor(3), runner.get_tensor(4)
    assert convolved.reshape(3, 2, 3, 2, 4).max((1, 3)).tolist() == pooled[0].tolist()
    assert runner.tensor(6)().shape == (1, 36)
    pooled[:] = 0
    assert runner.get_tensor(4).any(), "get_tensor gives a copy"


def test_report_adds_up(runner, images):
    runner.predict_codes(images)
    report = runner.report()
    assert [row.type for row in report.rows] == ["CONV_2D", "FULLY_CONNECTED"]
    assert report.macs_total == 11 * (6 * 6 * 9 * 3 * 4 + 36 * 5)
    figures = report.to_dict()
    parts = ("macs_executed", "macs_skipped_activation", "macs_skipped_weight")
    assert sum(figures[p] for p in parts) == figures["macs_total"] == report.macs_total
    assert len(figures["layers"]) == 2 and f"{report.macs_total:,}" in str(report)
    runner.reset_counters()
    assert runner.report().macs_total == 0


def test_wrong_calls_say_so(runner, images):
    with pytest.raises(DataError, match=r"value for input 'image': got float64 \(1, 6, 6, 3\)"):
        runner.set_tensor(0, images[:1] * 1.0)
    with pytest.raises(DataError, match=r"got int8 \(2, 6, 6, 3\); expected int8 \(1, 6, 6, 3\)"):
        runner.set_tensor(0, images[:2])
    with pytest.raises(DataError, match="expected a model input"):
        runner.set_tensor(3, images[:1])
    with pytest.raises(DataError, match=r"rows for input 'image': got int16"):
        runner.predict_codes(images.astype(np.int16))
    for fresh in (runner, Interpreter(network())):
        with pytest.raises(ModelError, match="run invoke"):
            fresh.get_tensor(3)
    with pytest.raises(ConfigError, match="arithmetic of Interpreter: got 'exact'"):
        Interpreter(network(), "exact")
    with pytest.raises(ConfigError, match="input_index"):
        runner.resize_tensor_input(3, (1, 1))
    with pytest.raises(ModelError, match="no model or two"):
        Interpreter()


def test_missing_operators_are_named_all_at_once():
    graph = network()
    graph.operators[1].name = "SEGMENT_SUM"
    graph.operators[2] = Operator("CUSTOM", [4], [6], custom_code="Mine")
    with pytest.raises(UnsupportedOpError) as caught:
        Interpreter(graph).allocate_tensors()
    assert "operator 1 (SEGMENT_SUM) has no kernel" in str(caught.value)
    assert "operator 2 (Mine) has no kernel" in str(caught.value)


@pytest.mark.parametrize(
    "change,text",
    [
        (lambda g: g.operators.reverse(), "which nothing has computed by then"),
        (lambda g: g.operators[0].outputs.__setitem__(0, 1), "a constant or a model input"),
        (lambda g: g.inputs.append(0), "expected each tensor once"),
        (
            lambda g: setattr(g.tensors[3], "shape", (1, 2**12, 2**12, 99)),
            "at most 16777216 elements",
        ),
        (lambda g: setattr(g.tensors[0], "shape", (1, 6, 6, 4)), "whole groups"),
        (lambda g: g.operators[0].inputs.pop(), "operator 1|bias|computed|allocate"),
        (lambda g: g.operators[0].options.update(stride_h=0), "expected 1 or more"),
        (lambda g: setattr(g.tensors[0].quantization, "zero_point", np.array([300])), "zero point"),
    ],
)
def test_graphs_that_cannot_be_meant(change, text):
    graph = network()
    change(graph)
    if text.startswith("operator 1|"):
        Interpreter(graph).allocate_tensors()  # a convolution without bias is no error here
        return
    with pytest.raises(TfliteFormatError, match=text):
        Interpreter(graph).allocate_tensors()


def test_state_lives_between_invokes_and_restarts_per_image(rng):
    """An SVDF layer: LiteRT keeps its state between invokes, and so does tfxp."""
    time, feature = T((4, 3), "INT16", 0.001), T((4, 8), "INT8", 0.01)
    for spec in (time, feature):
        spec.data = draw(spec, rng)
    bias = T((4,), "INT32", 0.0005, 0, [0] * 4)
    state = T((1, 12), "INT16", 0.005, variable=True)
    x, y = T((1, 8), "INT8", 0.05, 0), T((1, 4), "INT8", 0.05, 0)
    options = {"rank": 1, "fusedActivationFunction": 1}
    model = Model("SVDF", [x, feature, time, bias, state], [y], "SVDFOptions", options, 3)
    content = model.bytes()
    ours, other = Interpreter(model_content=content), LiteRT(model_content=content)
    images = rng.integers(-128, 128, (3, 1, 8)).astype(np.int8)
    rows = []
    for runner in (ours, other):
        runner.allocate_tensors()
        outputs = []
        for image in [*images, *images]:
            runner.set_tensor(runner.get_input_details()[0]["index"], image)
            runner.invoke()
            outputs.append(runner.get_tensor(runner.get_output_details()[0]["index"]))
        rows.append(np.concatenate(outputs))
    np.testing.assert_array_equal(*rows)
    fresh = ours.predict_codes(images[:, 0])
    np.testing.assert_array_equal(fresh[0], rows[0][0])
    ours.reset_all_variables()
    ours.set_tensor(ours.graph.inputs[0], images[2])
    ours.invoke()
    np.testing.assert_array_equal(ours.get_tensor(ours.graph.outputs[0])[0], fresh[2])


def test_encoding():
    tensor = Tensor("x", (1, 4), "INT8", Quantization([0.5], [10]))
    real = np.array([[0.0, 0.25, -0.75, 1e9]])
    assert encode_input(tensor, real).tolist() == [[10, 10, 8, 127]]  # ties to even
    codes = np.array([[1, 2, 3, 4]], np.int8)
    assert encode_input(tensor, codes) is codes
    assert encode_input(tensor, codes, "real").tolist() == [[12, 14, 16, 18]]
    assert encode_input(tensor, real[:, :1], "codes").dtype == np.int8
    with pytest.raises(DataError, match="expected whole numbers -128 to 127"):
        encode_input(tensor, np.array([[200]]), "codes")
    with pytest.raises(DataError, match="the input has no scale"):
        encode_input(Tensor("x", (1, 4), "INT8"), real)
    assert decode_output(tensor, codes).tolist() == [[-4.5, -4.0, -3.5, -3.0]]


def two_inputs():
    """A sum of two inputs in codes, and whole numbers that pass through."""
    graph = IntegerGraph(name="sum")
    scale = Quantization([0.5], [3])
    a, b, y = (graph.add_tensor(Tensor(n, (1, 4), "INT8", scale)) for n in ("a", "b", "y"))
    ids, same = (graph.add_tensor(Tensor(n, (1, 2), "INT32")) for n in ("ids", "same"))
    axis = graph.add_tensor(Tensor("axis", (2,), "INT32", data=np.array([1, 2], np.int32)))
    graph.add_operator(Operator("ADD", [a, b], [y], {}, version=2))
    graph.add_operator(Operator("RESHAPE", [ids, axis], [same]))
    graph.inputs, graph.outputs = [a, b, ids], [y, same]
    graph.signatures = [Signature("serve", {"left": a, "right": b, "id": ids}, {"sum": y})]
    return graph


def test_predict_takes_and_gives_real_values(rng):
    a, b = (rng.normal(0, 9, (5, 4)) for _ in range(2))
    ids = rng.integers(0, 1000, (5, 2))
    runner = Interpreter(two_inputs())
    real, whole = runner.predict([a, b, ids])
    on_grid = [np.clip(np.rint(part.astype(np.float32) / 0.5), -131, 124) * 0.5 for part in (a, b)]
    np.testing.assert_array_equal(real, np.clip(sum(on_grid), -65.5, 62))
    assert real.dtype == np.float32 and whole.dtype == np.int32
    np.testing.assert_array_equal(whole, ids)
    for names in (("b", "ids", "a"), ("right", "id", "left")):
        named = dict(zip(names, (b, ids, a), strict=True))
        np.testing.assert_array_equal(runner.predict(named, batch_size=2)[0], real)


def test_predict_is_codes_in_between(images):
    runner = Interpreter(network())
    source, target = runner.graph.tensors[0], runner.graph.tensors[runner.graph.outputs[0]]
    real = decode_output(source, images)
    expected = decode_output(target, litert_outputs(images))
    np.testing.assert_array_equal(runner.predict(real), expected)
    np.testing.assert_array_equal(runner.predict([real]), expected)
    np.testing.assert_array_equal(runner.predict(real.tolist()), expected)
    assert runner.predict(real[:0]).shape == (0, 5)


@pytest.mark.parametrize(
    "x,text",
    [
        ({"a": 0, "rigth": 1, "id": 2}, "got 'rigth'; expected .* Did you mean 'right'"),
        ({"a": np.zeros((2, 4)), "b": np.zeros((2, 4))}, r"got 2; expected all of \['a', 'b'"),
        ([np.zeros((2, 4))] * 2, "got 2; expected all of"),
        (np.zeros((2, 4)), "got 1; expected all of"),
        ([np.zeros((2, 4)), np.zeros((3, 4)), np.zeros((2, 2), int)], "expected the same number"),
        ([np.zeros((2, 4)), np.full((2, 4), np.nan), np.zeros((2, 2), int)], "'b': got NaN"),
        ([np.zeros((2, 4)), np.zeros((2, 5)), np.zeros((2, 2), int)], r"'b': got int8 \(2, 5\)"),
        ([np.zeros((2, 4)), np.zeros((2, 4)), np.full((2, 2), 0.5)], "whole numbers"),
    ],
)
def test_inputs_of_predict_that_cannot_be_meant(x, text):
    with pytest.raises(DataError, match=text):
        Interpreter(two_inputs()).predict(x)


def test_allocation_is_implied(images):
    assert Interpreter(network()).report().macs_total == 0
    runner = Interpreter(network())
    runner.set_tensor(0, images[:1])
    runner.invoke()
    np.testing.assert_array_equal(runner.get_tensor(9), litert_outputs(images[:1]))
    runner.resize_tensor_input(0, images.shape)
    runner.set_tensor(0, images)
    runner.invoke()
    np.testing.assert_array_equal(runner.get_tensor(9), litert_outputs(images))
    assert Interpreter(network()).get_tensor(1).shape == (4, 3, 3, 3), "constants are there"


def test_import_is_light():
    command = (
        "import time, sys; began = time.process_time(); import tfxp.interpreter; "
        "print(time.process_time() - began); "
        "print([m for m in ('tensorflow', 'numba', 'tf_keras') if m in sys.modules])"
    )
    seconds = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
        took, loaded = done.stdout.split("\n")[:2]
        assert loaded == "[]", done.stderr
        seconds.append(float(took))
    assert min(seconds) < 0.5


def test_counting_case_is_not_empty():
    """The shared table draws weights with zeros; a table without would test nothing."""
    assert 0.1 < np.mean(Case().weights() == 0) < 0.6
