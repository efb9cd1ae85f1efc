"""Bad data through every tool: one sentence that names what is wrong, and nothing written."""

import json
import os
import re
import time

import numpy as np
import pytest

import tfxp
from tests.forked import Forked, run_tool
from tfxp import files
from tfxp.keras import keras, layers, tf
from tfxp.training import TrainingRecipe
from tools import export_tflite, measure_model, quantize_model, train_model

COUNT = 24


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    """A network of pictures and one of rows, in float and in 8 bits, with a recipe each."""
    made = tmp_path_factory.mktemp("nets")
    for name, shape in (("pictures", (8, 8, 3)), ("rows", (4,))):
        keras.utils.set_random_seed(0)
        x = keras.Input(shape, name="x")
        model = keras.Model(x, layers.Dense(2, name="out")(layers.Flatten(name="flat")(x)))
        model.save(made / f"{name}.keras")
        sample = np.random.default_rng(0).normal(size=(8, *shape)).astype(np.float32)
        tfxp.quantize_model(model, "w8a8", tfxp.measure_model(model, sample)).save(
            made / f"{name}_q.keras"
        )
        recipe = TrainingRecipe({"file": str(made / f"{name}.keras")}, epochs=1, batch_size=8)
        recipe.save(made / f"{name}.json")
    return made


def as_pictures(made):
    draws = np.random.default_rng(0)
    for number in range(COUNT):
        picture = tf.io.encode_jpeg(draws.integers(0, 255, (8, 8, 3)).astype(np.uint8))
        tf.io.write_file(f"{made}/set/{'ab'[number % 2]}/{number}.jpg", picture)
    (made / "steps.json").write_text('{"schema": 1, "scale": 0.01}')
    return f"{made}/set", "pictures"


def as_records(made, without=None):
    with tf.io.TFRecordWriter(f"{made}/set.tfrecord") as file:
        for number in range(COUNT):
            row = tf.train.Feature(float_list=tf.train.FloatList(value=[1.0, 2.0, 3.0, number]))
            label = tf.train.Feature(int64_list=tf.train.Int64List(value=[number % 2]))
            feature = {"v": row, "label": label}
            if number == without:
                del feature["v"]
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            file.write(example.SerializeToString())
    features = {"v": {"shape": [4], "role": "x"},
                "label": {"shape": [], "type": "int64", "role": "y"}}  # fmt: skip
    (made / "steps.json").write_text(json.dumps({"schema": 1, "features": features}))
    return f"{made}/set.tfrecord", "rows"


def as_arrays(made, ending, change=None):
    x = np.random.default_rng(0).normal(size=(COUNT, 4)).astype(np.float32)
    y = np.arange(COUNT) % 2
    if change is not None:
        change(x, y)
    (made / "steps.json").write_text('{"schema": 1}')
    if ending == "npz":
        np.savez(made / "x.npz", x=x, y=y)
    else:
        np.save(made / "x.npy", x)
        np.save(made / "y.npy", y)
    return f"{made}/x.{ending}", "rows"


def cut(path, share=0.5):
    with open(path, "r+b") as file:
        file.truncate(int(os.path.getsize(path) * share))


def corrupt_jpeg(made):
    given = as_pictures(made)
    cut(made / "set/b/9.jpg", 0.3)
    return given


def empty_class(made):
    given = as_pictures(made)
    (made / "set/c").mkdir()
    return given


def another_shape(made):
    given = as_pictures(made)
    tf.io.write_file(f"{made}/set/a/7.jpg", tf.io.encode_jpeg(np.zeros((9, 8, 3), np.uint8)))
    return given


def missing_feature(made):
    return as_records(made, without=17)


def ends_early(made):
    given = as_records(made)
    cut(made / "set.tfrecord", 0.6)
    return given


def not_a_number(made):
    return as_arrays(made, "npy", lambda x, y: x.__setitem__((19, 2), np.nan))


def truncated_npz(made):
    given = as_arrays(made, "npz")
    cut(made / "x.npz")
    return given


def truncated_npy(made):
    given = as_arrays(made, "npy")
    cut(made / "x.npy")
    return given


def label_out_of_range(made):
    return as_arrays(made, "npy", lambda x, y: y.__setitem__(21, 5))


BAD = {
    corrupt_jpeg: r"9\.jpg",
    empty_class: r"set/c': got no pictures",
    another_shape: r"7\.jpg.*got shape \(9, 8, 3\); expected \(8, 8, 3\)",
    missing_feature: r"record 17 of file '.*set\.tfrecord'.*v .*required",
    ends_early: r"set\.tfrecord.*cannot be read \(.*truncated record",
    not_a_number: r"x\.npy.*NaN or infinity in sample 19",
    truncated_npz: r"x\.npz.*only the beginning",
    truncated_npy: r"x\.npy.*cannot be read",
}
TOOLS = {
    measure_model: lambda nets, net, data: [f"--model={nets}/{net}.keras", f"--data={data}"],
    quantize_model: lambda nets, net, data: [f"--model={nets}/{net}.keras", f"--data={data}"],
    export_tflite: lambda nets, net, data: [
        f"--model={nets}/{net}_q.keras", f"--verify_data={data}"
    ],
    train_model: lambda nets, net, data: [f"--config={nets}/{net}.json", f"--train_data={data}"],
}  # fmt: skip
ENDINGS = {measure_model: ".json", quantize_model: ".keras", export_tflite: ".tflite"}


