"""FULLY_CONNECTED with float activations and integer weights, against LiteRT."""

import itertools

import numpy as np
import pytest

from tests.interpreter.litert_oracle import Model, T, litert, ours
from tests.interpreter.mac_cases import PackedModel
from tfxp.errors import TfxpError
from tfxp.interpreter import Interpreter

UNITS, DEPTH, ROWS = 21, 40, 12


def model(kind, per_channel, asymmetric, bias, activation=0, depth=DEPTH, seed=0) -> Model:
    rng = np.random.default_rng(seed)
    limit = 127 if kind == "INT8" else 7
    codes = rng.integers(-limit, limit + 1, (UNITS, depth))
    codes[rng.random(codes.shape) < 0.3] = 0
    scales = (rng.uniform(0.5, 1.5, UNITS if per_channel else 1) / limit).astype(np.float32)
    inputs = [T((ROWS, depth), "FLOAT32"), T(codes.shape, kind, scales, 0, codes), None]
    if bias:
        inputs[2] = T((UNITS,), "FLOAT32", data=rng.normal(0, 1, UNITS))
    options = {"fusedActivationFunction": activation, "asymmetricQuantizeInputs": asymmetric}
    outputs = [T((ROWS, UNITS), "FLOAT32")]
    return PackedModel("FULLY_CONNECTED", inputs, outputs, "FullyConnectedOptions", options, 9)


def rows(rng, depth=DEPTH):
    """Rows of very different ranges: around 0, positive, negative, constant, all zero."""
    x = rng.normal(0.0, 1.0, (ROWS, depth)) * 10.0 ** rng.integers(-3, 4, (ROWS, 1))
    x[1], x[2], x[3], x[4] = np.abs(x[1]), -np.abs(x[2]), 0.7, 0.0
    x[rng.random(x.shape) < 0.3] = 0.0
    return x.astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "per_channel", "asymmetric", "bias"),
    itertools.product(["INT8", "INT4"], [False, True], [False, True], [False, True]),
)
def test_equals_litert(kind, per_channel, asymmetric, bias, rng):
    """Floats agree to the order of a fused multiply-add, which processors differ in."""
    content = model(kind, per_channel, asymmetric, bias, activation=int(bias)).bytes()
    x = rows(rng)
    for arithmetic in ("litert", "builtin"):
        (want,) = litert(content, [x], arithmetic)
        (got,) = ours(content, [x], arithmetic)
        assert got.dtype == want.dtype and got.shape == want.shape
        size = np.abs(want).max(axis=1, keepdims=True)
        assert (np.abs(got - want) <= 4e-7 * size).all(), arithmetic


def test_counts_equal_brute_force(rng):
    x = rows(rng)
    case = model("INT8", True, False, True)
    runner = Interpreter(model_content=case.bytes(), arithmetic="builtin")
    runner.allocate_tensors()
    runner.set_tensor(0, x)
    runner.invoke()
    row = runner.report().rows[0].counters
    codes = case.inputs[1].data
    executed = 0
    for values in x:
        scale = np.abs(values).max() / 127 or 1.0
        for unit in codes:
            pairs = zip(values, unit, strict=True)
            executed += sum(abs(value) / scale >= 0.5 and weight != 0 for value, weight in pairs)
    assert row.macs_total == ROWS * codes.size
    assert row.macs_executed == executed
    assert row.macs_skipped_weight == ROWS * int((codes == 0).sum())
    parts = row.macs_executed + row.macs_skipped_weight + row.macs_skipped_activation
    assert parts == row.macs_total


def blockwise(rng, size=32, units=16, depth=64, scales=None):
    """INT4 weights with FLOAT16 scales per block, as a file."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as S

    codes = rng.integers(-8, 8, (units, depth))
    plain = PackedModel(
        "FULLY_CONNECTED",
        [T((3, depth), "FLOAT32"), T((units, depth), "INT4", [1.0], 0, codes), None],
        [T((3, units), "FLOAT32")], "FullyConnectedOptions",
        {"asymmetricQuantizeInputs": True}, 9,
    )  # fmt: skip
    file = S.ModelT.InitFromObj(S.Model.GetRootAs(plain.bytes()))
    if scales is None:
        scales = rng.uniform(0.001, 0.05, (units, depth // size)).astype(np.float16)
    buffer, tensor = S.BufferT(), S.TensorT()
    buffer.data = np.frombuffer(scales.tobytes(), np.uint8)
    file.buffers.append(buffer)
    tensor.name, tensor.shape, tensor.type = "scales", list(scales.shape), S.TensorType.FLOAT16
    tensor.buffer = len(file.buffers) - 1
    graph = file.subgraphs[0]
    graph.tensors.append(tensor)
    details = S.BlockwiseQuantizationT()
    details.scales, details.zeroPoints, details.blockSize = len(graph.tensors) - 1, -1, size
    q = S.QuantizationParametersT()
    q.detailsType, q.details = S.QuantizationDetails.BlockwiseQuantization, details
    weights = next(t for t in graph.tensors if t.type == S.TensorType.INT4)
    weights.quantization = q
    builder = flatbuffers.Builder(1024)
    builder.Finish(file.Pack(builder), b"TFL3")
    return bytes(builder.Output()), codes, scales


def test_blocks_equal_litert(rng):
    content, _, _ = blockwise(rng)
    x = (rng.normal(0.3, 1.0, (3, 64)) * [[1.0], [50.0], [0.01]]).astype(np.float32)
    (want,) = litert(content, [x], "litert")
    (got,) = ours(content, [x], "litert")
    assert (np.abs(got - want) <= 4e-7 * np.abs(want).max(axis=1, keepdims=True)).all()


def test_blocks_in_builtin_arithmetic(rng):
    """LiteRT's BUILTIN_REF has no blocks (it writes zeros), so real numbers are the oracle."""
    content, codes, scales = blockwise(rng)
    x = rng.normal(0.3, 1.0, (3, 64)).astype(np.float32)
    (got,) = ours(content, [x], "builtin")
    real = x.astype(float) @ (codes * np.repeat(scales.astype(float), 32, axis=1)).T
    # half a step of the activations' 8 bits in every product
    step = (x.max(axis=1) - x.min(axis=1)) / 255
    bound = step[:, None] * (np.abs(codes) * np.repeat(scales.astype(float), 32, axis=1)).sum(1)
    assert (np.abs(got - real) <= bound).all()
    assert np.abs(got - real).max() < 0.2 * bound.max()


def test_damaged_blocks(rng):
    content, _, _ = blockwise(rng, scales=np.ones((16, 3), np.float16))
    with pytest.raises(TfxpError, match="block scales"):
        Interpreter(model_content=content).allocate_tensors()
