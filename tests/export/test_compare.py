"""compare_models names the layer that was broken, in every seeded case and in every form."""

import copy
import json
import re

import numpy as np
import pytest

import tfxp
from tests.cases import built, inputs_of
from tfxp.comparison.compare import compare_traces
from tfxp.comparison.trace import trace_file, trace_interpreter, trace_runtime
from tfxp.errors import DataError
from tfxp.export import KerasTracer
from tfxp.graph import read_tflite, write_tflite
from tfxp.runtimes import RUNTIMES
from tools import compare_models

WEIGHTED = ("CONV_2D", "FULLY_CONNECTED", "DEPTHWISE_CONV_2D")


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """(folder with q.keras and q.tflite, quantized model, graph): a residual network."""
    folder = tmp_path_factory.mktemp("net")
    model = built("residual")
    stats = tfxp.measure_model(model, inputs_of(model, 32))
    qmodel = tfxp.quantize_model(model, "w5a6", stats)
    qmodel.save(folder / "q.keras")
    tfxp.export_tflite(qmodel, folder / "q.tflite")
    return folder, qmodel, read_tflite(folder / "q.tflite")


def operator_of(graph, rng, kinds=WEIGHTED):
    return rng.choice([op for op in graph.operators if op.name in kinds])


def flip_one_weight(graph, rng):
    """One code of one kernel is negated, or set to 1 if it is zero."""
    op = operator_of(graph, rng)
    kernel = graph.tensors[op.inputs[1]]
    kernel.data = kernel.data.copy()
    place = rng.integers(kernel.data.size)
    kernel.data.flat[place] = -kernel.data.flat[place] or 1
    return graph.tensors[op.outputs[0]].name


def flip_one_bias(graph, rng):
    op = operator_of(graph, rng)
    bias = graph.tensors[op.inputs[2]]
    bias.data = bias.data.copy()
    bias.data.flat[rng.integers(bias.data.size)] ^= 1 << int(rng.integers(8))
    return graph.tensors[op.outputs[0]].name


def double_the_kernel_scale(graph, rng):
    op = operator_of(graph, rng)
    graph.tensors[op.inputs[1]].quantization.scale *= rng.choice([0.5, 2.0])
    return graph.tensors[op.outputs[0]].name


def double_an_activation_scale(graph, rng):
    op = operator_of(graph, rng, (*WEIGHTED, "ADD"))
    graph.tensors[op.outputs[0]].quantization.scale *= rng.choice([0.5, 2.0])
    return graph.tensors[op.outputs[0]].name


def move_a_zero_point(graph, rng):
    op = operator_of(graph, rng, (*WEIGHTED, "ADD"))
    quantization = graph.tensors[op.outputs[0]].quantization
    lowest = quantization.zero_point.min() == -128  # which an int8 tensor cannot go below
    quantization.zero_point += rng.choice([1, 3] if lowest else [-1, 1, 3])
    return graph.tensors[op.outputs[0]].name


KINDS = [double_the_kernel_scale, flip_one_weight, move_a_zero_point, double_an_activation_scale,
         flip_one_bias]  # fmt: skip
CASES = [(seed, KINDS[seed % len(KINDS)]) for seed in range(10)]


def broken(graph, seed, how):
    """(graph with one broken layer, name of the tensor that the layer computes)."""
    spoilt = copy.deepcopy(graph)
    return spoilt, how(spoilt, np.random.default_rng(seed))


def run_tool(*flags):
    """(exit status, figures) of the tool, run in this process."""
    with pytest.raises(SystemExit) as ended:
        compare_models.run(["compare_models", *flags])
    return ended.value.code


@pytest.mark.parametrize(("seed", "how"), CASES, ids=lambda v: getattr(v, "__name__", str(v)))
def test_two_files_part_at_the_broken_layer(net, tmp_path, seed, how, capsys):
    folder, _, graph = net
    spoilt, name = broken(graph, seed, how)
    (tmp_path / "broken.tflite").write_bytes(write_tflite(spoilt))
    status = run_tool(f"--model={folder}/q.tflite", f"--against={tmp_path}/broken.tflite",
                      f"--json={tmp_path}/found.json", "--limit=2")  # fmt: skip
    assert status == 1
    found = json.loads((tmp_path / "found.json").read_text())["comparisons"]
    across = [c for c in found if "q.tflite" in c["engines"][0] and "broken" in c["engines"][1]]
    assert across and {c["first"] for c in across} == {name}
    assert f"part at {name!r}" in capsys.readouterr().out


