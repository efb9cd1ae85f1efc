"""TFLite_Detection_PostProcess: boxes from anchors, and non-maximum suppression.

Box encodings (y, x, h, w) around anchors become corners:

    y = e_y / scale_y * a_h + a_y,  half height = exp(e_h / scale_h) * a_h / 2, likewise x and w

each in double precision, rounded to float32. Fast suppression takes every anchor's best class, and
keeps a box unless it overlaps a better kept one by more than the threshold (intersection over
union). The regular form does so for each class and keeps the best of all. Both arithmetics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from flatbuffers import flexbuffers

from tfxp.graph.integer_graph import Tensor
from tfxp.interpreter.kernels import requirements as need
from tfxp.interpreter.registry import Array, Node, kernel

_NAME = "TFLite_Detection_PostProcess"
_NUMBERS = ("max_detections", "max_classes_per_detection", "num_classes")
_REALS = ("nms_score_threshold", "nms_iou_threshold", "y_scale", "x_scale", "h_scale", "w_scale")
#: Options that files may leave out.
_USUAL = {"detections_per_class": 100, "use_regular_nms": 0}


def _options(node: Node) -> dict[str, float]:
    try:
        table = flexbuffers.GetRoot(bytearray(node.operator.custom_options or b"")).AsMap
        found = {name: float(table[name].AsFloat) for name in _REALS}
        found |= {name: int(table[name].AsInt) for name in _NUMBERS}
        for name, usual in _USUAL.items():
            try:
                found[name] = int(table[name].AsInt)
            except KeyError:
                found[name] = usual
    except Exception as error:  # the reader of flexbuffers raises whatever it stumbles over
        raise need.malformed(node, "options", type(error).__name__, f"those of {_NAME}") from None
    return found


def _prepare(node: Node) -> None:
    need.require_counts(node, 3, 4)
    options = node.cache["options"] = _options(node)
    boxes, scores, anchors = (need.tensor(node, position) for position in range(3))
    for position in range(3):
        need.require_type(node, position, ("FLOAT32", "UINT8", "INT8"))
    for output in range(4):
        need.require_output_type(node, ("FLOAT32",), output)
    count = anchors.shape[0] if len(anchors.shape) == 2 else -1
    fits = (
        len(boxes.shape) == 3 and boxes.shape[:2] == (1, count) and boxes.shape[2] >= 4
        and anchors.shape[1] == 4 and len(scores.shape) == 3 and scores.shape[:2] == (1, count)
    )  # fmt: skip
    if not fits:
        got = [list(t.shape) for t in (boxes, scores, anchors)]
        raise need.malformed(node, "input shapes", got, "[1, N, 4], [1, N, classes], [N, 4]")
    classes, most = options["num_classes"], options["max_detections"]
    within = 1 <= classes <= scores.shape[2] <= classes + 1 and 1 <= most <= need.MAX_SIDE
    if not within or not 1 <= options["max_classes_per_detection"] <= need.MAX_SIDE:
        raise need.malformed(node, "numbers of classes and detections", options, "ones that fit")
    if min(options[name] for name in ("y_scale", "x_scale", "h_scale", "w_scale")) <= 0:
        raise need.malformed(node, "scales of boxes", options, "numbers > 0")
    rows = int(most * options["max_classes_per_detection"])
    for output, shape in enumerate(((1, rows, 4), (1, rows), (1, rows), (1,))):
        # files state shapes of any kind here; LiteRT sets its own
        node.cache.setdefault("output_shapes", {})[output] = shape


def _real(tensor: Tensor, codes: Array) -> Array:
    if codes.dtype.kind == "f":
        return codes
    centred = (codes.astype(np.int32) - tensor.zero_point).astype(np.float32)
    return np.float32(tensor.scale) * centred


def _corners(options: dict[str, float], encodings: Array, anchors: Array) -> Array:
    """float32 (N, 4): top, left, bottom, right."""
    e, a = encodings[:, :4].astype(np.float64), anchors.astype(np.float64)
    with np.errstate(all="ignore"):
        y = (e[:, 0] / np.float32(options["y_scale"]) * a[:, 2] + a[:, 0]).astype(np.float32)
        x = (e[:, 1] / np.float32(options["x_scale"]) * a[:, 3] + a[:, 1]).astype(np.float32)
        h = (0.5 * np.exp(e[:, 2] / np.float32(options["h_scale"])) * a[:, 2]).astype(np.float32)
        w = (0.5 * np.exp(e[:, 3] / np.float32(options["w_scale"])) * a[:, 3]).astype(np.float32)
    return np.stack([y - h, x - w, y + h, x + w], axis=1)


def _overlaps(box: Array, others: Array) -> Array:
    """Intersection over union of one box with others, in float32; 0 for empty boxes."""

    def areas(boxes: Array) -> Array:
        return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])

    top_left = np.maximum(box[:2], others[:, :2])
    sides = np.maximum(np.minimum(box[2:], others[:, 2:]) - top_left, np.float32(0))
    shared = sides[:, 0] * sides[:, 1]
    own, their = areas(box), areas(others)
    with np.errstate(all="ignore"):
        ratio = shared / (own + their - shared)
    return np.where((own <= 0) | (their <= 0), np.float32(0), ratio)


def _suppress(options: dict[str, float], corners: Array, scores: Array, most: int) -> list[int]:
    """Which boxes stay, the best first."""
    kept = np.flatnonzero(scores >= np.float32(options["nms_score_threshold"]))
    order = kept[np.argsort(-scores[kept], kind="stable")]
    chosen: list[int] = []
    while order.size and len(chosen) < min(most, kept.size):
        best, rest = order[0], order[1:]
        chosen.append(int(best))
        overlaps = _overlaps(corners[best], corners[rest])
        order = rest[~(overlaps > np.float32(options["nms_iou_threshold"]))]
    return chosen


def _fast(options: dict[str, float], corners: Array, scores: Array) -> list[tuple[int, int]]:
    """(box, class) of the detections: as many classes per box as asked for."""
    each = int(min(options["max_classes_per_detection"], scores.shape[1]))
    ranked = np.argsort(-scores, axis=1, kind="stable")[:, :each]
    best = np.take_along_axis(scores, ranked[:, :1], axis=1)[:, 0]
    boxes = _suppress(options, corners, best, int(options["max_detections"]))
    return [(box, int(k)) for box in boxes for k in ranked[box]]


def _regular(options: dict[str, float], corners: Array, scores: Array) -> list[tuple[int, int]]:
    """(box, class) of the detections: the best of all classes."""
    found: list[tuple[int, int]] = []
    most = int(options["max_detections"])
    for k in range(scores.shape[1]):
        per_class = int(options["detections_per_class"])
        boxes = _suppress(options, corners, scores[:, k], per_class)
        found += [(box, k) for box in boxes]
        found.sort(key=lambda pair: -scores[pair])
        del found[most:]
    return found


@kernel(_NAME, prepare=_prepare)
def detection_post_process(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Boxes, classes, scores and their number; what is left of the places is zero."""
    options = node.cache["options"]
    sources = [need.tensor(node, position) for position in range(3)]
    encodings, scores, anchors = (
        _real(source, codes) for source, codes in zip(sources, inputs, strict=True)
    )
    corners = _corners(options, encodings[0], anchors)
    classes = int(options["num_classes"])
    scores = scores[0][:, scores.shape[2] - classes :]
    find = _regular if options["use_regular_nms"] else _fast
    found = find(options, corners, scores)
    results = [np.zeros(shape, np.float32) for shape in node.cache["output_shapes"].values()]
    for place, (box, k) in enumerate(found):
        results[0][0, place], results[1][0, place] = corners[box], k
        results[2][0, place] = scores[box, k]
    results[3][0] = len(found)
    return results
