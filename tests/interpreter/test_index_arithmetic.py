"""Comparisons, logic, selection, indices and spectra against LiteRT's own kernels."""

import numpy as np
import pytest

from tests.interpreter.litert_oracle import Model, T, check_equal, differences, draw, litert, ours
from tfxp.errors import DataError
from tfxp.interpreter import Interpreter

BOTH = pytest.mark.parametrize("arithmetic", ["litert", "builtin"])
COMPARISONS = ["EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL"]
TABLES = {
    "EQUAL": "EqualOptions", "NOT_EQUAL": "NotEqualOptions", "LESS": "LessOptions",
    "LESS_EQUAL": "LessEqualOptions", "GREATER": "GreaterOptions",
    "GREATER_EQUAL": "GreaterEqualOptions",
}  # fmt: skip


def few(spec, rng, low=-3, high=4):
    """Numbers that often agree."""
    return rng.integers(low, high, spec.shape).astype(draw(spec, rng).dtype)


@BOTH
@pytest.mark.parametrize("kind", ["FLOAT32", "INT32", "INT64", "INT8", "UINT8", "BOOL"])
@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons(name, kind, arithmetic, rng):
    if kind == "BOOL" and name not in ("EQUAL", "NOT_EQUAL"):
        pytest.skip("truth values have no order")
    for shape in ((4, 3, 5), (3, 1), ()):
        sides = [T((4, 3, 5), kind), T(shape, kind)]
        if kind in ("INT8", "UINT8"):  # scales that are nearly the same
            sides = [T((4, 3, 5), kind, 0.02, 5), T(shape, kind, 0.0201, 4)]
        model = Model(name, sides, [T((4, 3, 5), "BOOL")], TABLES[name], {})
        inputs = [few(s, rng, 0 if kind in ("UINT8", "BOOL") else -3) for s in sides]
        check_equal(model, rng, arithmetic, inputs)


@BOTH
def test_comparisons_of_every_pair_of_codes(arithmetic, rng):
    codes = np.arange(-128, 128).astype(np.int8)
    for scale in (0.5, 0.0371, 1e-4):
        sides = [T((256, 1), "INT8", scale, -3), T((1, 256), "INT8", 0.037, 11)]
        model = Model("LESS", sides, [T((256, 256), "BOOL")], "LessOptions", {})
        check_equal(model, rng, arithmetic, [codes.reshape(-1, 1), codes.reshape(1, -1)])


@BOTH
def test_logic(arithmetic, rng):
    for name, table in (("LOGICAL_AND", "LogicalAndOptions"), ("LOGICAL_OR", "LogicalOrOptions")):
        sides = [T((4, 3), "BOOL"), T((4, 3), "BOOL")]
        check_equal(Model(name, sides, [T((4, 3), "BOOL")], table, {}, 1), rng, arithmetic)
    model = Model("LOGICAL_NOT", [T((9,), "BOOL")], [T((9,), "BOOL")], "LogicalNotOptions", {}, 1)
    check_equal(model, rng, arithmetic)


@BOTH
@pytest.mark.parametrize("kind", ["FLOAT32", "INT8", "INT16", "INT32", "INT64", "UINT8", "BOOL"])
def test_selection(kind, arithmetic, rng):
    value = lambda *shape: T(shape, kind)  # noqa: E731
    for condition in ((4, 3), (4,), ()):
        model = Model(
            "SELECT", [T(condition, "BOOL"), value(4, 3), value(4, 3)], [value(4, 3)],
            "SelectOptions", {}, 1,
        )  # fmt: skip
        check_equal(model, rng, arithmetic)
    for condition, x, y in (((4, 1), (3,), (1, 3)), ((4, 3), (4, 3), ()), ((1,), (4, 3), (4, 1))):
        model = Model(
            "SELECT_V2", [T(condition, "BOOL"), value(*x), value(*y)], [value(4, 3)],
            "SelectV2Options", {}, 1,
        )  # fmt: skip
        check_equal(model, rng, arithmetic)


@BOTH
@pytest.mark.parametrize("kind", ["FLOAT32", "INT32", "INT64"])
@pytest.mark.parametrize("name", ["FLOOR_DIV", "FLOOR_MOD"])
def test_floor(name, kind, arithmetic, rng):
    if (name, kind) == ("FLOOR_DIV", "INT64"):
        pytest.skip("LiteRT has no INT64 form")
    sides = [T((40, 7), kind), T((7,), kind)]
    table = {"FLOOR_DIV": "FloorDivOptions", "FLOOR_MOD": "FloorModOptions"}[name]
    model = Model(name, sides, [T((40, 7), kind)], table, {}, 1)
    x, y = draw(sides[0], rng), draw(sides[1], rng)
    x[0, 0], y[y == 0] = 0, 3
    check_equal(model, rng, arithmetic, [x, y])


