"""Recurrent layers that no integer operator computes, written out step by step.

    SimpleRNN    h' = f(x W + b + h U)
    GRU          z, r = g(x W_zr + b_zr + h U_zr)
                 c = f(x W_c + b_c + r (h U_c + d))        or f(x W_c + b_c + (r h) U_c)
                 h' = c + z (h - c)
    LSTM         i, f, o = g(x W_ifo + h U_ifo + b_ifo),   m' = f m + i f(x W_c + h U_c + b_c)
                 h' = o f(m')

The products with x are dense layers of all steps at once; those with h are dense layers that every
step calls. Dropout becomes a layer of its own; dropout of states is lost, and a warning says so.

A step that a mask leaves out keeps the state: with m of 1 for a step that counts and of 0 for
others (`mask_tensors`),

    h' = m h' + (1 - m) h        and m h' for readers, with zero_output_for_mask

Layers stay as they are where steps are many or of unknown number, with another mask or a state that
outlives the call, and where LiteRT has an operator for them, as for most LSTM layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.keras import layers
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec, Ref
from tfxp.transforms.normalize.function_layers import WHOLE, slicing_spec
from tfxp.transforms.normalize.integer_lstm import lstm_obstacle
from tfxp.transforms.normalize.masks import mask_readers, step_masks
from tfxp.transforms.training_settings import MovedWeight, carry_settings

#: Every step of a GRU is a dozen layers, which Keras takes more than a second to build and trace.
MOST_STEPS = 128
#: Classes of layers that can be written out, and in a sentence, which of them are not.
UNROLLED = ("GRU", "SimpleRNN", "LSTM")
WHAT_IS_UNROLLED = (
    f"up to {MOST_STEPS} steps are written out, but for layers that are shared, stateful or "
    "masked otherwise than by an Embedding or a Masking of zeros, or have functions of your own"
)
_OFF = ("stateful", "time_major")


def can_unroll(kind: str, config: Mapping[str, Any]) -> bool:
    """Whether the settings of a recurrent layer allow its steps to be written out.

    Functions of the user's own, which files keep with their settings, have no integer operator.

    Example:
        >>> from tfxp.keras import layers
        >>> from tfxp.transforms.normalize.unrolled import can_unroll
        >>> [can_unroll("GRU", layers.GRU(3, stateful=x).get_config()) for x in (False, True)]
        [True, False]
    """
    if kind not in UNROLLED or any(config.get(setting) for setting in _OFF):
        return False
    functions = (config["activation"], config.get("recurrent_activation", ""))
    return all(isinstance(function, str) for function in functions)


def unroll_recurrences(graph: LayerGraph) -> LayerGraph:
    """Write out every such layer that is called once; the last part keeps its name."""
    stay = mask_readers(graph)
    left_out: dict[Ref, Ref] = {}
    for number, call, spec in graph.in_order():
        mask = next(iter(step_masks(call)), None)
        operator = spec.kind == "LSTM" and lstm_obstacle(graph, spec.name) is None
        plain = spec.name not in stay and call.kwargs.get("mask") is None and not operator
        if (mask or plain) and len(graph.uses(spec.name)) == 1:
            steps = steps_to_write(graph, number, [spec])
            if steps is not None:
                if mask and mask not in left_out:
                    rest = layers.Rescaling(-1.0, 1.0, name=f"{graph.spec_of(mask).name}_left_out")
                    left_out[mask] = graph.append(rest, mask)
                counts = [mask, left_out[mask]] if mask else []
                _Unrolled(graph, number, spec, counts).write(steps)
    graph.sort()
    return graph


def steps_to_write(graph: LayerGraph, number: int, parts: Sequence[LayerSpec]) -> int | None:
    """How many steps a call has, if all these layers could be written out in its place."""
    if not all(can_unroll(part.kind, part.config) for part in parts):
        return None
    steps = graph.input_shape(number)[1]
    return steps if steps is not None and 1 <= steps <= MOST_STEPS else None


class _Unrolled:
    """One layer on its way to many.

    Args:
        graph: to edit.
        number: of the call.
        spec: the layer.
        mask: 1 for every step that counts, and 1 for every other, in tensors of one channel;
            nothing where all steps count.
    """

    def __init__(self, graph: LayerGraph, number: int, spec: LayerSpec, mask: list[Ref]) -> None:
        self._mask = mask
        self._graph, self._number, self._name = graph, number, spec.name
        self._spec, self._config, self._kind = spec, dict(spec.config), spec.kind
        self._units = int(spec.config["units"])
        # The cell's name comes first.
        self._arrays = {name.split(".")[-1]: value for name, value in spec.arrays().items()}
        self._frozen = bool(spec.frozen_parts)
        self._late = self._kind == "GRU" and bool(self._config["reset_after"])

    def write(self, steps: int) -> None:
        """Put the steps in the place of the layer's call."""
        graph, number, spec, config = self._graph, self._number, self._spec, self._config
        source, *states = (ref for ref in graph.calls[number].refs() if ref not in self._mask)
        if config["dropout"]:  # of channels, the same at every step
            source = self._step("dropout", layers.SpatialDropout1D, source, config["dropout"])
        if config["recurrent_dropout"]:
            graph.left_behind.append(f"recurrent_dropout of {self._name!r}")
        x = self._read(source, steps)
        advance = {"SimpleRNN": self._simple, "GRU": self._gru, "LSTM": self._lstm}[self._kind]
        written = []
        order = range(steps)
        for step in reversed(order) if config["go_backwards"] else order:
            now = [self._cut("now", ref, [WHOLE, step]) for ref in x]
            counts = [self._cut("counts", ref, [WHOLE, step]) for ref in self._mask]
            new = self._shown(advance(now, *states), counts)
            states = self._kept(new, states, counts)
            written.append((new if config.get("zero_output_for_mask") else states)[0])
        h = written[-1]
        for place, state in enumerate(states, 1):
            graph.replace(Ref(number, place), state)
        spec.set_arrays({})
        call, width = graph.calls[number], (1, self._units)
        if config["return_sequences"]:
            shape = (None, *width)
            rows = [self._step("row", layers.Reshape, h, width, shape=shape) for h in written]
            spec.become(layers.Concatenate(axis=1))
            call.read(rows)
        else:
            spec.become(layers.Reshape((self._units,)))
            call.read(h)
        call.output_shapes = call.output_shapes[:1]

    def _shown(self, new: list[Ref], counts: list[Ref]) -> list[Ref]:
        """States behind a step, zeros where it does not count."""
        if not counts:
            return new
        return [self._step("shown", layers.Multiply, [state, counts[0]]) for state in new]

    def _kept(self, shown: list[Ref], old: list[Ref], counts: list[Ref]) -> list[Ref]:
        """The same, and the states before where it does not count; the first ones are zeros."""
        if not counts or not old:
            return shown
        left = [self._step("held", layers.Multiply, [state, counts[1]]) for state in old]
        pairs = zip(shown, left, strict=True)
        return [self._step("state", layers.Add, list(pair)) for pair in pairs]

    def _read(self, source: Ref, steps: int) -> list[Ref]:
        """What each part of a step takes from the sequence, all steps at once."""
        kernel, bias = self._arrays["kernel"], self._arrays.get("bias")
        if bias is not None and self._late:
            # Behind a gate's product stands one sum of both biases; the candidate's is gated.
            gates = bias[0] + np.pad(bias[1][: 2 * self._units], (0, self._units))
            self._gated, bias = bias[1][2 * self._units :], gates
        else:
            self._gated = None
        parts, found = self._parts(), []
        self._products = [
            self._dense(f"recurrent{part}", self._arrays["recurrent_kernel"][:, columns],
                        self._gated if part == "_candidate" else None, "recurrent")
            for part, columns in parts.items()
        ]  # fmt: skip
        for part, columns in parts.items():
            own = None if bias is None else bias[columns]
            dense = self._dense(f"input{part}", kernel[:, columns], own, "kernel")
            shape = (None, steps, kernel[:, columns].shape[1])
            found.append(self._graph.append(dense, source, shape=shape))
        return found

    def _parts(self) -> dict[str, NDArray[np.int64]]:
        """Ends of names, and columns of the kernels: one row of units for each gate."""
        rows = np.arange(self._arrays["kernel"].shape[1]).reshape(-1, self._units)
        if self._kind == "SimpleRNN":
            return {"": rows[0]}
        candidate = 2  # of four in an LSTM, the last one in a GRU
        gates = np.delete(rows, candidate, axis=0)
        return {"_gates": gates.ravel(), "_candidate": rows[candidate]}

    def _dense(
        self, name: str, kernel: np.ndarray, bias: np.ndarray | None, whole: str
    ) -> LayerSpec:
        """A dense layer of some columns of a kernel, with the settings of the whole one."""
        layer = layers.Dense(
            kernel.shape[1], use_bias=bias is not None, name=f"{self._name}_{name}"
        )
        spec = self._graph.add_layer(self._spec.part(layer))
        if self._frozen:
            spec.config["trainable"] = False
        spec.set_arrays({"kernel": kernel} if bias is None else {"kernel": kernel, "bias": bias})
        moves = [MovedWeight(whole, spec, "kernel", reshaped=True)]
        if bias is not None:
            moves.append(MovedWeight("bias", spec, "bias", reshaped=True))
        carry_settings(self._graph, self._name, self._config, moves)
        return spec

    def _simple(self, now: list[Ref], h: Ref | None = None) -> list[Ref]:
        """The state behind a step; none before the first is a state of zeros."""
        return [self._activated("state", self._plus(now[0], self._product(0, h)), "activation")]

    def _gru(self, now: list[Ref], h: Ref | None = None) -> list[Ref]:
        z, r = self._gates(now[0], h, ("update", "reset"))
        inside = self._plus(now[1], self._reset(r, h))
        candidate = self._activated("candidate", inside, "activation")
        if h is None:
            kept = self._step("kept", layers.Multiply, [z, candidate])
            return [self._step("state", layers.Subtract, [candidate, kept])]
        apart = self._step("apart", layers.Subtract, [h, candidate])
        kept = self._step("kept", layers.Multiply, [z, apart])
        return [self._step("state", layers.Add, [candidate, kept])]

    def _lstm(self, now: list[Ref], h: Ref | None = None, memory: Ref | None = None) -> list[Ref]:
        i, f, o = self._gates(now[0], h, ("input_gate", "forget_gate", "output_gate"))
        inside = self._plus(now[1], self._product(1, h))
        candidate = self._activated("candidate", inside, "activation")
        cell = self._step("new", layers.Multiply, [i, candidate])
        if memory is not None:
            kept = self._step("kept", layers.Multiply, [f, memory])
            cell = self._step("cell", layers.Add, [kept, cell])
        shown = self._activated("shown", cell, "activation")
        return [self._step("state", layers.Multiply, [o, shown]), cell]

    def _gates(self, now: Ref, h: Ref | None, names: tuple[str, ...]) -> list[Ref]:
        """Activated sums, cut into one piece for each gate."""
        inside = self._plus(now, self._product(0, h))
        gates = self._activated("gates", inside, "recurrent_activation")
        ends = [self._units * place for place in range(len(names) + 1)]
        return [
            self._cut(name, gates, [WHOLE, {**WHOLE, "start": start, "stop": stop}])
            for name, start, stop in zip(names, ends, ends[1:], strict=False)
        ]

    def _reset(self, r: Ref, h: Ref | None) -> Ref | None:
        """The candidate's share of the state, gated; None where it is zero."""
        if h is None:
            if self._gated is None or not self._gated.any():
                return None
            return self._step("gated", layers.Rescaling, r, self._gated.tolist())
        if self._late:
            return self._step("gated", layers.Multiply, [r, self._product(1, h)])
        return self._product(1, self._step("gated", layers.Multiply, [r, h]))

    def _product(self, part: int, h: Ref | None) -> Ref | None:
        if h is None:
            return None
        dense = self._products[part]
        return self._graph.append(dense, h, shape=(None, int(dense.config["units"])))

    def _plus(self, one: Ref, other: Ref | None) -> Ref:
        return one if other is None else self._step("sum", layers.Add, [one, other])

    def _activated(self, name: str, ref: Ref, setting: str) -> Ref:
        return self._step(name, layers.Activation, ref, self._config[setting])

    def _cut(self, name: str, ref: Ref, index: list[Any]) -> Ref:
        last = self._graph.shape_of(ref)[-1]
        if isinstance(index[1], dict):
            last = index[1]["stop"] - index[1]["start"]
        spec = slicing_spec(f"{self._name}_{name}")
        return self._graph.append(spec, ref, index, shape=(None, last))

    def _step(self, name: str, kind: Any, refs: Any, *settings: Any, **known: Any) -> Ref:
        """A layer without weights."""
        return self._graph.append(kind(*settings, name=f"{self._name}_{name}"), refs, **known)
