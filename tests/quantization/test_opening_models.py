"""Opening a model runs none of its code: configurations are read before anything is made."""

import json
import sys
import zipfile

import keras as keras3
import pytest

import tfxp
from tfxp.errors import ModelError
from tfxp.keras import keras, layers
from tfxp.quantization.code_in_models import code_in_config

SUFFIXES = (".h5", ".keras", "")
BYTECODE = "4wEAAAAAAAAAAAAAAAIAAAAD"


def leaves_mark(path):
    """A function that, when it runs, leaves a file behind."""
    name = str(path)
    return lambda x: (open(name, "w").close(), x)[1]  # noqa: SIM115


def chain(*steps, shape=(3, 2)):
    x = inputs = keras.Input(shape)
    for step in steps:
        x = step(x)
    return keras.Model(inputs, x)


def plain(mark):
    return chain(layers.Lambda(leaves_mark(mark), name="odd"))


def nested(mark):
    inner = keras.Sequential([layers.Lambda(leaves_mark(mark), name="odd", input_shape=(3, 2))])
    return chain(layers.Dense(2), inner)


def wrapped(mark):
    return chain(layers.TimeDistributed(layers.Lambda(leaves_mark(mark), name="odd")))


def shapes(mark):
    function = layers.Lambda(tf_identity, output_shape=leaves_mark(mark), name="odd")
    return chain(function)


def tf_identity(x):
    return x


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("network", [plain, nested, wrapped, shapes])
def test_lambdas_are_refused_before_they_run(tmp_path, network, suffix):
    mark, path = tmp_path / "mark", tmp_path / f"model{suffix}"
    network(mark).save(path)
    mark.unlink(missing_ok=True)
    with pytest.raises(ModelError, match=r"'odd' \(Lambda\): a Python function.*--unsafe") as info:
        tfxp.load_model(path)
    assert not mark.exists()
    assert "4w" not in str(info.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_trusted_files_run_their_code(tmp_path, suffix):
    mark, path = tmp_path / "mark", tmp_path / f"model{suffix}"
    plain(mark).save(path)
    mark.unlink()
    tfxp.load_model(path, safe_mode=False)
    assert mark.exists()


def test_a_named_function_of_the_users_own_is_no_code():
    config = {"name": "same", "function": "mine", "function_type": "function"}
    layer = {"class_name": "Lambda", "config": config}
    assert list(code_in_config(layer, {"other"})) == ["layer 'same' (Lambda): a Python function"]
    assert not list(code_in_config(layer, {"mine"}))


def test_bytecode_is_not_printed(tmp_path):
    model = chain(layers.Lambda(leaves_mark(tmp_path / "mark"), name="odd"))
    with pytest.raises(ModelError, match=r"odd \(Lambda\)") as info:
        tfxp.quantize_model(model, "w4a4")
    assert "4w" not in str(info.value)


def test_a_function_as_activation_is_refused(tmp_path):
    model = chain(layers.Dense(2, activation=leaves_mark(tmp_path / "mark"), name="odd"))
    model.save(tmp_path / "model.h5")
    with pytest.raises(ModelError, match=r"'odd' \(Dense\): a Python function"):
        tfxp.load_model(tmp_path / "model.h5")


def test_keras3_files_are_read_first_too(tmp_path):
    mark, path = tmp_path / "mark", tmp_path / "model.keras"
    inner = keras3.Sequential(
        [keras3.Input((3,)), keras3.layers.Lambda(leaves_mark(mark), (3,), name="odd")]
    )
    keras3.Sequential([keras3.Input((3,)), inner]).save(path)
    mark.unlink(missing_ok=True)
    with pytest.raises(ModelError, match=r"'odd' \(Lambda\)"):
        tfxp.load_model(path)
    assert not mark.exists()


def test_modules_are_not_imported(tmp_path, monkeypatch):
    """A file may name any module as the home of a class; it would be imported to look."""
    (tmp_path / "evil_module.py").write_text("raise SystemExit('imported')", "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    chain(layers.Dense(2, name="odd")).save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["config.json"] = parts["config.json"].replace(
        b'{"module": "keras.layers", "class_name": "Dense"',
        b'{"module": "evil_module", "class_name": "Dense"',
    )
    with zipfile.ZipFile(tmp_path / "evil.keras", "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(ModelError, match=r"class evil_module\.Dense"):
        tfxp.load_model(tmp_path / "evil.keras")
    assert "evil_module" not in sys.modules


@keras.utils.register_keras_serializable("opening")
class Reads(layers.Layer):
    """A layer whose function in a SavedModel reads a file."""

    def call(self, x):
        from tfxp.keras import tf

        return x + tf.cast(tf.strings.length(tf.io.read_file("/dev/null")), x.dtype)


def test_operations_that_reach_outside_are_refused(tmp_path):
    chain(Reads()).save(tmp_path / "model")
    with pytest.raises(ModelError, match="operation ReadFile, which reaches outside"):
        tfxp.load_model(tmp_path / "model")


@pytest.mark.parametrize(
    ("kind", "config", "module", "complaint"),
    [
        ("Dense", {"kernel_regularizer": {"class_name": "L2", "config": {}}}, "keras.layers", None),
        ("Functional", {}, "tf_keras.src.engine.functional", None),
        ("Add", {}, "keras.src.ops.numpy", None),
        ("Activation", {"activation": {"class_name": "function", "config": "gelu",
                                       "module": "builtins"}}, "keras.layers", None),
        ("TFOpLambda", {"function": "__operators__.add"}, None, None),
        ("TFOpLambda", {"function": "compat.v1.nn.relu"}, None, None),
        ("TFOpLambda", {"function": "io.write_file"}, None, "tf.io.write_file"),
        ("TFOpLambda", {"function": "raw_ops.WriteFile"}, None, "tf.raw_ops.WriteFile"),
        ("TFOpLambda", {"function": "py_function"}, None, "tf.py_function"),
        ("ClassMethod", {"cls_symbol": "saved_model.Asset"}, None, "tf.saved_model.Asset"),
        ("TFSMLayer", {"filepath": "elsewhere"}, "keras.layers", "another program"),
        ("Dense", {"activation": {"class_name": "function", "config": "system", "module": "os"}},
         "keras.layers", "function os.system"),
        ("Dense", {"activation": {"class_name": "function", "config": "os.system",
                                  "module": "tf_keras.src.layers"}}, None, "os.system"),
        ("Dense", {"activation": {"class_name": "function", "config": "get_file",
                                  "module": "keras.utils"}}, None, "keras.utils.get_file"),
        ("Dense", {"activation": {"class_name": "function", "config": "eval",
                                  "module": "builtins"}}, None, "builtins.eval"),
        ("Dense", {"activation": {"value": [BYTECODE, None, None]}}, None, "a Python function"),
        ("Mine", {}, "my_package", "class my_package.Mine"),
    ],
)  # fmt: skip
def test_what_is_code(kind, config, module, complaint):
    layer = {"class_name": kind, "config": {"name": "x", **config}}
    layer |= {} if module is None else {"module": module}
    whole = json.loads(json.dumps({"class_name": "Sequential", "config": {"layers": [layer]}}))
    found = list(code_in_config(whole, set()))
    assert (not found) if complaint is None else (len(found) == 1 and complaint in found[0]), found


def test_registered_classes_are_the_users_own():
    layer = {"class_name": "Mine", "config": {"name": "x"}, "module": "my_package"}
    assert not list(code_in_config(layer, {"Mine"}))
    assert not list(code_in_config({**layer, "registered_name": "pkg>Mine"}, {"pkg>Mine"}))
