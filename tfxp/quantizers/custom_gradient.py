"""`tf.custom_gradient` whose graphs can be freed.

TensorFlow registers the gradient of every call in a graph, under a name of its own and for good.
The registered function holds tensors and these hold their graph, so that no graph with a quantizer
in it is ever freed: each model that was quantized and traced costs megabytes until the process
ends. Here the registry holds the function weakly. The graphs around the call hold it instead, and
it goes when they go.

The registry of gradients is a private part of TensorFlow; where it is another than the one known
here, calls work as ever and nothing is freed.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

import tensorflow as tf

try:
    from tensorflow.python.framework.ops import gradient_registry

    _REGISTERED: dict[str, dict[str, Any]] = gradient_registry._registry
except (ImportError, AttributeError):
    _REGISTERED = {}
_FUNCTION = "type"  # the registry's key for the function of an entry
_HELD = "_tfxp_gradients"


def custom_gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `tf.custom_gradient`: the function returns its result and its gradient function.

    Args:
        function: takes tensors, and returns one tensor or several and a function of the incoming
            gradients.

    Example:
        >>> @custom_gradient
        ... def twice(x):
        ...     return 2 * x, lambda upstream: 2 * upstream
        >>> float(twice(tf.constant(3.0)))
        6.0
    """
    decorated = tf.custom_gradient(function)

    @functools.wraps(function)
    def call(*tensors: tf.Tensor) -> Any:
        results = decorated(*tensors)
        if not tf.executing_eagerly():
            _hold_by_graph(tf.nest.flatten(results)[0])
        return results

    return call


def _hold_by_graph(result: tf.Tensor) -> None:
    """Let the graphs around a result hold its gradient function, and the registry no longer."""
    name = result.op.get_attr("_gradient_op_type").decode()
    entry = _REGISTERED.get(name)
    if entry is None or _FUNCTION not in entry:
        return
    function = entry[_FUNCTION]
    entry[_FUNCTION] = _weakly(function)
    weakref.finalize(function, _REGISTERED.pop, name, None)
    graph = result.graph
    # A branch of a conditional is differentiated in the graph around it, maybe as a copy.
    while isinstance(graph, tf.__internal__.FuncGraph):
        setattr(graph, _HELD, [*getattr(graph, _HELD, ()), function])
        graph = graph.outer_graph


def _weakly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Calls a function that somebody else keeps."""
    known = weakref.ref(function)

    def call(*gradients: Any) -> Any:
        held = known()
        assert held is not None, "a gradient is asked for, and its graph is gone"
        return held(*gradients)

    return call
