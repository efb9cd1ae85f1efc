"""What hardware people get is enough: networks rebuilt by hand in NumPy from the .npz alone, and
QONNX executed by its own runtime, give the codes that the exported file gives."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import tfxp
from tests.cases import randomize
from tfxp.errors import ExportError
from tfxp.export import export_qonnx, network_steps, save_c_header, save_npz
from tfxp.keras import keras, layers
from tools.quickstart import build_model as quickstart_network

SHARED = Path(__file__).resolve().parents[3] / "shared"
RESNET = (
    SHARED / "models/mlcommons+tiny/benchmark/training/image_classification/trained_models"
    "/pretrainedResnet.h5"
)
RNG = np.random.default_rng(4)


def digits():
    """The quickstart's network, which has a sum of two branches and pools."""
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="first")(image)
    x = layers.MaxPooling2D(name="pool")(layers.BatchNormalization(name="norm")(x))
    skip = layers.Conv2D(8, 1, name="skip")(x)
    x = layers.ReLU(name="sum_relu")(
        layers.Add(name="sum")(
            [layers.Conv2D(8, 3, padding="same", activation="relu", name="second")(x), skip]
        )
    )
    x = layers.Dense(10, name="logits")(layers.Flatten(name="flat")(x))
    return keras.Model(image, layers.Softmax(name="softmax")(x), name="digits")


def branches():
    """Depthwise, strides, concatenation, ReLU6, a mean."""
    image = keras.Input((9, 7, 3), name="image")
    x = layers.Conv2D(4, 3, strides=2, padding="same", name="start")(image)
    a = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", name="deep")(x)
    a = layers.ReLU(6.0, name="six")(a)
    b = layers.Conv2D(5, 2, padding="same", name="wide")(x)
    x = layers.Concatenate(name="both")([a, b, x])
    x = layers.MaxPooling2D(3, 2, padding="same", name="pool")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return keras.Model(image, layers.Dense(4, name="logits")(x), name="branches")


NETWORKS = {"digits": (digits, "w4a4"), "branches": (branches, "w5a6"), "eight": (digits, "w8a8")}


@pytest.fixture(scope="module", params=NETWORKS)
def network(request, tmp_path_factory):
    """Quantized model, a folder, inputs, and the codes of the exported file's outputs."""
    build, precision = NETWORKS[request.param]
    model = randomize(build())
    x = RNG.normal(size=(40, *model.input_shape[1:])).astype(np.float32)
    qmodel = tfxp.quantize_model(model, precision, tfxp.measure_model(model, x))
    folder = tmp_path_factory.mktemp(request.param)
    tfxp.export_tflite(qmodel, folder / "n.tflite")
    return qmodel, folder, x, stored_codes(folder / "n.tflite", qmodel, x)


def stored_codes(path, qmodel, x):
    runner = tfxp.Interpreter(path)
    first = network_steps(qmodel)[0]
    codes = np.clip(np.rint(x * 2.0**first.fractional_bits), first.qmin, first.qmax)
    return np.asarray(runner.predict_codes((codes + first.zero_point).astype(np.int8)))


