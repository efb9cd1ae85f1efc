"""A model as searchable text: one line per operator and tensor, plain words and numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tfxp.graph.integer_graph import IntegerGraph, Operator, Tensor
from tfxp.graph.schema import default_options, default_options_type


def view_graph(graph: IntegerGraph, weights: int = 0) -> str:
    """The text of a model.

    Args:
        graph: what to show.
        weights: how many values of each constant to print.

    Example:
        >>> from tfxp.graph import Operator, Tensor
        >>> text = view_graph(IntegerGraph([Tensor("x", (1, 4), "INT8")], inputs=[0], outputs=[0]))
        >>> "tensor 0  INT8 [1, 4]  input output  'x'" in text
        True
    """
    return "\n".join(_lines(graph, weights)) + "\n"


def _lines(graph: IntegerGraph, weights: int) -> Iterator[str]:
    yield f"model  schema {graph.version}  {graph.description!r}"
    for name, content in graph.metadata.items():
        text = content[:200]
        printable = all(32 <= byte < 127 or byte in b"\n\t" for byte in text)
        shown = text.decode("ascii") if printable else text[:16].hex(" ")
        yield f"metadata  {name!r}  {len(content)} bytes  {shown.strip()}"
    for entry in graph.signatures:
        yield (
            f"signature  {entry.key!r}  subgraph {entry.subgraph}  inputs {entry.inputs}  "
            f"outputs {entry.outputs}"
        )
    for number, sub in enumerate([graph, *graph.subgraphs]):
        constants = sum(t.data.nbytes for t in sub.tensors if t.data is not None)
        yield ""
        yield (
            f"subgraph {number}  {sub.name!r}  {len(sub.operators)} operators  {len(sub.tensors)} "
            f"tensors  {constants} bytes of constants  inputs {sub.inputs}  outputs {sub.outputs}"
        )
        for index, operator in enumerate(sub.operators):
            yield _operator_line(sub, index, operator)
        yield ""
        for index, tensor in enumerate(sub.tensors):
            yield _tensor_line(sub, index, tensor, weights)


def _operator_line(graph: IntegerGraph, index: int, operator: Operator) -> str:
    name = f"{operator.name}:{operator.custom_code}" if operator.custom_code else operator.name
    sides = [
        ", ".join("-" if i < 0 else f"{i}:{_kind(graph.tensors[i])}" for i in side)
        for side in (operator.inputs, operator.outputs)
    ]
    table = operator.options_type or default_options_type(operator.name)
    usual = default_options(table)
    options = {
        key: value
        for key, value in operator.options.items()
        if not _same(value, usual.get(key)) or key in ("padding", "stride_h", "stride_w")
    }
    shown = "  ".join(f"{key}={_value(value)}" for key, value in options.items())
    return f"operator {index}  {name} v{operator.version}  ({sides[0]}) -> ({sides[1]})  {shown}"


def _same(left: object, right: object) -> bool:
    if isinstance(left, np.ndarray) or isinstance(right, np.ndarray):
        return False
    return bool(left == right)


def _value(value: object) -> str:
    if isinstance(value, np.ndarray):
        return str(value.tolist())
    return str(value) if isinstance(value, str | int | float | bool) else type(value).__name__


def _kind(tensor: Tensor) -> str:
    return f"{tensor.type}[{'x'.join(map(str, tensor.shape))}]"


def _tensor_line(graph: IntegerGraph, index: int, tensor: Tensor, weights: int) -> str:
    roles = [
        *(["input"] if index in graph.inputs else []),
        *(["output"] if index in graph.outputs else []),
        *(["constant"] if tensor.data is not None else []),
        *(["variable"] if tensor.is_variable else []),
    ]
    parts = [f"tensor {index}", f"{tensor.type} {list(tensor.shape)}", " ".join(roles)]
    if tensor.shape_signature is not None:
        parts.append(f"signature {list(tensor.shape_signature)}")
    scheme = tensor.quantization
    if scheme is not None:
        scales = [f"{s:.9g}" for s in scheme.scale[:4]]
        zeros = np.unique(scheme.zero_point)[:4].tolist()
        if scheme.per_channel:
            more = ", ..." if scheme.scale.size > 4 else ""
            scale = f"scales [{', '.join(scales)}{more}] along {scheme.axis}"
        else:
            scale = f"scale {scales[0]}"
        parts.append(f"{scale}  zero {zeros[0] if len(zeros) == 1 else zeros}")
    if tensor.data is not None and tensor.data.size:
        parts.append(_statistics(tensor, weights))
    parts.append(repr(tensor.name))
    return "  ".join(part for part in parts if part)


def _statistics(tensor: Tensor, weights: int) -> str:
    data = tensor.data
    assert data is not None
    if data.dtype.kind not in "iuf":
        return ""
    zero = tensor.zero_point if data.dtype.kind in "iu" else 0
    zeros = np.count_nonzero(data == zero) / data.size
    text = f"values {data.min():.6g} to {data.max():.6g}  zeros {zeros:.3f}"
    if weights:
        text += f"  first {data.reshape(-1)[:weights].tolist()}"
    return text
