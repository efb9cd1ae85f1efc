"""TensorFlow functions inside a tf_keras model as Keras 3 operations: `operations`, backwards."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from tfxp.errors import ModelError
from tfxp.keras_types import Tensor

# (Keras 3's ops, the function's arguments) -> tensor
Function = Callable[..., Any]


def _one(name: str) -> Function:
    """A function of one tensor."""
    return lambda ops, x, name=None, _op=name, **_: getattr(ops, _op)(x)


def _two(name: str) -> Function:
    """A function of two tensors, or of one and a constant."""
    return lambda ops, x, y, name=None, _op=name: getattr(ops, _op)(_value(x), _value(y))


def _reduced(name: str) -> Function:
    return lambda ops, x, axis=None, keepdims=False, name=None, _op=name: getattr(ops, _op)(
        x, axis=_axes(axis), keepdims=bool(keepdims)
    )


def _value(value: object) -> Any:
    """Constants as float32; whole numbers and tensors as they are."""
    return np.asarray(value, np.float32) if isinstance(value, list | tuple | float) else value


def _axes(axis: object) -> Any:
    return tuple(int(one) for one in axis) if isinstance(axis, list | tuple) else axis


def _slice(ops: ModuleType, x: Tensor, key: object, **_: object) -> Any:
    def read(one: object) -> Any:
        if isinstance(one, dict):
            return slice(one["start"], one["stop"], one["step"])
        return one

    return x[tuple(map(read, key)) if isinstance(key, list | tuple) else read(key)]


def _pad(ops: ModuleType, x: Tensor, paddings: Any, mode: str = "CONSTANT", name: str | None = None,
         value: object = 0) -> Any:  # fmt: skip
    pairs = [[int(size) for size in pair] for pair in paddings]
    if mode.upper() != "CONSTANT":
        return ops.pad(x, pairs, mode=mode.lower())
    return ops.pad(x, pairs, constant_values=value or 0)


def _matmul(ops: ModuleType, a: Tensor, b: Tensor, transpose_a: bool = False,
            transpose_b: bool = False, **rest: object) -> Any:  # fmt: skip
    if any(rest.values()):
        raise ModelError(f"tf.linalg.matmul: got {rest}; expected transpose_a and transpose_b")
    turned = [ops.swapaxes(x, -1, -2) if t else x for x, t in ((a, transpose_a), (b, transpose_b))]
    return ops.matmul(*turned)


def _pool(name: str) -> Function:
    def call(
        ops: ModuleType, x: Tensor, ksize: Any, strides: Any, padding: str, **_: object
    ) -> Any:
        return getattr(ops, name)(x, ksize, strides, padding.lower())

    return call


def _split(ops: ModuleType, x: Tensor, given: Any, axis: int = 0, **_: object) -> Any:
    if isinstance(given, int):
        return ops.split(x, given, axis)
    return ops.split(x, [int(end) for end in np.cumsum(given)[:-1]], axis)


# The function's name in a layer's configuration -> the same in Keras 3.
FUNCTIONS: dict[str, Function] = {
    **{
        f"math.{name}": _one(name)
        for name in ("abs", "ceil", "cos", "exp", "floor", "log", "negative", "rsqrt", "sigmoid",
                     "sign", "sin", "softplus", "sqrt", "square", "tanh")
    },
    **{f"nn.{name}": _one(name) for name in ("relu", "relu6", "silu", "elu", "selu", "softplus")},
    **{f"math.{name}": _two(name) for name in ("add", "subtract", "multiply", "maximum", "minimum",
                                              "greater")},
    **{f"math.reduce_{name}": _reduced(name) for name in ("max", "mean", "min", "sum")},
    "math.reduce_variance": _reduced("var"),
    "math.reduce_std": _reduced("std"),
    "__operators__.add": _two("add"),
    "__operators__.getitem": _slice,
    "math.truediv": _two("true_divide"),
    "math.pow": _two("power"),
    "nn.gelu": lambda ops, x, approximate=False, name=None: ops.gelu(x, bool(approximate)),
    "nn.softmax": lambda ops, x, axis=-1, name=None: ops.softmax(x, -1 if axis is None else axis),
    "nn.log_softmax": lambda ops, x, axis=None, name=None: ops.log_softmax(
        x, -1 if axis is None else axis
    ),
    "nn.leaky_relu": lambda ops, x, alpha=0.2, name=None: ops.leaky_relu(x, float(alpha)),
    "nn.avg_pool2d": _pool("average_pool"),
    "nn.max_pool2d": _pool("max_pool"),
    "concat": lambda ops, values, axis, name=None: ops.concatenate(values, int(axis)),
    "stack": lambda ops, values, axis=0, name=None: ops.stack(values, int(axis)),
    "reshape": lambda ops, x, shape, name=None: ops.reshape(x, [int(size) for size in shape]),
    "compat.v1.transpose": lambda ops, x, perm=None, **_: ops.transpose(x, _axes(perm)),
    "compat.v1.pad": _pad,
    "compat.v1.squeeze": lambda ops, x, axis=None, *_, **__: ops.squeeze(x, _axes(axis)),
    "expand_dims": lambda ops, x, axis, name=None: ops.expand_dims(x, int(axis)),
    "clip_by_value": lambda ops, x, low, high, name=None: ops.clip(x, low, high),
    "linalg.matmul": _matmul,
    "einsum": lambda ops, labels, *operands, **_: ops.einsum(labels, *operands),
    "split": _split,
    "tile": lambda ops, x, multiples, name=None: ops.tile(x, [int(m) for m in multiples]),
    "repeat": lambda ops, x, repeats, axis=None, name=None: ops.repeat(x, repeats, axis),
    "reverse": lambda ops, x, axis, name=None: ops.flip(x, _axes(axis)),
    "roll": lambda ops, x, shift, axis, name=None: ops.roll(x, shift, axis),
    "math.cumsum": lambda ops, x, axis=0, **_: ops.cumsum(x, axis),
    "cast": lambda ops, x, dtype, name=None: ops.cast(x, getattr(dtype, "name", dtype)),
    "compat.v1.gather": lambda ops, x, indices, axis=0, **_: ops.take(x, indices, axis=axis),
    "nn.depth_to_space": lambda ops, x, size, **_: ops.depth_to_space(x, int(size)),
    "nn.space_to_depth": lambda ops, x, size, **_: ops.space_to_depth(x, int(size)),
    "stop_gradient": _one("stop_gradient"),
    "where": lambda ops, *choice, **_: ops.where(*choice),
    "unstack": lambda ops, x, num=None, axis=0, name=None: ops.unstack(x, num, axis),
}  # fmt: skip