def windows(x, size, stride, padding, fill):
    """Windows (rows, columns, height, width, channels) of images, one after the other."""
    if padding == "same":
        pads = []
        for length, window, step in zip(x.shape[1:3], size, stride, strict=True):
            total = max((-(-length // step) - 1) * step + window - length, 0)
            pads.append((total // 2, total - total // 2))
        x = np.pad(x, [(0, 0), *pads, (0, 0)], constant_values=fill)
    view = np.lib.stride_tricks.sliding_window_view(x, size, axis=(1, 2))
    return view[:, :: stride[0], :: stride[1]]  # batch, rows, columns, channels, height, width


def rounded(value, rounding):
    """Exact in float64: all are whole numbers divided by powers of two and a count."""
    return np.floor(value + 0.5) if rounding == "half_up" else np.rint(value)


def by_hand(data, x):
    """The last tensor's codes, of nothing but the arrays of the .npz."""
    steps, tensors = json.loads(str(data["steps"])), {}
    for step in steps:
        name, options = step["name"], step["options"]
        sources = [tensors[read] for read in step["reads"]]
        shifts = 2.0 ** -np.array(step["shifts"], float)
        kernel, bias = (data.get(f"{name}/{part}") for part in ("weights", "bias"))
        bias = 0 if bias is None else bias
        if step["kind"] == "input":
            value = x.astype(float) * 2.0 ** step["fractional_bits"]
        elif step["kind"] == "dense":
            value = (sources[0] @ kernel.astype(np.int64) + bias) * shifts
        elif step["kind"].endswith("conv2d"):
            patch = windows(sources[0], kernel.shape[:2], options["strides"], options["padding"], 0)
            labels = "brcihw,hwio->brco" if step["kind"] == "conv2d" else "brcihw,hwio->brcio"
            sums = np.einsum(labels, patch, kernel.astype(np.int64))
            value = (sums.reshape(len(x), *step["shape"]) + bias) * shifts
        elif step["kind"] == "max_pool2d":
            size = options["pool_size"]
            patch = windows(sources[0], size, options["strides"], options["padding"], -(2**15))
            value = patch.max((4, 5)) * shifts
        elif step["kind"] == "mean":
            value = sources[0].sum((1, 2)) * shifts / np.prod(sources[0].shape[1:3])
        elif step["kind"] == "add":
            value = sum(source * shift for source, shift in zip(sources, shifts, strict=True))
        else:  # concatenate, relu, reshape
            moved = [source * shift for source, shift in zip(sources, shifts, strict=True)]
            value = np.concatenate(moved, -1).reshape(len(x), *step["shape"])
        value = np.clip(rounded(value, step["rounding"]), step["qmin"], step["qmax"])
        tensors[name] = value.astype(np.int64)
    return tensors[steps[-1]["name"]], steps[-1]


def test_networks_are_rebuilt_by_hand(network):
    qmodel, folder, x, wanted = network
    save_npz(folder / "n.npz", tfxp.integer_weights(qmodel), network_steps(qmodel))
    with np.load(folder / "n.npz") as data:
        found, last = by_hand(dict(data), x)
    assert np.count_nonzero(found + last["zero_point"] != wanted) == 0
    assert len(np.unique(wanted)) > 5


def test_the_header_says_the_same(network):
    qmodel, folder, *_ = network
    steps = network_steps(qmodel)
    save_c_header(folder / "weights.h", tfxp.integer_weights(qmodel), steps)
    text = (folder / "weights.h").read_text()
    for number, step in enumerate(steps):
        part = text[text.index(f"/* step {number}: {step.name} = {step.kind}(") :]
        found = re.findall(r"#define \w+_(FRACTIONAL_BITS|QMIN|QMAX|ZERO_POINT) \((-?\d+)\)", part)
        wanted = (step.fractional_bits, step.qmin, step.qmax, step.zero_point)
        assert tuple(int(value) for _, value in found[:4]) == wanted
        if step.shifts:
            shifts = re.search(r"_shifts\[\d+\] = \{(.*?)\};", part).group(1)
            assert tuple(map(int, shifts.split(", "))) == step.shifts


def executed(path, x):
    """Outputs of QONNX's own runtime."""
    pytest.importorskip("qonnx")
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    model = ModelWrapper(str(path)).transform(InferShapes())
    (found,) = execute_onnx(model, {model.graph.input[0].name: x}).values()
    return found


def test_qonnx_gives_the_same(network):
    pytest.importorskip("qonnx")
    qmodel, folder, x, wanted = network
    export_qonnx(qmodel, folder / "n.onnx", batch=len(x))
    last = network_steps(qmodel)[-1]
    codes = executed(folder / "n.onnx", x) * 2.0**last.fractional_bits + last.zero_point
    assert np.count_nonzero(codes != wanted) == 0


@pytest.mark.slow
@pytest.mark.skipif(not RESNET.exists(), reason="needs ../shared/models")
def test_qonnx_of_resnet8(tmp_path):
    pytest.importorskip("qonnx")
    x = np.load(SHARED / "data/cifar10_test_first5k.npz")["x"][:64].astype(np.float32)
    model = tfxp.load_model(RESNET)
    qmodel = tfxp.quantize_model(model, "w4a4", tfxp.measure_model(model, x))
    export_qonnx(qmodel, tmp_path / "n.onnx", batch=len(x))
    logits = keras.Model(qmodel.inputs, qmodel.get_layer("dense").output)
    assert np.count_nonzero(executed(tmp_path / "n.onnx", x) != logits(x).numpy()) == 0


@pytest.mark.slow
def test_hls4ml_computes_the_same(tmp_path):
    """The quickstart's network through hls4ml's C++, compiled by g++."""
    hls4ml = pytest.importorskip("hls4ml", reason="pip install 'tfxp[hls4ml]'")
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.channels_last import ConvertToChannelsLastAndClean
    from qonnx.transformation.gemm_to_matmul import GemmToMatMul
    from qonnx.util.cleanup import cleanup_model

    model = randomize(quickstart_network())
    x = RNG.normal(size=(200, 8, 8, 1)).astype(np.float32)
    qmodel = tfxp.quantize_model(model, "w4a4", tfxp.measure_model(model, x))
    export_qonnx(qmodel, tmp_path / "n.onnx")
    read = cleanup_model(ModelWrapper(str(tmp_path / "n.onnx")))
    for change in (ConvertToChannelsLastAndClean(), GemmToMatMul()):
        read = read.transform(change)
    read = cleanup_model(read)
    config = hls4ml.utils.config_from_onnx_model(
        read, granularity="name", backend="Vitis", default_precision="fixed<32,16>"
    )
    made = hls4ml.converters.convert_from_onnx_model(
        read, output_dir=str(tmp_path / "hls"), backend="Vitis", hls_config=config
    )
    made.compile()
    first = network_steps(qmodel)[
        0
    ]  # hls4ml cuts reals to 16 bits behind the point, codes it takes
    codes = np.clip(np.rint(x * 2.0**first.fractional_bits), first.qmin, first.qmax)
    x = (codes * 2.0**-first.fractional_bits).astype(np.float32)
    logits = keras.Model(qmodel.inputs, qmodel.get_layer("logits").output)(x).numpy()
    assert len(np.unique(logits)) > 20
    assert np.count_nonzero(made.predict(x).reshape(logits.shape) != logits) == 0


def test_what_has_no_step_is_named():
    image = keras.Input((4, 4, 2))
    model = keras.Model(image, layers.Conv2DTranspose(2, 2, name="up")(image))
    x = RNG.normal(size=(4, 4, 4, 2)).astype(np.float32)
    qmodel = tfxp.quantize_model(model, "w4a4", tfxp.measure_model(model, x))
    with pytest.raises(ExportError, match=r"layer 'up' \(Conv2DTranspose\): has no step; expected"):
        network_steps(qmodel)