def complaint(tool, flags, capsys):
    """What a tool says when it fails, which has to be one sentence."""
    with pytest.raises(SystemExit) as done:
        tool.run([tool.__name__, *flags, "--noprogress"])
    error = capsys.readouterr().err
    said = [line for line in error.splitlines() if not re.search("warning:|^tfxp compiles", line)]
    assert done.value.code == 1 and len(said) == 1 and said[0].endswith("."), error
    return said[0]


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.__name__.split(".")[-1])
@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.__name__)
def test_every_tool_names_what_is_wrong_and_writes_nothing(bad, tool, nets, tmp_path, capsys):
    (tmp_path / "given").mkdir()
    data, net = bad(tmp_path / "given")
    output = tmp_path / f"new{ENDINGS.get(tool, '')}"
    flags = [*TOOLS[tool](nets, net, data), f"--output={output}",
             f"--preprocessing={tmp_path}/given/steps.json"]  # fmt: skip
    said = complaint(tool, flags, capsys)
    assert re.search(BAD[bad], said), said
    left = [path.name for path in output.rglob("*")] if output.is_dir() else []
    assert not output.is_file() and not set(left) - {".lock", "tensorboard"} - {
        name for name in left if name.startswith("events")
    }, left
    assert sorted(os.listdir(tmp_path)) in (["given"], ["given", "new"])


@pytest.mark.parametrize("tool", [quantize_model, train_model], ids=["quantize", "train"])
def test_labels_out_of_range(tool, nets, tmp_path, capsys):
    data, net = label_out_of_range(tmp_path)
    flags = [*TOOLS[tool](nets, net, data), f"--eval_data={data}", "--metric=accuracy"]
    flags = flags[:-1] if tool is train_model else flags
    output = tmp_path / f"new{ENDINGS.get(tool, '')}"
    said = complaint(tool, [*flags, f"--output={output}"], capsys)
    assert re.search(r"(?=.*sample 21 \(counted from 0\)).*got class 5", said), said
    assert not output.is_file() and not (output / "model.keras").exists()


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.__name__.split(".")[-1])
def test_outputs_that_cannot_be_written(tool, nets, tmp_path, capsys):
    data, net = as_arrays(tmp_path, "npy")
    (tmp_path / "file").write_text("kept")
    output = f"{tmp_path}/file/new{ENDINGS.get(tool, '')}"
    said = complaint(tool, [*TOOLS[tool](nets, net, data), f"--output={output}"], capsys)
    assert "file" in said and (tmp_path / "file").read_text() == "kept"


def written_slowly(flag, *arguments):
    """A tool that waits before its file gets its name."""
    replace = os.replace

    def slow(source, target):
        open(flag, "w").close()
        time.sleep(60)
        replace(source, target)

    files.os.replace = slow
    run_tool(*arguments)


@pytest.mark.parametrize("name", ["measure_model", "quantize_model"])
def test_killed_while_it_writes(name, nets, tmp_path):
    """SIGKILL leaves the older file whole; the same command afterwards replaces it."""
    data, net = as_arrays(tmp_path, "npy")
    ending = {"measure_model": ".json", "quantize_model": ".keras"}[name]
    output, flag = tmp_path / f"new{ending}", tmp_path / "writing"
    output.write_text("older")
    flags = [name, f"--model={nets}/{net}.keras", f"--data={data}", f"--output={output}",
             "--noprogress"]  # fmt: skip
    process = Forked(written_slowly, [flag, *flags], tmp_path / "first")
    while process.running and not flag.exists():
        time.sleep(0.05)
    assert process.running, process.complaint()
    process.kill()
    assert output.read_text() == "older"
    Forked(run_tool, flags, tmp_path / "second").finish(300)
    assert output.stat().st_size > 100


REFUSALS = [MemoryError("Unable to allocate 2 TiB"),
            tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")]  # fmt: skip


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda one: type(one).__name__)
def test_too_little_memory_is_one_sentence(nets, tmp_path, monkeypatch, capsys, refusal):
    """Raised by hand: under a real limit TensorFlow may also end by a signal where it wants a
    thread or a scratch buffer."""

    def refused(*_args, **_kwargs):
        raise refusal

    monkeypatch.setattr(tfxp, "quantize_model", refused)
    np.savez(tmp_path / "x.npz", x=np.zeros((16, 4), np.float32))
    keras.Sequential([layers.Dense(2, input_shape=(4,))]).save(tmp_path / "net.keras")
    with pytest.raises(SystemExit) as ended:
        run_tool("quantize_model", f"--model={tmp_path}/net.keras", f"--data={tmp_path}/x.npz",
                 f"--output={tmp_path}/q.keras")  # fmt: skip
    said = capsys.readouterr().err.splitlines()
    assert ended.value.code == 1 and "out of memory" in said[-1], said
    assert "Traceback" not in "".join(said) and not (tmp_path / "q.keras").exists()
