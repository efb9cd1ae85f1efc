"""UNIDIRECTIONAL_SEQUENCE_LSTM in its integer form.

Every product is requantized with double rounding; gates, cell and hidden state are 16-bit fixed
point (Q3.12 before the activations, Q0.15 after). What inputs add to the gates is computed for all
steps at once, and the activations are looked up. Counted are the products of codes with weights: a
zero is a code at its zero point, of the input or of the state that comes back. LiteRT has one
kernel for both resolvers, so both arithmetics are the same. State lives in variable tensors, which
the kernel updates in place.

References:
    LiteRT's 8x8 -> 16 integer LSTM (four or five intermediates), without and with CIFG, peephole,
    layer normalization and projection; the 8x8 -> 8 form (twelve intermediates) is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.graph.integer_graph import Tensor
from tfxp.interpreter.counters import Counters, count_products, signed_bits
from tfxp.interpreter.kernels import requirements as need
from tfxp.interpreter.kernels.transcendental import inverse_square_root
from tfxp.interpreter.numerics import fixed_point_math as fixed
from tfxp.interpreter.numerics.arithmetic import (
    QuantizedMultiplier,
    divide_by_power,
    float32_product,
    log2_if_power_of_two,
    requantize,
    wrap_int32,
)
from tfxp.interpreter.registry import Array, Node, kernel

INT8, INT16 = (-128, 127), (-32768, 32767)
#: Positions of the LSTM's inputs; gates in the order input, forget, cell, output.
_INPUT, _FROM_INPUT, _FROM_OUTPUT, _FROM_CELL, _BIAS = 0, 1, 5, 9, 12
_PROJECTION, _PROJECTION_BIAS, _OUTPUT_STATE, _CELL_STATE, _NORM = 16, 17, 18, 19, 20
_GATES = ("input", "forget", "cell", "output")


def _folded_bias(weights: Array, zero: int, bias: Array | None) -> Array:
    """bias - zero * (sum of each row of weights)."""
    folded = -zero * weights.astype(np.int64).sum(axis=1)
    return folded if bias is None else folded + bias.astype(np.int64)


@dataclass(frozen=True)
class Gate:
    """One gate of the LSTM, ready to run.

    Args:
        is_tanh: the activation; logistic otherwise.
        from_input, from_output: weights (inputs, cells) and (outputs, cells), whole numbers in
            float64, whose products BLAS computes.
        input_bias, output_bias: biases with the zero points folded in.
        input_by, output_by, cell_by: multipliers of the three products.
        from_cell: peephole weights, or None.
        norm: layer normalization's coefficients, bias, multiplier and variance guard, or None.
        whole_batch: whether LiteRT runs the whole batch in one step (time_major).
    """

    is_tanh: bool
    from_input: NDArray[np.float64]
    from_output: NDArray[np.float64]
    input_bias: Array
    output_bias: Array
    input_by: QuantizedMultiplier
    output_by: QuantizedMultiplier
    cell_by: QuantizedMultiplier | None = None
    from_cell: Array | None = None
    norm: tuple[Array, Array, QuantizedMultiplier, int] | None = None
    whole_batch: bool = False

    def from_inputs(self, x: Array, seen: Counters) -> Array:
        """What inputs (..., inputs) add to the gate, in its steps before the activation."""
        return _accumulate(0, x @ self.from_input + self.input_bias, self.input_by, seen)

    def __call__(self, total: Array, output: Array, cell: Array, seen: Counters) -> Array:
        """Gate values in Q0.15 for what inputs add, (batch, cells), and states (batch, ...)."""
        product = output @ self.from_output + self.output_bias
        total = _accumulate(total, product, self.output_by, seen)
        if self.from_cell is not None:
            total = _add_peephole(total, cell, self, output.shape[-1])
        if self.norm is not None:
            total = _layer_norm(total, *self.norm)
        return fixed.word_table("tanh" if self.is_tanh else "logistic", 3)[total + 32768]


def _accumulate(
    total: Any, product: NDArray[np.float64], by: QuantizedMultiplier, seen: Counters
) -> Array:
    """Adds a product, which float64 holds exactly, in the gate's steps."""
    sums = product.astype(np.int64)
    seen.accumulator_min = min(seen.accumulator_min, int(sums.min()))
    seen.accumulator_max = max(seen.accumulator_max, int(sums.max()))
    return np.clip(requantize(wrap_int32(sums), by) + total, *INT16)


