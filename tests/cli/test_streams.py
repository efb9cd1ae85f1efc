"""Tools on folders of pictures: the whole job, and one sentence for what is wrong."""

import json
import re
import shutil

import numpy as np
import pytest

import tfxp
from tfxp.data.preprocessing import preprocessing_of
from tfxp.keras import keras, layers, tf
from tools import export_tflite, measure_model, quantize_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of two classes, a network, and how pictures become its inputs."""
    made, draws = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for label, name in enumerate(("dark", "light")):
        for number in range(12):
            grey = draws.integers(0, 100, (9, 10, 3)) + 150 * label
            picture = tf.io.encode_jpeg(grey.astype(np.uint8))
            tf.io.write_file(f"{made}/set/{name}/{number}.jpg", picture)
    keras.utils.set_random_seed(0)
    x = keras.Input((8, 8, 3), name="image")
    y = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(x))
    keras.Model(x, layers.Dense(2)(y)).save(made / "net.keras")
    steps = {"schema": 1, "image": {"resize": [8, 8]}, "scale": 1 / 256}
    (made / "steps.json").write_text(json.dumps(steps))
    return made


def run(tool, folder, *flags):
    with pytest.raises(SystemExit) as done:
        tool.run([tool.__name__, *flags, "--noprogress"])
    return done.value.code


def test_the_whole_job(folder, capsys):
    given = f"--data={folder}/set", f"--preprocessing={folder}/steps.json"
    stats, qmodel, file = (f"{folder}/{n}" for n in ("stats.json", "q.keras", "q.tflite"))
    model = f"--model={folder}/net.keras"
    assert not run(measure_model, folder, model, *given, f"--output={stats}")
    assert not run(
        quantize_model, folder, model, *given, f"--output={qmodel}", f"--eval_data={folder}/set",
        f"--train_data={folder}/set", "--epochs=1", "--batch_size=8", "--metric=auc",
        "--teacher_weight=0.5",
    ), capsys.readouterr().err  # fmt: skip
    assert "fine-tuned: auc" in capsys.readouterr().out
    assert not run(
        export_tflite, folder, f"--model={qmodel}", f"--output={file}",
        f"--verify_data={folder}/set",
    )  # fmt: skip
    assert "24 samples, 48 output elements compared" in capsys.readouterr().out
    kept = preprocessing_of(tfxp.load_model(qmodel))
    assert kept.image.resize == (8, 8) and kept.scaling.scale == (1 / 256,)
    notes = json.loads(tfxp.read_tflite(file).metadata["tfxp"])
    assert notes["preprocessing"] == kept.to_dict()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda made: (made / "set/dark/3.jpg").write_bytes(b"\xff\xd8\xff"),
            r"dark/3.jpg' .*read",
        ),
        (lambda made: (made / "set/none").mkdir(), r"set/none': got no pictures"),
        (lambda made: (made / "steps.json").write_text('{"schema": 1}'), r"got shape \(9, 10, 3\)"),
    ],
)
def test_one_sentence_and_nothing_written(folder, tmp_path, capsys, damage, message):
    made = tmp_path / "copy"
    shutil.copytree(folder, made)
    damage(made)
    given = f"--data={made}/set", f"--preprocessing={made}/steps.json"
    code = run(
        measure_model, made, f"--model={made}/net.keras", *given, f"--output={tmp_path}/new.json"
    )
    error = capsys.readouterr().err
    assert code == 1 and error.count("\n") <= 2, error
    assert re.search(message, error), error
    assert not (tmp_path / "new.json").exists()
