"""What export writes: metadata, options, whole files or none, refusals, integers in every form."""

import importlib
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter as LiteRT

import tfxp
from tests.cases import built, inputs_of, randomize
from tests.parity.compare import Trio, run
from tfxp.errors import DataError, ExportError, OutputError
from tfxp.export import c_header, integer_graph_of, save_c_header, save_npz, verify_graph
from tfxp.formats import encode, parse_format
from tfxp.graph import read_tflite, write_tflite
from tfxp.interpreter import Interpreter
from tfxp.keras import keras, layers
from tfxp.precision import LayerPrecision, PrecisionMap


def network():
    x = inputs = keras.Input((8, 6, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(x)
    x = layers.DepthwiseConv2D(3, use_bias=False, depth_multiplier=2, name="deep")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return randomize(keras.Model(inputs, layers.Dense(5, activation="softmax", name="head")(x)))


@pytest.fixture(scope="module")
def setting():
    model = network()
    x = inputs_of(model, 24)
    stats = tfxp.measure_model(model, x)
    return model, tfxp.quantize_model(model, "w4a6c", stats), x, stats


@pytest.fixture(scope="module")
def graph(setting):
    return integer_graph_of(setting[1])


def tensor(graph, name):
    return next(t for t in graph.tensors if t.name == name)


# --- the file ------------------------------------------------------------------------------------


def test_report_and_verification(setting, tmp_path):
    _, qmodel, x, _ = setting
    path = tmp_path / "new" / "model.tflite"
    seen = []
    report = tfxp.export_tflite(qmodel, path, verify=x, progress=lambda *done: seen.append(done))
    content = path.read_bytes()
    assert report.tflite_bytes == len(content) and report.storage == "INT8" and report.notes == ()
    floats = 3 * 3 * 3 * 4 + 4 + 3 * 3 * 8 + 8 * 5 + 5
    assert report.float_bytes == 4 * floats
    found = report.verification
    assert (found.samples, found.elements) == (24, 24 * 5) and found.exact
    assert (found.mismatches_between, found.max_abs_lsb, found.litert_error) == (0, 0, "")
    assert seen[-1] == (24, 24)
    figures = json.loads(json.dumps(report.to_dict()))
    for key in ("samples", "elements", "mismatches_interpreter", "mismatches_litert",
                "max_abs_lsb", "tflite_bytes", "float_bytes", "notes"):  # fmt: skip
        assert key in figures


def test_metadata_tells_every_format(setting, graph):
    _, qmodel, _, _ = setting
    again = read_tflite(write_tflite(graph))
    content = json.loads(again.metadata["tfxp"])
    assert content["schema"] == 1
    precision = PrecisionMap.from_dict(content["precision"])
    assert precision.to_dict() == tfxp.precision_of(qmodel).to_dict()
    for name, text in content["tensors"].items():
        formats = [parse_format(part) for part in text.split(", ")]
        if "/" not in name:
            found = tensor(again, name)
            assert float(found.scale) == formats[0].scale
            assert found.zero_point == 127 - formats[0].qmax
    assert set(content["tensors"]) >= {"image", "conv", "deep", "mean", "head", "conv/kernel"}


def test_signature_names_inputs_and_outputs(setting, graph):
    _, _, x, _ = setting
    engine = LiteRT(model_content=write_tflite(graph))
    runner = engine.get_signature_runner()
    assert list(runner.get_input_details()) == ["image"]
    assert len(runner.get_output_details()) == 1
    shared = built("shared_two_outputs")
    qmodel = tfxp.quantize_model(shared, "w8a8", tfxp.measure_model(shared, inputs_of(shared, 4)))
    (signature,) = integer_graph_of(qmodel).signatures
    assert len(signature.outputs) == 2 and len(set(signature.outputs.values())) == 2


def test_batches_of_any_size(setting, graph):
    _, _, x, _ = setting
    content = write_tflite(graph)
    codes = (
        encode(x, parse_format(_formats(graph)["image"]))
        + graph.tensors[graph.inputs[0]].zero_point
    )
    together = run(LiteRT(model_content=content), [codes.astype(np.int8)])[0]
    for engine in (LiteRT(model_content=content), Interpreter(content)):
        single = [run(engine, [codes[i : i + 1].astype(np.int8)])[0] for i in range(3)]
        assert np.array_equal(np.concatenate(single), together[:3])


def _formats(graph):
    return json.loads(graph.metadata["tfxp"])["tensors"]


def test_softmax_is_written_when_asked_for(setting, tmp_path):
    _, qmodel, x, _ = setting
    report = tfxp.export_tflite(qmodel, tmp_path / "s.tflite", softmax=True, verify=x)
    assert report.verification.exact  # of the logits
    content = (tmp_path / "s.tflite").read_bytes()
    result = read_tflite(content)
    output = result.tensors[result.outputs[0]]
    assert result.operators[-1].name == "SOFTMAX"
    assert (output.scale, output.zero_point) == (2.0**-8, -128)
    source = result.tensors[result.inputs[0]]
    fmt = parse_format(_formats(result)["image"])
    codes = (encode(x, fmt) + source.zero_point).astype(np.int8)
    ours = run(Interpreter(content), [codes])[0]
    theirs = run(LiteRT(model_content=content), [codes])[0]
    assert np.array_equal(ours, theirs)
    real = (theirs.astype(np.float64) + 128) / 256
    assert np.abs(real - qmodel.predict(x, verbose=0)).max() <= 1.5 / 256


def test_logits_by_default(graph):
    names = [operator.name for operator in graph.operators]
    assert names[0] == "CONV_2D" and names[-1] in ("FULLY_CONNECTED", "MINIMUM", "MAXIMUM")


def test_int4_is_packed(setting, tmp_path):
    _, qmodel, x, _ = setting
    plain = tfxp.export_tflite(qmodel, tmp_path / "plain.tflite")
    packed = tfxp.export_tflite(qmodel, tmp_path / "packed.tflite", pack_int4=True, verify=x)
    assert packed.tflite_bytes < plain.tflite_bytes and not plain.notes
    assert any("INT4" in note for note in packed.notes)
    first = read_tflite((tmp_path / "plain.tflite").read_bytes())
    second = read_tflite((tmp_path / "packed.tflite").read_bytes())
    for name in ("conv/kernel", "deep/kernel", "head/kernel"):
        assert (tensor(first, name).type, tensor(second, name).type) == ("INT8", "INT4")
        # A portable file has room for half a step below the last bit, a packed one has not.
        assert np.array_equal(tensor(first, name).data, 4 * tensor(second, name).data)
    report = tfxp.export_tflite(qmodel, tmp_path / "again.tflite", pack_int4=True)
    assert report.tflite_bytes == packed.tflite_bytes


def test_16_bit_storage(setting, tmp_path):
    model, _, x, stats = setting
    qmodel = tfxp.quantize_model(model, "w8a16", stats)
    report = tfxp.export_tflite(qmodel, tmp_path / "a16.tflite", verify=x)
    assert report.storage == "INT16" and report.verification.mismatches_between == 0
    assert "wider than 8 bits" in report.notes[0]
    graph = read_tflite((tmp_path / "a16.tflite").read_bytes())
    assert tensor(graph, "conv/bias").type == "INT64" and tensor(graph, "conv").zero_point == 0


def test_wide_weights_run_in_the_interpreter_only(setting, tmp_path):
    model, _, x, stats = setting
    qmodel = tfxp.quantize_model(model, "w12a8", stats)
    wanted = r"runtime='tfxp'(.|\n)*conv: its weights are stored as INT16"
    with pytest.raises(ExportError, match=wanted):
        tfxp.export_tflite(qmodel, tmp_path / "w12.tflite", verify=x)
    assert not (tmp_path / "w12.tflite").exists()
    report = tfxp.export_tflite(qmodel, tmp_path / "w12.tflite", verify=x, runtime="tfxp")
    assert "LiteRT does not run the file" in report.notes[-1]
    assert report.verification.mismatches_litert == -1 and report.verification.litert_error
    assert report.verification.max_abs_lsb <= 1  # as its note says


# --- whole or not at all -------------------------------------------------------------------------


def test_everything_unexportable_is_listed_and_nothing_written(setting, tmp_path):
    model, _, _, stats = setting
    rules = {
        "image": LayerPrecision(activations="float"),
        "conv": LayerPrecision(weights=20),
        "deep": LayerPrecision(weights="float", activations=20),
    }
    qmodel = tfxp.quantize_model(model, PrecisionMap(layers=rules), stats)
    path = tmp_path / "model.tflite"
    path.write_bytes(b"precious")
    with pytest.raises(ExportError) as error:
        tfxp.export_tflite(qmodel, path)
    text = str(error.value)
    for part in ("image: activations are float", "conv: weights have 20 bits",
                 "deep: activations have 20 bits", "deep: weights are float"):  # fmt: skip
        assert part in text
    assert path.read_bytes() == b"precious" and list(tmp_path.iterdir()) == [path]


def test_unsigned_16_bits_are_refused(setting):
    model, _, _, stats = setting
    rules = {"conv": LayerPrecision(activations="UQ8.8")}
    with pytest.raises(ExportError, match="conv: activations are UQ8.8; int16 storage"):
        integer_graph_of(tfxp.quantize_model(model, PrecisionMap(layers=rules), stats))


def test_bad_verification_data_leaves_the_file_alone(setting, tmp_path):
    _, qmodel, x, _ = setting
    path = tmp_path / "model.tflite"
    path.write_bytes(b"precious")
    for data in (x[:0], [x, x[:3]], []):
        with pytest.raises(DataError):
            tfxp.export_tflite(qmodel, path, verify=data)
    assert path.read_bytes() == b"precious" and list(tmp_path.iterdir()) == [path]


def test_unwritable_paths_are_refused_before_any_work(setting, tmp_path, monkeypatch):
    _, qmodel, _, _ = setting
    module = importlib.import_module("tfxp.export.export_tflite")
    monkeypatch.setattr(module, "read_network", lambda _: pytest.fail("worked"))
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "model.tflite"):
        with pytest.raises(OutputError):
            tfxp.export_tflite(qmodel, path)


def test_verification_finds_what_differs(setting):
    """A wrong kernel, a wrong rounding of Keras: the comparison must notice."""
    _, qmodel, x, _ = setting
    forms = Trio(qmodel)
    graph = integer_graph_of(qmodel)
    fmt = parse_format(_formats(graph)["image"])

    def logits(batch):
        return [np.asarray(t) for t in forms._run(batch[0])[1]]

    assert verify_graph(logits, graph, [fmt], x).exact
    kernel = tensor(graph, "head/kernel")
    kernel.data = kernel.data.copy()
    kernel.data[0, 0] += 3
    found = verify_graph(logits, graph, [fmt], x)
    assert found.mismatches_interpreter == found.mismatches_litert > 0
    assert found.mismatches_between == 0 and found.max_abs_lsb >= 1 and not found.exact


# --- integers ------------------------------------------------------------------------------------


def tflite_order(name, codes):
    if name == "conv":
        return codes.transpose(3, 0, 1, 2)
    return codes.reshape(1, 3, 3, -1) if name == "deep" else codes.T


def test_integer_weights_are_the_files(setting, graph):
    _, qmodel, _, _ = setting
    found = tfxp.integer_weights(qmodel)
    assert list(found) == ["conv", "deep", "head"]
    for name, layer in found.items():
        kernel = tensor(graph, f"{name}/kernel")
        assert np.array_equal(4 * tflite_order(name, layer.weights), kernel.data)
        assert np.array_equal(4 * kernel.quantization.scale, np.float32(layer.weight_scale))
        assert layer.weights.dtype == np.int8 and layer.zero_fraction == np.mean(layer.weights == 0)
        assert layer.channels == kernel.data.shape[3 if name == "deep" else 0]
        assert layer.weight_scale.size == len(layer.weight_formats) in (1, layer.channels)
        bias = tensor(graph, f"{name}/bias")
        wanted = np.zeros(8) if layer.bias is None else layer.bias
        assert set(np.unique(bias.data - 4 * wanted)) <= {0, 2}
    assert found["deep"].bias is None


def test_npz(setting, tmp_path):
    found = tfxp.integer_weights(setting[1])
    save_npz(tmp_path / "w.npz", found)
    data = np.load(tmp_path / "w.npz")
    formats = json.loads(str(data["formats"]))
    for name, layer in found.items():
        assert np.array_equal(data[f"{name}/weights"], layer.weights)
        assert np.array_equal(data[f"{name}/weight_scale"], layer.weight_scale)
        assert formats[name] == [str(fmt) for fmt in layer.weight_formats]
        assert (f"{name}/bias" in data) == (layer.bias is not None)
        if layer.bias is not None:
            assert np.array_equal(data[f"{name}/bias"] * data[f"{name}/bias_scale"],
                                  layer.bias * layer.bias_scale)  # fmt: skip


def test_integer_weights_of_float_kernels_are_refused(setting):
    model, _, _, stats = setting
    rules = {"conv": LayerPrecision("float"), "head": LayerPrecision("float")}
    with pytest.raises(ExportError, match="weights of conv, head: got float"):
        tfxp.integer_weights(tfxp.quantize_model(model, PrecisionMap(layers=rules), stats))


needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")


def printed(tmp_path, arrays):
    """What a C program that includes weights.h reads from its arrays."""
    prints = "".join(
        f'printf("{name}"); for (unsigned i = 0; i < sizeof {name} / sizeof *{name}; i++) '
        f'printf(" %lld", (long long){name}[i]); puts("");'
        for name in arrays
    )
    program = f'#include "weights.h"\n#include "weights.h"\n#include <stdio.h>\n' \
              f"int main(void) {{ {prints} return 0; }}"  # fmt: skip
    (tmp_path / "main.c").write_text(program)
    subprocess.run(
        ["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "main.c", "-o", "main"],
        cwd=tmp_path, check=True,
    )  # fmt: skip
    lines = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout
    return {line.split()[0]: [int(v) for v in line.split()[1:]] for line in lines.splitlines()}


@needs_gcc
def test_c_header_compiles_and_holds_the_same_numbers(setting, tmp_path):
    found = tfxp.integer_weights(setting[1])
    save_c_header(tmp_path / "weights.h", found)
    arrays = [f"{n}_weights" for n in found] + [f"{n}_bias" for n in found if n != "deep"]
    got = printed(tmp_path, arrays)
    for name, layer in found.items():
        assert got[f"{name}_weights"] == layer.weights.ravel().tolist()
        if layer.bias is not None:
            assert got[f"{name}_bias"] == layer.bias.ravel().tolist()


@needs_gcc
def test_c_header_with_awkward_names(tmp_path):
    inputs = keras.Input((3,))
    x = layers.Dense(3, name="a.b")(inputs)
    x = layers.Dense(3, name="a_b")(x)
    model = randomize(keras.Model(inputs, layers.Dense(2, name="1st")(x)))
    qmodel = tfxp.quantize_model(model, PrecisionMap.uniform("Q0.3", "Q2.5"))
    found = tfxp.integer_weights(qmodel)
    save_c_header(tmp_path / "weights.h", found)
    text = (tmp_path / "weights.h").read_text()
    names = re.findall(r"(\w+)\[\d+\]", text)
    assert len(names) == len(set(names)) == 6
    got = printed(tmp_path, names)
    for name, layer in zip(names[::2], found.values(), strict=True):
        assert got[name] == layer.weights.ravel().tolist()
    assert "FRACTIONAL_BITS (3)" in text and "format Q0.3" in c_header(found)


def test_slices_in_a_model_from_a_file_are_written(tmp_path):
    """Files keep an index as a named argument of lists and dictionaries."""
    x = inputs = keras.Input((6, 4))
    x = layers.Dense(4)(x)
    model = keras.Model(inputs, [x[:, 1:], x[:, ::2, 1:3], x[:, 0]])
    model.save(tmp_path / "model.keras")
    data = np.random.default_rng(0).normal(size=(8, 6, 4)).astype(np.float32)
    loaded = tfxp.load_model(tmp_path / "model.keras")
    qmodel = tfxp.quantize_model(loaded, "w8a8", tfxp.measure_model(loaded, data))
    report = tfxp.export_tflite(qmodel, tmp_path / "model.tflite", verify=data)
    assert report.verification.exact
