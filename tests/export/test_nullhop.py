"""NullHop text files: written, read back, computed, and equal to the Keras model bit by bit."""

import numpy as np
import pytest

import tfxp
from tests.cases import randomize
from tfxp.assign import AdaptionAssigner
from tfxp.errors import DataError, ExportError
from tfxp.export import check_nullhop, load_nullhop, nullhop_network, run_nullhop, save_nullhop
from tfxp.keras import keras, layers


def chain(**options):
    x = inputs = keras.Input((9, 8, 2))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="a")(x)
    x = layers.MaxPooling2D(2, name="pool")(x)
    x = layers.Conv2D(3, 3, name="b", **options)(x)
    x = layers.Conv2D(2, 1, activation="relu", name="c")(x)
    return randomize(keras.Model(inputs, layers.Dense(3, name="head")(layers.Flatten()(x))))


@pytest.fixture(scope="module")
def net():
    """(float model, inputs, statistics)."""
    model = chain()
    x = np.random.default_rng(3).normal(size=(16, 9, 8, 2)).astype(np.float32)
    return model, x, tfxp.measure_model(model, x)


@pytest.mark.parametrize("placement", ["pre_activation", "post_activation"])
@pytest.mark.parametrize("bits", [(8, 8), (6, 7)])
def test_read_back_it_is_the_model(net, tmp_path, placement, bits):
    model, x, stats = net
    pmap = AdaptionAssigner(*bits, 0.0, 0.0, placement=placement).assign(stats).map
    qmodel = tfxp.quantize_model(model, pmap)
    path = tmp_path / "net.cnn"
    made = nullhop_network(qmodel, x[0])
    save_nullhop(path, made)
    loaded = load_nullhop(path)
    for one, other in zip(made.layers, loaded.layers, strict=True):
        assert np.array_equal(one.kernels, other.kernels)
        assert np.array_equal(one.biases, other.biases)
        assert (one.kernel_bits, one.output_bits) == (other.kernel_bits, other.output_bits)
    assert np.array_equal(made.pixels, loaded.pixels)
    assert check_nullhop(path, qmodel, x[0]) == {"a": 0, "b": 0, "c": 0}


def test_the_tool_writes_and_checks_it(net, tmp_path, capsys):
    from tools import export_tflite

    model, x, stats = net
    qmodel = tfxp.quantize_model(model, AdaptionAssigner(8, 8, 0.0, 0.0).assign(stats).map)
    qmodel.save(tmp_path / "q.keras")
    np.savez(tmp_path / "data.npz", x=x)
    flags = [f"--model={tmp_path}/q.keras", f"--output={tmp_path}/q.tflite",
             f"--nullhop={tmp_path}/net.cnn"]  # fmt: skip
    for more, status in (([f"--verify_data={tmp_path}/data.npz"], 0), ([], 1)):
        with pytest.raises(SystemExit) as ended:
            export_tflite.run(["export_tflite", *flags, *more])
        assert ended.value.code == status
    shown = capsys.readouterr()
    assert "3 convolutions, read back and computed: all values as in Keras" in shown.out
    assert "nullhop: got no --verify_data" in shown.err


def test_a_wrong_integer_is_noticed(net, tmp_path):
    model, x, stats = net
    qmodel = tfxp.quantize_model(model, AdaptionAssigner(8, 8, 0.0, 0.0).assign(stats).map)
    path = tmp_path / "net.cnn"
    save_nullhop(path, nullhop_network(qmodel, x[0]))
    lines = path.read_text().splitlines()
    place = lines.index("#KERNELS#") + 5
    lines[place] = str(int(lines[place]) + 40)
    path.write_text("\n".join(lines))
    assert check_nullhop(path, qmodel, x[0])["a"] > 0


def test_eight_fractional_bits_are_adaptions_own_file(tmp_path):
    """A file as ADaPTION writes it: Q8.8 without a word about formats, computed by hand."""
    text = "1 # num layers \n 0 #compression_enabled\n 1 #kernel_size \n 2 #num input channels \n"
    text += " 2 #num_input_column \n 1 #num_input_rows \n 1 #num_output_channels \n"
    text += " 0 #pooling_enabled \n 1 #relu_enabled \n 0 #padding \n#KERNELS#\n256\n-128\n"
    text += "#BIASES#\n64\n#PIXELS#\n256\n512\n0\n1024\n"
    (tmp_path / "a.cnn").write_text(text)
    loaded = load_nullhop(tmp_path / "a.cnn")
    # 1 * [1, 2] - 0.5 * [0, 4] + 0.25 = [1.25, 0.25]
    assert run_nullhop(loaded)[0].ravel().tolist() == [320, 64]
    save_nullhop(tmp_path / "b.cnn", loaded)
    assert [line.strip() for line in (tmp_path / "b.cnn").open()] == [
        line.strip() for line in text.splitlines()
    ]


def test_what_the_machine_does_not_compute_is_named(net):
    model = chain(strides=2)
    _, x, _ = net
    qmodel = tfxp.quantize_model(model, "w8a8", tfxp.measure_model(model, x))
    with pytest.raises(ExportError, match="b: kernel .*strides"):
        nullhop_network(qmodel, x[0])


@pytest.mark.parametrize("text", ["", "2 # num layers", "1 # num layers\n 0 #x"])
def test_broken_files(tmp_path, text):
    (tmp_path / "a.cnn").write_text(text)
    with pytest.raises(DataError, match="Export it again"):
        load_nullhop(tmp_path / "a.cnn")