def _add_peephole(total: Array, cell: Array, gate: Gate, outputs: int) -> Array:
    """Adds weights * cell. LiteRT takes the number of outputs for the number of cells here, which
    matters when there is a projection: it walks the whole batch (time_major) or each image as a
    flat array in rows of that length. Results repeat that."""
    assert gate.from_cell is not None and gate.cell_by is not None
    images = 1 if gate.whole_batch else total.shape[0]
    flat_total, flat_cell = total.reshape(images, -1).copy(), cell.reshape(images, -1)
    rows = total.shape[0] // images
    end = rows * outputs
    product = flat_cell[:, :end] * np.tile(gate.from_cell[:outputs], rows)
    added = requantize(wrap_int32(product), gate.cell_by)
    flat_total[:, :end] = np.clip(flat_total[:, :end] + added, *INT16)
    return flat_total.reshape(total.shape)


def _layer_norm(
    x: Array, coefficients: Array, bias: Array, by: QuantizedMultiplier, guard: int
) -> Array:
    count = x.shape[-1]
    mean = _truncated_division(x.sum(axis=-1) * 1024, count)
    variance = (x * x).sum(axis=-1) * (2**20 // count) - mean * mean
    rows = []
    for row, row_mean, spread in zip(x, mean, variance, strict=True):
        spread = int(_truncated_division(spread, 2**20))
        inverse = QuantizedMultiplier(*inverse_square_root(spread if spread >= 1 else guard))
        scaled = requantize(wrap_int32(1024 * row - row_mean), inverse)
        value = wrap_int32(scaled * coefficients) + bias
        value = _truncated_division(np.where(value > 0, value + 512, value - 512), 1024)
        shifted = QuantizedMultiplier(by.multiplier, by.shift + 12)
        rows.append(np.clip(requantize(value, shifted), *INT16))
    return np.stack(rows)


def _truncated_division(a: Any, b: int) -> Any:
    return np.sign(a) * (np.abs(a) // b)


@dataclass(frozen=True)
class Lstm:
    """The prepared LSTM: gates (input is None under CIFG) and what turns cells into outputs."""

    gates: dict[str, Gate | None]
    cell_log2: int
    cell_clip: int
    hidden_by: QuantizedMultiplier
    hidden_zero: int
    output_zero: int
    projection: tuple[Array, Array, QuantizedMultiplier, int] | None
    skip_zeros: bool

    def step(
        self, sums: dict[str, Array], output: Array, cell: Array, seen: Counters
    ) -> tuple[Array, Array]:
        """One time step, given what inputs add to each gate; returns output and cell state."""
        values = {
            name: gate(sums[name], output, cell, seen)
            for name, gate in self.gates.items()
            if name != "output" and gate is not None
        }
        admitted = values.get("input", 32767 - values["forget"])
        kept = divide_by_power(values["forget"] * cell, 15)
        new = divide_by_power(admitted * values["cell"], 30 + self.cell_log2)
        cell = np.clip(fixed.wrap(kept, 16) + fixed.wrap(new, 16), *INT16)
        if self.cell_clip > 0:
            cell = np.clip(cell, -self.cell_clip, self.cell_clip)
        out_gate = self.gates["output"]
        assert out_gate is not None
        activated = fixed.word_table("tanh", 15 + self.cell_log2)[cell + 32768]
        opened = out_gate(sums["output"], output, cell, seen) * activated
        hidden = requantize(opened, self.hidden_by)
        if self.projection is None:
            return _saturated(hidden + self.hidden_zero, seen), cell
        weights, bias, by, clip = self.projection
        hidden = np.clip(hidden - self.hidden_zero, *INT8)
        count_products(seen, hidden != 0, weights, self.skip_zeros)
        projected = requantize(wrap_int32(hidden @ weights.T + bias), by) + self.output_zero
        projected = _saturated(projected, seen)
        return (np.clip(projected, -clip, clip) if clip > 0 else projected), cell


def _saturated(codes: Array, seen: Counters) -> Array:
    held = np.clip(codes, *INT8)
    seen.saturations += int(np.count_nonzero(held != codes))
    return held


def _constant(node: Node, position: int) -> Array | None:
    if position >= len(node.inputs) or node.inputs[position] is None:
        return None
    data = node.constant(position)
    if data is None:
        raise need.unsupported(node, f"input {position}", "a computed tensor", "a constant")
    return data.astype(np.int64)


def _prepare_lstm(node: Node) -> None:
    need.require_counts(node, (20, 24), optional=(1, 5, *range(9, 18)))
    for position in (_INPUT, 2, 3, 4, 6, 7, 8, _OUTPUT_STATE):
        need.require_type(node, position, ("INT8",))
    need.require_type(node, _CELL_STATE, ("INT16",))
    need.require_output_type(node, ("INT8",))
    need.require_rank(node, _INPUT, 3)
    if len(node.intermediates) != 5 or node.intermediates[4] is None:
        got = f"{len(node.intermediates)} intermediates"
        raise need.unsupported(node, "form", got, "5 intermediates (8x8 -> 16 integer LSTM)")
    tensors = [t for t in node.inputs if t is not None and t.type in ("INT8", "INT16")]
    need.require_scales(node, *tensors, node.outputs[0])
    for position in (_OUTPUT_STATE, _CELL_STATE):
        if not need.tensor(node, position).is_variable:
            raise need.unsupported(node, f"input {position}", "no variable", "a variable tensor")
    _check_lstm_shapes(node)
    node.cache["lstm"], node.cache["counts_macs"] = _build_lstm(node), True


def _check_lstm_shapes(node: Node) -> None:
    cells = need.tensor(node, 2).shape[0]
    inputs, outputs = need.tensor(node, 0).shape[-1], need.tensor(node, 6).shape[-1]
    wanted: dict[int, tuple[int, ...]] = {}
    for i in range(4):
        wanted[_FROM_INPUT + i], wanted[_FROM_OUTPUT + i] = (cells, inputs), (cells, outputs)
        wanted[_BIAS + i] = wanted[_NORM + i] = (cells,)
        if i < 3:
            wanted[_FROM_CELL + i] = (cells,)
    wanted[_PROJECTION], wanted[_PROJECTION_BIAS] = (outputs, cells), (outputs,)
    for position, shape in wanted.items():
        tensor = node.inputs[position] if position < len(node.inputs) else None
        if tensor is not None and tuple(tensor.shape) != shape:
            got = list(tensor.shape)
            raise need.malformed(node, f"shape of input {position}", got, str(list(shape)))
    if outputs > cells or (node.inputs[_PROJECTION] is None and outputs != cells):
        raise need.malformed(node, "outputs", outputs, f"{cells}, the number of cells")
    first, second, _ = need.tensor(node, 0).shape
    batch = second if node.options["time_major"] else first
    for position, size in ((_OUTPUT_STATE, outputs), (_CELL_STATE, cells)):
        if need.tensor(node, position).shape != (batch, size):
            got = list(need.tensor(node, position).shape)
            raise need.malformed(node, f"shape of input {position}", got, str([batch, size]))
    need.require_output_shape(node, (first, second, outputs))


def _build_lstm(node: Node) -> Lstm:
    cell_state, hidden = need.tensor(node, _CELL_STATE), node.intermediates[4]
    assert hidden is not None
    cell_log2 = log2_if_power_of_two(cell_state.scale)
    if cell_log2 is None or not -15 <= cell_log2 <= -9:
        expected = "a power of two, 2^-15 to 2^-9"
        raise need.unsupported(node, "scale of the cell state", cell_state.scale, expected)
    output_state = need.tensor(node, _OUTPUT_STATE)
    hidden_scale = np.float32(2.0**-15 / hidden.scale * 2.0**-15)
    clip = float(np.float32(node.options["cell_clip"]) / np.float32(cell_state.scale))
    return Lstm(
        {name: _gate(node, i, name, cell_log2) for i, name in enumerate(_GATES)},
        cell_log2,
        int(min(clip, 32767.0)) if node.options["cell_clip"] > 0 else 0,
        QuantizedMultiplier.of(float(hidden_scale)),
        hidden.zero_point,
        output_state.zero_point,
        _projection(node, hidden, output_state),
        node.skip_zeros,
    )


def _projection(
    node: Node, hidden: Tensor, output_state: Tensor
) -> tuple[Array, Array, QuantizedMultiplier, int] | None:
    weights = _constant(node, _PROJECTION)
    if weights is None:
        return None
    scale = need.tensor(node, _PROJECTION).scale
    by = float32_product(scale, hidden.scale, output_state.scale)
    bias = _folded_bias(weights, -hidden.zero_point, _constant(node, _PROJECTION_BIAS))
    limit = float(np.float32(node.options["proj_clip"]) / np.float32(node.outputs[0].scale))
    return weights, bias, by, int(min(limit, 127.0)) if node.options["proj_clip"] > 0 else 0


def _gate(node: Node, index: int, name: str, cell_log2: int) -> Gate | None:
    from_input = _constant(node, _FROM_INPUT + index)
    from_output = _constant(node, _FROM_OUTPUT + index)
    if from_input is None or from_output is None:
        if name == "input" and from_input is None and from_output is None:
            return None  # CIFG couples the input gate to the forget gate
        raise need.malformed(node, f"weights of the {name} gate", "none", "constants")
    norm = _norm(node, index)
    source, state = need.tensor(node, _INPUT), need.tensor(node, _OUTPUT_STATE)
    gate_scale = 2.0**-12
    if norm is not None:
        scratch = node.intermediates[index]
        if scratch is None:
            raise need.malformed(node, f"intermediate {index}", "nothing", "a scale")
        gate_scale = scratch.scale
    bias = None if norm is not None else _constant(node, _BIAS + index)
    input_scale = need.tensor(node, _FROM_INPUT + index).scale
    output_scale = need.tensor(node, _FROM_OUTPUT + index).scale
    from_cell, cell_by = _peephole(node, index, name, cell_log2, gate_scale)
    return Gate(
        name == "cell",
        from_input.T.astype(np.float64),
        from_output.T.astype(np.float64),
        _folded_bias(from_input, source.zero_point, bias),
        _folded_bias(from_output, state.zero_point, None),
        float32_product(input_scale, source.scale, gate_scale),
        float32_product(output_scale, state.scale, gate_scale),
        cell_by,
        from_cell,
        norm,
        bool(node.options["time_major"]),
    )


def _peephole(
    node: Node, index: int, name: str, cell_log2: int, gate_scale: float
) -> tuple[Array | None, QuantizedMultiplier | None]:
    position = {"input": 9, "forget": 10, "output": 11}.get(name)
    weights = None if position is None else _constant(node, position)
    if weights is None or position is None:
        return None, None
    scale = 2.0**cell_log2 * need.tensor(node, position).scale / gate_scale
    return weights, QuantizedMultiplier.of(float(np.float32(scale)))


def _norm(node: Node, index: int) -> tuple[Array, Array, QuantizedMultiplier, int] | None:
    coefficients = _constant(node, _NORM + index)
    if coefficients is None:
        return None
    bias = _constant(node, _BIAS + index)
    if bias is None:
        raise need.malformed(node, f"bias of gate {index}", "nothing", "a constant")
    scale = need.tensor(node, _NORM + index).scale
    guard = max(1, int(np.float32(10000) * np.float32(scale)))
    return coefficients, bias, QuantizedMultiplier.of(scale), guard


def _count(node: Node, x: Array, states: Array, sequence: Array) -> None:
    """Counts what a run has read, multiplied and written; projections are counted step by step."""
    lstm, seen, bits = node.cache["lstm"], node.counters, 8
    gates = [gate for gate in lstm.gates.values() if gate is not None]
    matrices = [] if lstm.projection is None else [lstm.projection[0]]
    written, still = sequence.size, np.count_nonzero(sequence == node.outputs[0].zero_point)
    moved, zeros, worst = written, int(still), 0
    for codes, position, side, bias in (
        (x, _INPUT, "from_input", "input_bias"),
        (states, _OUTPUT_STATE, "from_output", "output_bias"),
    ):
        weights = np.concatenate([getattr(gate, side).T for gate in gates])
        nonzero = codes.reshape(-1, weights.shape[1]) != need.tensor(node, position).zero_point
        count_products(seen, nonzero, weights, node.skip_zeros)
        moved, zeros = moved + nonzero.size, zeros + int(nonzero.size - nonzero.sum())
        matrices.append(weights)
        folded = max(int(np.abs(getattr(gate, bias)).max()) for gate in gates)
        worst = max(worst, 128 * int(np.abs(weights).sum(axis=1).max()) + folded)
    seen.weight_elements = sum(matrix.size for matrix in matrices)
    seen.weight_zeros = sum(int(np.count_nonzero(matrix == 0)) for matrix in matrices)
    seen.accumulator_bits_worst = signed_bits(-worst, worst)
    seen.output_elements += written
    seen.output_zeros += int(still)
    seen.bits_dense += bits * moved
    seen.bits_compressed += moved + bits * (moved - zeros)


@kernel("UNIDIRECTIONAL_SEQUENCE_LSTM", prepare=_prepare_lstm)
def unidirectional_sequence_lstm(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """An LSTM over a sequence of INT8 vectors; its two states are updated in place."""
    lstm, seen = node.cache["lstm"], node.counters
    x = inputs[_INPUT].astype(np.int64)
    steps = x if node.options["time_major"] else x.swapaxes(0, 1)
    sums = {n: gate.from_inputs(steps, seen) for n, gate in lstm.gates.items() if gate is not None}
    states, output = [], inputs[_OUTPUT_STATE].astype(np.int64)
    cell = inputs[_CELL_STATE].astype(np.int64)
    for step in range(len(steps)):
        states.append(output)
        given = {name: array[step] for name, array in sums.items()}
        output, cell = lstm.step(given, output, cell, seen)
    inputs[_OUTPUT_STATE][...] = output
    inputs[_CELL_STATE][...] = cell
    sequence = np.stack([*states[1:], output]).astype(np.int8)
    _count(node, steps, np.stack(states), sequence)
    return [sequence if node.options["time_major"] else sequence.swapaxes(0, 1).copy()]
