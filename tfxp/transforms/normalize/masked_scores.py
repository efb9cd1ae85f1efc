"""Scores of attention of which some do not count, as steps that integer operators compute.

A softmax of scores s takes no part of a score whose mask m is 0. With a row's smallest score taken
off, and what does not count set to zero, r is the largest score that counts:

    v = m (s - min s),    r = max v,    e = m (v - r + 7.5) + 8 m - 8,    softmax(e)

So scores end at 7.5, and those that do not count are -8: they have a share below 2e-7 each, and
where no score counts, all have the same share, as in Keras. Eight bits hold e in steps of 1/16.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from tfxp.keras import layers
from tfxp.transforms.layer_graph import LayerGraph, Ref
from tfxp.transforms.normalize.constant_layers import (
    AddConstant,
    MultiplyConstant,
    constant_layer,
)
from tfxp.transforms.normalize.function_layers import function_spec

_TOP, _BOTTOM = 7.5, -8.0


@dataclasses.dataclass(frozen=True)
class ScoreMask:
    """Which scores count, as 1 and 0.

    Args:
        tensor: a tensor that broadcasts to the scores; None if the samples do not differ.
        constant: an array of (rows, columns), for all samples; None if there is none.
    """

    tensor: Ref | None = None
    constant: np.ndarray | None = None

    @classmethod
    def of(
        cls, given: ArrayLike | Ref | None, causal: bool, rows: int | None, columns: int | None
    ) -> ScoreMask | None:
        """The mask that a call of attention is given.

        Args:
            given: numbers of (rows, columns), the same for all samples and heads.
            causal: whether a row counts no column behind its own place.
            rows, columns: how many there are; None if that is not known.

        Returns:
            None where it cannot be told beforehand: a tensor may hold more than 1 and 0.
        """
        if given is None and not causal:
            return cls()
        if isinstance(given, Ref) or rows is None or columns is None:
            return None
        product = np.tri(rows, columns) if causal else np.ones((rows, columns))
        if given is not None:
            numbers = np.asarray(given, np.float32)
            if numbers.shape[:-2] not in ((), (1,)) or not np.isin(numbers, (0, 1)).all():
                return None
            product = product * numbers.reshape(numbers.shape[-2:])
        return cls(constant=product.astype(np.float32))

    @property
    def is_empty(self) -> bool:
        """Whether all scores count."""
        return self.tensor is None and self.constant is None


def masked_scores(graph: LayerGraph, name: str, scores: Ref, mask: ScoreMask) -> Ref:
    """What a softmax reads in the place of scores, so that it leaves some of them out."""
    if mask.is_empty:
        return scores
    return _Masked(graph, name, mask).apply(scores)


class _Masked:
    """The steps; `_times` and `_lowered` look the same for a tensor and for a constant."""

    def __init__(self, graph: LayerGraph, name: str, mask: ScoreMask) -> None:
        self._graph, self._name, self._constant = graph, name, mask.constant
        self._tensor = mask.tensor
        if mask.tensor is not None and mask.constant is not None:
            self._tensor, self._constant = self._both(mask.tensor, mask.constant), None

    def _both(self, tensor: Ref, constant: np.ndarray) -> Ref:
        shape = self._graph.shape_of(tensor)
        layer = constant_layer(MultiplyConstant, constant, f"{self._name}_mask")
        return self._graph.append(layer, tensor, shape=(*shape[:-2], *constant.shape))

    def apply(self, scores: Ref) -> Ref:
        least = self._reduced("least", tf.reduce_min, scores)
        above = self._pair("above", layers.Subtract, [scores, least])
        shown = self._times("shown", above)
        most = self._reduced("most", tf.reduce_max, shown)
        top = self._graph.append(layers.Rescaling(1.0, -_TOP, name=f"{self._name}_top"), most)
        below = self._pair("below", layers.Subtract, [shown, top])
        return self._lowered(self._times("kept", below))

    def _times(self, part: str, ref: Ref) -> Ref:
        """m x."""
        if self._tensor is not None:
            return self._pair(part, layers.Multiply, [ref, self._tensor])
        layer = constant_layer(MultiplyConstant, self._constant, f"{self._name}_{part}")
        return self._graph.append(layer, ref)

    def _lowered(self, ref: Ref) -> Ref:
        """x + 8 m - 8."""
        name = f"{self._name}_masked"
        if self._tensor is not None:
            depth = layers.Rescaling(-_BOTTOM, _BOTTOM, name=f"{self._name}_depth")
            return self._pair("masked", layers.Add, [ref, self._graph.append(depth, self._tensor)])
        assert self._constant is not None
        layer = constant_layer(AddConstant, _BOTTOM * (1 - self._constant), name)
        return self._graph.append(layer, ref)

    def _pair(self, part: str, kind: type, refs: Sequence[Ref]) -> Ref:
        """A layer of two tensors, of which the first has the shape of the scores."""
        return self._graph.append(kind(name=f"{self._name}_{part}"), list(refs))

    def _reduced(self, part: str, function: Callable[..., Any], ref: Ref) -> Ref:
        """One number for every row of scores."""
        spec = function_spec(function, f"{self._name}_{part}")
        shape = (*self._graph.shape_of(ref)[:-1], 1)
        return self._graph.append(spec, ref, shape=shape, axis=-1, keepdims=True)
