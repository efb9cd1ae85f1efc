"""Products of two tensors' matrices, `tf.matmul(a, b)` or `a @ b`, in one form.

They stay functions of tensors in Keras, which any Keras loads: the first tensor is the positional
argument, the second is named b, and only `transpose_a` and `transpose_b` are left of the options.
"""

from __future__ import annotations

import inspect
from typing import Any

import tensorflow as tf

from tfxp.transforms.layer_graph import Call, LayerGraph, LayerSpec, Ref
from tfxp.transforms.normalize.function_layers import function_spec

FUNCTION = "linalg.matmul"
_NAMES = (FUNCTION, "matmul", "__operators__.matmul")


def is_product(spec: LayerSpec) -> bool:
    """Whether a layer multiplies the matrices of two tensors."""
    return spec.kind == "TFOpLambda" and spec.config.get("function") == FUNCTION


def make_product(name: str) -> LayerSpec:
    """A layer that multiplies matrices."""
    return function_spec(tf.linalg.matmul, name)


def unify_products(graph: LayerGraph) -> LayerGraph:
    """Give every product of two tensors' matrices the one form; others keep another name."""
    for _, call, spec in graph.in_order():
        if spec.kind != "TFOpLambda" or spec.config.get("function") not in _NAMES:
            continue
        options = _options(call)
        if options is None:
            spec.config["function"] = f"{FUNCTION} of constants or with options"
            continue
        call.read(options.pop("a"), **options)
        spec.config["function"] = FUNCTION
    return graph


def _options(call: Call) -> dict[str, Any] | None:
    """Both tensors and the transpositions; None for anything else."""
    bound = inspect.signature(tf.linalg.matmul).bind(*call.args, **call.kwargs).arguments
    bound.pop("name", None)
    found = {"a": bound.pop("a"), "b": bound.pop("b")}
    for side in ("a", "b"):  # real matrices are transposed either way
        if bound.pop(f"transpose_{side}", False) or bound.pop(f"adjoint_{side}", False):
            found[f"transpose_{side}"] = True
    tensors = all(isinstance(found[side], Ref) for side in ("a", "b"))
    return found if tensors and not any(bound.values()) else None