def test_a_divisor_of_zero_is_refused():
    model = Model("FLOOR_DIV", [T((2,), "INT32"), T((2,), "INT32")], [T((2,), "INT32")])
    with pytest.raises(DataError, match="divisor"):
        ours(model.bytes(), [np.ones(2, np.int32), np.array([1, 0], np.int32)], "litert")


@BOTH
@pytest.mark.parametrize("numbers", [(3, 17, 4), (0, -9, -2)], ids=str)
@pytest.mark.parametrize("kind", ["INT32", "INT64", "FLOAT32"])
def test_range(kind, numbers, arithmetic, rng):
    given = [T((), kind) for _ in numbers]
    model = Model("RANGE", given, [T((), kind)], "RangeOptions", {}, 1)
    inputs = [
        draw(T((), kind), rng) * 0 + np.array(n, draw(T((), kind), rng).dtype) for n in numbers
    ]
    inputs = [np.asarray(i).reshape(()) for i in inputs]
    (expected,) = litert(model.bytes(), inputs, arithmetic)
    (got,) = ours(model.bytes(), inputs, arithmetic)
    np.testing.assert_array_equal(got, expected)
    assert got.dtype == expected.dtype


@BOTH
@pytest.mark.parametrize("kind", ["BOOL", "INT8", "INT32", "FLOAT32"])
def test_where(kind, arithmetic, rng):
    model = Model("WHERE", [T((4, 5, 3), kind)], [T((0, 3), "INT64")], "WhereOptions", {}, 1)
    x = few(T((4, 5, 3), kind), rng, 0, 2)
    (expected,), (got,) = (f(model.bytes(), [x], arithmetic) for f in (litert, ours))
    np.testing.assert_array_equal(got, expected)


@BOTH
@pytest.mark.parametrize("kind", ["INT8", "FLOAT32", "INT32", "INT64", "UINT8"])
def test_gather_and_scatter_by_coordinates(kind, arithmetic, rng):
    for depth in (1, 2, 3):
        indices = rng.integers(0, (4, 5, 3)[:depth], (6, depth)).astype(np.int32)
        out = (6, *(4, 5, 3)[depth:])
        spec = T(indices.shape, "INT32")
        model = Model(
            "GATHER_ND", [T((4, 5, 3), kind), spec], [T(out, kind)], "GatherNdOptions", {}, 1
        )
        check_equal(model, rng, arithmetic, [draw(T((4, 5, 3), kind), rng), indices])
        shape = T((3,), "INT32", data=[4, 5, 3])
        model = Model(
            "SCATTER_ND", [spec, T(out, kind), shape], [T((4, 5, 3), kind)], "ScatterNdOptions",
            {}, 1,
        )  # fmt: skip
        check_equal(model, rng, arithmetic, [indices, few(T(out, kind), rng, 0, 9)])


def test_a_coordinate_outside_is_refused():
    model = Model("GATHER_ND", [T((4, 5)), T((1, 2), "INT32")], [T((1,))])
    for bad in ([4, 0], [0, -1]):
        with pytest.raises(DataError, match="expected 0 to"):
            ours(model.bytes(), [np.zeros((4, 5), np.int8), np.array([bad], np.int32)], "litert")


@BOTH
def test_spectra(arithmetic, rng):
    lengths = T((2,), "INT32", data=[1, 64])
    model = Model(
        "RFFT2D", [T((3, 1, 50), "FLOAT32"), lengths], [T((3, 1, 33), "COMPLEX64")],
        "Rfft2dOptions", {}, 1,
    )  # fmt: skip
    x = rng.normal(size=(3, 1, 50)).astype(np.float32)
    (expected,), (got,) = (f(model.bytes(), [x], arithmetic) for f in (litert, ours))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)
    z = (rng.normal(size=(5, 7)) + 1j * rng.normal(size=(5, 7))).astype(np.complex64)
    model = Model("COMPLEX_ABS", [T((5, 7), "COMPLEX64")], [T((5, 7), "FLOAT32")], version=1)
    (expected,), (got,) = (f(model.bytes(), [z], arithmetic) for f in (litert, ours))
    np.testing.assert_allclose(got, expected, rtol=2e-7)


def detection(kind, regular, classes=4, background=1, each=2):
    codes = {"FLOAT32": {}, "UINT8": {"scale": 0.05, "zero": 120}}[kind]
    options = {
        "max_detections": 12, "max_classes_per_detection": each, "num_classes": classes,
        "detections_per_class": 7, "use_regular_nms": regular, "nms_score_threshold": 0.2,
        "nms_iou_threshold": 0.4, "y_scale": 10.0, "x_scale": 10.0, "h_scale": 5.0, "w_scale": 5.0,
    }  # fmt: skip
    scores = {"FLOAT32": {}, "UINT8": {"scale": 1 / 256, "zero": 0}}[kind]
    inputs = [
        T((1, 60, 4), kind, **codes), T((1, 60, classes + background), kind, **scores),
        T((60, 4), kind, **scores),
    ]  # fmt: skip
    outputs = [T((1, 12 * each, 4), "FLOAT32"), T((1, 12 * each), "FLOAT32"),
               T((1, 12 * each), "FLOAT32"), T((1,), "FLOAT32")]  # fmt: skip
    return Model("TFLite_Detection_PostProcess", inputs, outputs, custom=options)


