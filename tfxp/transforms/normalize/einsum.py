"""tf.einsum of two tensors as a product of matrices, where it is one.

Labels that both tensors and the result have number matrices, one label is summed over, and each
tensor has one more: "bqhd,bkhd->bhqk" is a product of matrices (q, d) and (d, k) per (b, h), with
axes put in order before and behind.
"""

from __future__ import annotations

import dataclasses

from tfxp.keras import layers
from tfxp.transforms.layer_graph import LayerGraph, Ref, Shape
from tfxp.transforms.normalize.function_calls import parts_of
from tfxp.transforms.normalize.matrix_products import make_product


@dataclasses.dataclass(frozen=True)
class _Product:
    """Labels of both sides and the result, and their parts: matrices, rows, columns, the sum."""

    left: str
    right: str
    result: str
    matrices: str
    rows: str
    columns: str
    summed: str


def einsum_to_product(graph: LayerGraph, number: int) -> None:
    """Rewrite one call; it keeps its name in its last part."""
    call, spec, use = parts_of(graph, number)
    product = _read(str(use.argument(0, "equation")))
    refs = call.refs()
    if product is None or len(refs) != 2:
        return
    shapes = [graph.shape_of(ref) for ref in refs]
    if [len(shape) for shape in shapes] != [len(product.left), len(product.right)]:
        return
    head = product.matrices
    wanted = (head + product.rows + product.summed, head + product.columns + product.summed)
    given = (product.left, product.right)
    sides = [
        _ordered(graph, ref, have, want, f"{spec.name}_{part}")
        for ref, have, want, part in zip(refs, given, wanted, ("left", "right"), strict=True)
    ]
    order = head + product.rows + product.columns
    if order == product.result:
        spec.become(make_product(spec.name))
        call.read(sides[0], b=sides[1], transpose_b=True)
        return
    sizes = dict(zip(product.left + product.right, (*shapes[0], *shapes[1]), strict=True))
    shape: Shape = tuple(sizes[label] for label in order)
    inner = make_product(f"{spec.name}_product")
    found = graph.append(inner, sides[0], shape=shape, b=sides[1], transpose_b=True)
    spec.become(layers.Permute([order.index(label) for label in product.result[1:]]))
    call.read(found)


def _read(equation: str) -> _Product | None:
    """What an equation multiplies; None if that is no product of matrices of samples."""
    inputs, arrow, result = equation.replace(" ", "").partition("->")
    sides = inputs.split(",")
    parts = [*sides, result]
    plain = all(part.isalpha() and len(set(part)) == len(part) for part in parts)
    if not arrow or len(sides) != 2 or not plain or len({part[0] for part in parts}) != 1:
        return None
    left, right = sides
    matrices = "".join(label for label in result if label in left and label in right)
    rows = "".join(label for label in left if label in result and label not in right)
    columns = "".join(label for label in right if label in result and label not in left)
    summed = "".join(label for label in left if label in right and label not in result)
    single = len(rows) == len(columns) == len(summed) == 1
    complete = len(left) == len(right) == len(matrices) + 2 == len(result)
    if not single or not complete:
        return None
    return _Product(left, right, result, matrices, rows, columns, summed)


def _ordered(graph: LayerGraph, ref: Ref, have: str, want: str, name: str) -> Ref:
    """A tensor with its axes in another order."""
    if have == want:
        return ref
    shape = graph.shape_of(ref)
    order = [have.index(label) for label in want]
    moved = tuple(shape[axis] for axis in order)
    return graph.append(layers.Permute(order[1:], name=name), ref, shape=moved)
