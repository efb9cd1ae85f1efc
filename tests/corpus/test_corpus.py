"""Integer models of the shared corpus that LiteRT runs, against LiteRT; and golden pairs.

`builtin` is held to BUILTIN_REF, `litert` to the default engine, on seeded random codes; LiteRT
runs in a process of its own. Unmarked tests take a sample of files and two inputs; `--slow` runs
all of them on five.
"""

import csv
from pathlib import Path

import numpy as np
import pytest

from tfxp.interpreter import Interpreter
from tfxp.runtimes import open_runtime

SHARED = Path(__file__).resolve().parents[3] / "shared"
TIMEOUT_S = 240
#: Where LiteRT's own answer is no use, with the reason.
NOT_COMPARED = {
    # BUILTIN_REF knows no blocks of scales and writes zeros
    ("qwen_fc_blockwise_quantized.tflite", "builtin"),
}


def rows():
    """index.tsv's integer models that LiteRT runs; [] without the shared folder."""
    index = SHARED / "models" / "index.tsv"
    if not index.is_file():
        return []
    with index.open() as lines:
        table = list(csv.DictReader(lines, delimiter="\t"))
    return [
        row["file"]
        for row in table
        if row["file"].endswith(".tflite")
        and row["kind"] not in ("Keras", "float")
        and row["runs in LiteRT"].startswith("yes")
    ]


FILES = rows()
SAMPLE = FILES[::12]


def draw(detail, rng):
    """Random codes over the whole range of the input's type; floats around 0."""
    shape, dtype = tuple(detail["shape"]), np.dtype(detail["dtype"])
    if dtype.kind == "f":
        return rng.normal(0.0, 1.0, shape).astype(dtype)
    limits = np.iinfo(dtype)
    low, high = max(limits.min, -100000), min(limits.max, 100000)
    return rng.integers(low, high + 1, shape).astype(dtype)


def inputs_of(runner, name, calls):
    rng = np.random.default_rng(20240)
    feeds = []
    for _ in range(calls):
        arrays = [draw(detail, rng) for detail in runner.get_input_details()]
        if "rsqrt" in name:  # defined for codes from the zero point on
            zero = runner.get_input_details()[0]["quantization"][1]
            arrays = [np.maximum(a, zero).astype(a.dtype) for a in arrays]
        feeds.append(arrays)
    return feeds


def ours(runner, feeds):
    results = []
    for arrays in feeds:
        runner.reset_all_variables()
        for detail, array in zip(runner.get_input_details(), arrays, strict=True):
            runner.set_tensor(detail["index"], array)
        runner.invoke()
        results.append([runner.get_tensor(d["index"]) for d in runner.get_output_details()])
    return results


def theirs(model, arithmetic, feeds):
    runtime = {"builtin": "reference", "litert": "litert"}[arithmetic]
    with open_runtime(runtime, model.read_bytes(), patience=TIMEOUT_S) as runner:
        return [runner.run(arrays, whole=True) for arrays in feeds]


def check(file, arithmetic, calls):
    model = SHARED / "models" / file
    runner = Interpreter(model, arithmetic=arithmetic)
    name = Path(file).name
    runner.allocate_tensors()
    feeds = inputs_of(runner, name, calls)
    expected = theirs(model, arithmetic, feeds)
    for call, results in enumerate(ours(runner, feeds)):
        for position, got in enumerate(results):
            want = expected[call][position]
            if (name, arithmetic) in NOT_COMPARED:
                assert got.any() and not want.any()
                continue
            assert got.shape == want.shape and got.dtype == want.dtype
            if got.dtype.kind == "f":
                assert np.allclose(got, want, rtol=1e-5, atol=1e-6)
                continue
            gap = np.abs(got.astype(np.int64) - want.astype(np.int64))
            assert not gap.any(), f"{int((gap > 0).sum())} of {gap.size} differ, by {gap.max()}"


@pytest.mark.skipif(not FILES, reason="needs ../shared/models/index.tsv")
@pytest.mark.parametrize("arithmetic", ["builtin", "litert"])
@pytest.mark.parametrize("file", SAMPLE)
def test_sample_of_the_corpus(file, arithmetic):
    check(file, arithmetic, 2)


@pytest.mark.slow
@pytest.mark.skipif(not FILES, reason="needs ../shared/models/index.tsv")
@pytest.mark.parametrize("arithmetic", ["builtin", "litert"])
@pytest.mark.parametrize("file", FILES)
def test_corpus(file, arithmetic):
    check(file, arithmetic, 5)


TINY = "mlcommons+tiny/benchmark/training"
#: Golden pairs made elsewhere: folder, model, whether the stored inputs are bytes or reals.
GOLDEN = [
    ("resnet", f"{TINY}/image_classification/trained_models/pretrainedResnet_quant.tflite", True),
    ("aww", "tum-ei-eda+mlonmcu-models/aww/aww.tflite", False),
    ("vww", f"{TINY}/visual_wake_words/trained_models/vww_96_int8.tflite", False),
]


@pytest.mark.skipif(not FILES, reason="needs ../shared/models/index.tsv")
@pytest.mark.parametrize(("name", "file", "bytes_in"), GOLDEN)
def test_golden_pairs(name, file, bytes_in):
    """Stored outputs, made elsewhere with LiteRT's default engine, are reproduced exactly."""
    folder = SHARED / "models" / "tum-ei-eda+mlonmcu-models" / name
    runner = Interpreter(SHARED / "models" / file, arithmetic="litert")
    runner.allocate_tensors()
    source, result = runner.get_input_details()[0], runner.get_output_details()[0]
    pairs = sorted((folder / "input").glob("*.bin"))
    assert pairs
    for path in pairs:
        if bytes_in:
            codes = np.fromfile(path, np.uint8).astype(np.int64) - 128
        else:
            scale, zero = source["quantization"]
            codes = np.round(np.fromfile(path, np.float32) / np.float32(scale)) + zero
        x = np.clip(codes, -128, 127).astype(np.int8).reshape(source["shape"])
        runner.set_tensor(source["index"], x)
        runner.invoke()
        scale, zero = result["quantization"]
        got = (runner.get_tensor(result["index"]).astype(np.float32) - zero) * np.float32(scale)
        want = np.fromfile(folder / "output_tflite" / path.name, np.float32)
        assert (got.reshape(-1) == want).all()