@pytest.mark.parametrize(("seed", "how"), CASES, ids=lambda v: getattr(v, "__name__", str(v)))
def test_keras_and_its_file_part_at_the_broken_layer(net, seed, how):
    _, qmodel, graph = net
    tracer = KerasTracer(qmodel)
    spoilt, name = broken(graph, seed, how)
    inputs = tracer.random_inputs(2, np.random.default_rng(0))
    keras_run = tracer.trace(inputs)
    whole = compare_traces(keras_run, trace_interpreter(graph, tracer.codes(inputs)))
    assert whole.first() is None and len(whole.rows) == len(keras_run.tensors)
    found = compare_traces(keras_run, trace_interpreter(spoilt, tracer.codes(inputs)))
    assert found.first().name == name and found.first().notes


def test_values_alone_show_where_a_run_goes_wrong(net):
    """Two runs of equal files, one of them with a wrong result in the middle."""
    graph = net[2]
    feeds = [np.random.default_rng(1).integers(-20, 20, (2, 8, 6, 4)).astype(np.int8)]
    one, other = trace_interpreter(graph, feeds), trace_interpreter(graph, feeds, "other")
    add = next(t.name for t in other.tensors.values() if t.operator == "ADD")
    other.tensors[add].codes[1, 0, 0, 0] += 3
    first = compare_traces(one, other).first()
    assert (first.name, first.differing, first.max_lsb, first.notes) == (add, 1, 3, ())
    assert compare_traces(one, other).first(tolerance=3) is None
    text = compare_traces(one, other).sentence()
    assert text.startswith(f"interpreter and other part at {add!r} (ADD): 1 of ")


def test_the_engines_agree_on_an_exact_export(net, capsys):
    folder, _, graph = net
    assert run_tool(f"--model={folder}/q.keras", "--limit=3") == 0
    out = capsys.readouterr().out
    assert out.count("agree on all") == 3 and "LiteRT" in out
    assert run_tool(f"--model={folder}/q.keras", f"--against={folder}/q.tflite", "--limit=2") == 0
    feeds = [np.random.default_rng(1).integers(-20, 20, (2, 8, 6, 4)).astype(np.int8)]
    ours = trace_interpreter(graph, feeds)
    for runtime in ("litert", "compiled_model", "c"):
        theirs = trace_runtime(graph, feeds, RUNTIMES[runtime])
        assert ours.tensors.keys() == theirs.tensors.keys()
        assert compare_traces(ours, theirs).first() is None and theirs.engine


def test_a_scale_off_by_two_is_told_in_lsb(net):
    graph = net[2]
    spoilt = copy.deepcopy(graph)
    op = next(op for op in spoilt.operators if op.name == "CONV_2D")
    spoilt.tensors[op.outputs[0]].quantization.scale *= 2
    feeds = [np.random.default_rng(1).integers(-20, 20, (1, 8, 6, 4)).astype(np.int8)]
    first = compare_traces(
        trace_interpreter(graph, feeds), trace_interpreter(spoilt, feeds)
    ).first()
    assert "scale" in first.notes[0] and first.sentence().count("against") == 1


def test_a_file_that_does_not_run_is_compared_as_written(net, tmp_path, capsys):
    folder, _, graph = net
    spoilt = copy.deepcopy(graph)
    name = flip_one_weight(spoilt, np.random.default_rng(3))
    last = spoilt.operators[-1]
    spoilt.operators[-1] = type(last)("CUSTOM", last.inputs, last.outputs, custom_code="Mystery")
    (tmp_path / "broken.tflite").write_bytes(write_tflite(spoilt))
    status = run_tool(f"--model={folder}/q.tflite", f"--against={tmp_path}/broken.tflite",
                      "--limit=1")  # fmt: skip
    out = capsys.readouterr().out
    assert status == 1 and f"part at {name!r}" in out and "does not run" in out


def test_renamed_tensors_are_matched_by_position(net):
    graph = net[2]
    renamed = copy.deepcopy(graph)
    for number, tensor in enumerate(renamed.tensors):
        tensor.name = f"t{number}"
    one, other = trace_file(graph, "a"), trace_file(renamed, "b")
    found = compare_traces(one, other)
    assert len(found.rows) == len(one.tensors) and found.first() is None


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--against={folder}/other.tflite"], "got shapes .*; expected"),
        (["--nolitert"], "got one run of it; expected two to compare"),
        (["--data=missing.npz"], "missing.npz"),
    ],
)
def test_bad_input_is_one_sentence(net, flags, text, capsys):
    folder = net[0]
    model = built("dense")
    other = tfxp.quantize_model(model, "w8a8", tfxp.measure_model(model, inputs_of(model, 4)))
    tfxp.export_tflite(other, folder / "other.tflite")
    status = run_tool(f"--model={folder}/q.tflite", *[f.format(folder=folder) for f in flags])
    error = capsys.readouterr().err
    assert status == 1 and len(error.strip().splitlines()) == 1
    assert re.search(text, error)


def test_two_networks_have_nothing_to_compare(net):
    one = trace_file(net[2], "a")
    other = type(one)("b", {}, ())
    with pytest.raises(DataError, match="no tensor of the same name"):
        compare_traces(one, other)