def corner_loop(options, code, anchor):
    """One box, number by number."""
    (ey, ex, eh, ew), (ay, ax, ah, aw) = (map(float, values) for values in (code[:4], anchor))
    y = np.float32(ey / options["y_scale"] * ah + ay)
    x = np.float32(ex / options["x_scale"] * aw + ax)
    h = np.float32(0.5 * np.exp(eh / options["h_scale"]) * ah)
    w = np.float32(0.5 * np.exp(ew / options["w_scale"]) * aw)
    return y - h, x - w, y + h, x + w


def overlap_loop(a, b):
    """Intersection over union of two boxes."""
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    if min(areas) <= 0:
        return np.float32(0)
    height = max(min(a[2], b[2]) - max(a[0], b[0]), np.float32(0))
    width = max(min(a[3], b[3]) - max(a[1], b[1]), np.float32(0))
    return height * width / (areas[0] + areas[1] - height * width)


def suppress_loop(options, boxes, scores, most):
    """Indices of kept boxes, the best first, one candidate at a time."""
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    kept = []
    for i in order:
        if scores[i] < np.float32(options["nms_score_threshold"]) or len(kept) == most:
            continue
        limit = np.float32(options["nms_iou_threshold"])
        if all(not overlap_loop(boxes[j], boxes[i]) > limit for j in kept):
            kept.append(i)
    return kept


def detection_loop(options, boxes, scores):
    """(box, class) of every detection."""
    classes, most = options["num_classes"], options["max_detections"]
    scores = scores[:, scores.shape[1] - classes :]
    if not options["use_regular_nms"]:
        kept = suppress_loop(options, boxes, scores.max(axis=1), most)
        each = min(options["max_classes_per_detection"], classes)
        ranked = [sorted(range(classes), key=lambda k, i=i: -scores[i, k])[:each] for i in kept]
        return [(i, k) for i, ks in zip(kept, ranked, strict=True) for k in ks]
    found = []
    for k in range(classes):
        kept = suppress_loop(options, boxes, scores[:, k], options["detections_per_class"])
        found += [(i, k) for i in kept]
    return sorted(found, key=lambda pair: -scores[pair])[:most]


@pytest.mark.parametrize("regular", [False, True], ids=["fast", "regular"])
@pytest.mark.parametrize("kind", ["FLOAT32", "UINT8"])
def test_detections(kind, regular, rng):
    """Against loops after the operator's description: LiteRT's Python package leaves it out."""
    for background in (0, 1):
        model = detection(kind, regular, background=background)
        drawn = rng.normal(0, 1, (1, 60, 4)), rng.random((1, 60, 4 + background))
        inputs, real = [], []
        for spec, values in zip(model.inputs, (*drawn, rng.random((60, 4))), strict=True):
            codes = values.astype(np.float32)
            if kind == "UINT8":
                codes = np.clip(np.rint(values / spec.scale) + spec.zero, 0, 255).astype(np.uint8)
            inputs.append(codes)
            scale = np.float32(1 if spec.scale is None else spec.scale)
            real.append(scale * (codes.astype(np.float32) - np.float32(spec.zero)))
        options = model.custom
        boxes = [corner_loop(options, *pair) for pair in zip(real[0][0], real[2], strict=True)]
        expected = detection_loop(options, boxes, real[1][0])
        places, classes, scores, count = ours(model.bytes(), inputs, "litert")
        assert count == len(expected) > 3
        shift = real[1].shape[2] - options["num_classes"]
        for n, (box, k) in enumerate(expected):
            np.testing.assert_array_equal(places[0, n], boxes[box])
            assert classes[0, n] == k and scores[0, n] == real[1][0, box, k + shift]
        assert not scores[0, len(expected) :].any()


def test_damaged_options_are_refused():
    model = detection("FLOAT32", False)
    model.custom = {"max_detections": 3}
    with pytest.raises(Exception, match="options of operator 0"):
        Interpreter(model_content=model.bytes()).allocate_tensors()


def test_differences_counts_the_new_operators(rng):
    model = Model("FLOOR_MOD", [T((5,), "INT32"), T((5,), "INT32", data=[1, 2, 3, 4, 5])],
                  [T((5,), "INT32")], "FloorModOptions", {}, 1)  # fmt: skip
    assert differences(model, rng, "litert")[0] == 0
