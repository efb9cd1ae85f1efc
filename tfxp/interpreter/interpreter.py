"""Interpreter: runs a `.tflite` file with the calls of `tf.lite.Interpreter`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

import tfxp.interpreter.kernels  # noqa: F401  registers every kernel
from tfxp.errors import ConfigError, DataError, ModelError
from tfxp.graph import IntegerGraph, Tensor, read_tflite
from tfxp.interpreter.details import tensor_details
from tfxp.interpreter.encoding import decode_output, encode_input
from tfxp.interpreter.executor import Executor, Settings, prepare
from tfxp.interpreter.prediction import Batches, Rows, rows_by_input
from tfxp.interpreter.registry import Arithmetic, Array, Engine
from tfxp.interpreter.report import Report, layer_row
from tfxp.interpreter.signature import SignatureRunner
from tfxp.interpreter.tape import Tape

_CHOICES = {
    "arithmetic": ("litert", "builtin"),
    "engine": ("fast", "reference"),
    "accumulator_overflow": ("wrap", "saturate"),
}


class Interpreter:
    """Runs an integer model and says what zeros saved.

    Args:
        model_path: a `.tflite` file (or an IntegerGraph).
        model_content: the bytes of one, instead of a file.
        arithmetic: "litert" does what LiteRT's default engine does operator by operator (XNNPACK
            and its fallbacks); "builtin" what its BUILTIN_REF kernels do.
        engine: "fast" runs compiled kernels that skip zeros, "reference" their NumPy definition;
            both give the same integers and the same counts.
        skip_zeros: False multiplies zeros too; results are the same, time and counts are not.
        threads: images run side by side in `predict` and `predict_codes`.
        accumulator_bits: studies a narrower accumulator: its overflows are counted, and results
            are those it would give.
        accumulator_overflow: "wrap" or "saturate": what that accumulator does.
        largest_tensor: elements that a computed tensor may have; see `size_limit.py`.
        num_threads: tf.lite's name for `threads`.

    Raises:
        ConfigError: an argument outside its list.
        ModelError: no model, or a file that cannot be opened.
        TfliteFormatError: bytes that are no well-formed model.

    Example:
        >>> from tfxp.graph import IntegerGraph, Operator, Tensor
        >>> x, y = Tensor("x", (1, 3), "FLOAT32"), Tensor("y", (1, 3), "FLOAT32")
        >>> relu = Operator("RELU", [0], [1])
        >>> runner = Interpreter(IntegerGraph([x, y], [relu], [0], [1]))
        >>> runner.get_input_details()[0]["shape"]
        array([1, 3], dtype=int32)
        >>> runner.predict([[-1.0, 0.0, 2.0], [3.0, -4.0, 0.5]])
        array([[0. , 0. , 2. ],
               [3. , 0. , 0.5]], dtype=float32)
    """

    def __init__(
        self,
        model_path: str | os.PathLike[str] | IntegerGraph | None = None,
        arithmetic: Arithmetic = "litert",
        engine: Engine = "fast",
        *,
        model_content: bytes | None = None,
        skip_zeros: bool = True,
        threads: int = 1,
        accumulator_bits: int | None = None,
        accumulator_overflow: Literal["wrap", "saturate"] = "wrap",
        largest_tensor: int | None = None,
        num_threads: int | None = None,
    ) -> None:
        given = (arithmetic, engine, accumulator_overflow)
        for (name, known), value in zip(_CHOICES.items(), given, strict=True):
            if value not in known:
                raise ConfigError(f"{name} of Interpreter: got {value!r}; expected one of {known}")
        self._threads = threads if num_threads is None else num_threads
        for name, number in (("threads", self._threads), ("largest_tensor", largest_tensor)):
            if number is not None and number < 1:
                raise ConfigError(f"{name} of Interpreter: got {number}; expected 1 or more")
        if accumulator_bits is not None and not 2 <= accumulator_bits <= 64:
            raise ConfigError(
                f"accumulator_bits of Interpreter: got {accumulator_bits}; expected 2 to 64"
            )
        self.graph = _graph(model_path, model_content)
        rest = skip_zeros, accumulator_bits, accumulator_overflow, largest_tensor
        self._settings = Settings(arithmetic, engine, *rest)
        self._shapes: dict[int, tuple[int, ...]] = {}
        self._executor: Executor | None = None
        self._resized = False
        self._values: dict[int, Array] = {}
        self._fed: dict[int, Array] = {}
        self._tape: Tape | None = None
        self._batches: Batches | None = None

    # --- the calls of tf.lite.Interpreter -------------------------------------------------------

    def allocate_tensors(self) -> None:
        """Checks the graph and prepares every kernel; calls that need it do it themselves.

        Raises:
            UnsupportedOpError: names every operator, with its index, that has no kernel or whose
                types or options its kernel does not take.
            TfliteFormatError: operators and tensors that cannot be meant together.
            ModelError: an operator cannot run on the sizes that the inputs have.
        """
        if self._executor is None or self._resized:
            before = self._executor
            self._executor = prepare(self.graph, self._settings, self._shapes)
            self._settle()
            if before is not None:
                self._executor.take_counters(before)
            self._batches, self._resized = None, False
        for index, shape in [(i, self.input_shape(i)) for i in self.graph.inputs]:
            if index not in self._fed or self._fed[index].shape != shape:
                # zeros without memory of their own: a damaged shape must not exhaust it
                zero = np.zeros((), self.graph.tensors[index].dtype)
                self._fed[index] = np.broadcast_to(zero, shape)

    def get_input_details(self) -> list[dict[str, Any]]:
        """One dictionary per model input, with tf.lite's keys."""
        return [self._details(index) for index in self.graph.inputs]

    def get_output_details(self) -> list[dict[str, Any]]:
        """One dictionary per model output, with tf.lite's keys."""
        return [self._details(index) for index in self.graph.outputs]

    def get_tensor_details(self) -> list[dict[str, Any]]:
        """One dictionary per tensor, with tf.lite's keys."""
        return [self._details(index) for index in range(len(self.graph.tensors))]

    def resize_tensor_input(
        self, input_index: int, tensor_size: Sequence[int], strict: bool = False
    ) -> None:
        """Gives a model input another shape; what was set and computed before is forgotten.

        Args:
            input_index: tensor index of a model input.
            tensor_size: its new shape.
            strict: only dimensions that the file marks free (-1) may change.

        Raises:
            ConfigError: not a model input, a negative size, or a fixed dimension under `strict`.
        """
        shape = tuple(int(size) for size in tensor_size)
        if input_index not in self.graph.inputs:
            raise ConfigError(
                f"input_index of resize_tensor_input: got {input_index}; expected one of "
                f"{self.graph.inputs}"
            )
        tensor = self.graph.tensors[input_index]
        if min(shape, default=0) < 0:
            raise ConfigError(f"tensor_size of {tensor.name!r}: got {shape}; expected sizes >= 0")
        signature = tensor.free_shape
        fixed = [s in (-1, n) for s, n in zip(signature, shape, strict=False)]
        if strict and (len(shape) != len(signature) or not all(fixed)):
            raise ConfigError(
                f"tensor_size of {tensor.name!r}: got {shape}; expected {signature}, where only "
                "-1 may change"
            )
        if shape != self.input_shape(input_index):
            self._shapes[input_index] = shape
            self._resized = True
            self._fed.pop(input_index, None)
            self._forget_tape()

    def set_tensor(self, tensor_index: int, value: ArrayLike) -> None:
        """Copies an array into a model input.

        Raises:
            DataError: another shape or element type than the input's.
        """
        self._ready()
        tensor = self._tensor(tensor_index)
        array = np.asarray(value)
        if tensor_index not in self._fed:
            raise DataError(
                f"tensor of set_tensor: got {tensor_index} ({tensor.name!r}); expected a model "
                f"input, one of {self.graph.inputs}"
            )
        if array.dtype != tensor.dtype or array.shape != self.input_shape(tensor_index):
            raise DataError(
                f"value for input {tensor.name!r}: got {array.dtype} {array.shape}; expected "
                f"{tensor.dtype} {self.input_shape(tensor_index)}"
            )
        memory = self._fed[tensor_index]
        if memory.flags.writeable and memory.shape == array.shape:
            np.copyto(memory, array)
        else:
            self._fed[tensor_index] = np.array(array, order="C")
        if self._tape is not None:
            self._tape.stale = True

    def invoke(self) -> None:
        """Runs the model on what was set.

        Raises:
            ModelError: an operator met shapes that it cannot run.
        """
        executor = self._ready()
        if self._tape is not None and self._tape.run():
            return
        self._forget_tape()
        self._fed = {i: np.require(a, requirements=["C", "W"]) for i, a in self._fed.items()}
        if self._settings.engine == "fast":
            self._tape = Tape(executor, self._fed, executor.nodes)
            self._values = self._tape.values
        else:
            self._values = executor.run(dict(self._fed))

    def get_tensor(self, tensor_index: int) -> Array:
        """A copy of a tensor's content: input, output, constant or intermediate result.

        Reading an intermediate result whose memory was used again repeats the last run once.

        Args:
            tensor_index: its number in the file.

        Raises:
            ModelError: the tensor has no content yet, or an input was set since it was computed.
            DataError: no tensor has that number.
        """
        tensor, executor = self._tensor(tensor_index), self._executor
        if executor is not None and not self._resized:
            tensor = executor.graph.tensors[tensor_index]  # constants that follow from shapes too
        variables = executor.variables if executor is not None else {}
        computed = self._tape.read(tensor_index) if self._tape else self._values.get(tensor_index)
        own = self._fed.get(tensor_index), computed, variables.get(tensor_index), tensor.data
        for content in own:
            if content is not None:
                return content.copy()
        if tensor_index in self.graph.outputs and executor is not None and not self._resized:
            return np.zeros(self.input_shape(tensor_index), tensor.dtype)
        raise ModelError(f"tensor {tensor_index} ({tensor.name!r}): got no content; run invoke()")

    def tensor(self, tensor_index: int) -> Callable[[], Array]:
        """A function that returns the tensor's current content."""
        return lambda: self.get_tensor(tensor_index)

    def reset_all_variables(self) -> None:
        """Sets the state of stateful operators back to their start."""
        self._ready().reset_variables()

    def get_signature_list(self) -> dict[str, dict[str, list[str]]]:
        """Signature keys with the names of their inputs and outputs."""
        return {
            entry.key: {"inputs": sorted(entry.inputs), "outputs": sorted(entry.outputs)}
            for entry in self.graph.signatures
        }

    def get_signature_runner(self, signature_key: str | None = None) -> SignatureRunner:
        """A callable that takes a signature's inputs by name and returns its outputs by name.

        Raises:
            ConfigError: no such signature, or several and no key given.
        """
        return SignatureRunner(self, signature_key)

    # --- what tfxp adds -------------------------------------------------------------------------

    def predict(self, x: Rows, batch_size: int | None = None) -> Array | list[Array]:
        """Real outputs for many real inputs.

            code = clip(half_even(x / scale) + zero_point),  y = scale * (code - zero_point)

        Inputs and outputs without a scale (token numbers, labels, floats) pass as they are. Sizes
        that the file leaves open are set to those of the data.

        Args:
            x: real values (N, ...); for several inputs a list in their order or a dictionary by
                name, of the tensors or of a signature's arguments.
            batch_size: images per pass; by default as many as fit some tens of MB.

        Returns:
            Array (N, ...) of real outputs, or a list of them when the model has several outputs.

        Raises:
            DataError: an input that is missing, of another shape, or not a number.
        """
        feeds = rows_by_input(self.graph, x, "predict")
        codes = {}
        for index, rows in feeds.items():
            tensor = self.graph.tensors[index]
            codes[index] = encode_input(tensor, rows, "real" if tensor.scale > 0 else "codes")
        tensors = [self.graph.tensors[index] for index in self.graph.outputs]
        outputs = [
            decode_output(tensor, part) if tensor.scale > 0 else part
            for tensor, part in zip(tensors, self._predict(codes, batch_size), strict=True)
        ]
        return outputs[0] if len(outputs) == 1 else outputs

    def predict_codes(self, x: Rows, batch_size: int | None = None) -> Any:
        """Outputs for many images at once, as codes.

        A model made for one image runs each operator once over a stack of images where the operator
        permits, else image by image. State of stateful operators restarts with every image.

        Args:
            x: as in `predict`, codes in place of real values.
            batch_size: as in `predict`.

        Returns:
            Array (N, ...) of output codes, or a list of them when the model has several outputs.

        Raises:
            DataError: rows that do not have the input's shape and type.
        """
        outputs = self._predict(rows_by_input(self.graph, x, "predict_codes"), batch_size)
        return outputs[0] if len(outputs) == 1 else outputs

    def _predict(self, feeds: dict[int, Array], batch_size: int | None) -> list[Array]:
        for index, rows in feeds.items():
            tensor, wanted = self.graph.tensors[index], (1, *rows.shape[1:])
            free = tensor.free_shape
            open_to = len(free) == rows.ndim and all(
                size in (-1, n) for size, n in zip(free, wanted, strict=True)
            )
            if open_to:
                self.resize_tensor_input(index, wanted)
            shape = self.input_shape(index)
            if rows.dtype != tensor.dtype or wanted != shape:
                raise DataError(
                    f"rows for input {tensor.name!r}: got {rows.dtype} {rows.shape}; expected "
                    f"{tensor.dtype} (N, {', '.join(map(str, shape[1:]))}) with a model input of "
                    f"leading dimension 1 (it is {shape})"
                )
        executor = self._ready()
        self._batches = self._batches or Batches(executor)
        return self._batches.predict(feeds, batch_size, self._threads)

    def input_shape(self, tensor_index: int) -> tuple[int, ...]:
        """The shape that a model input has now, resized or not."""
        if tensor_index in self._shapes:
            return self._shapes[tensor_index]
        if tensor_index in self._values:
            return self._values[tensor_index].shape
        ready = None if self._resized else self._executor
        return (ready or self).graph.tensors[tensor_index].shape

    def report(self) -> Report:
        """Counters of every multiplying operator, summed over all runs since the last reset."""
        executor = self._ready()
        self._settle()
        return Report(
            tuple(
                layer_row(node, node.counters)
                for node in executor.nodes
                if node.counters.macs_total or node.cache.get("counts_macs")
            )
        )

    def reset_counters(self) -> None:
        """Starts counting anew."""
        self._settle()
        for node in self._ready().nodes:
            node.counters.reset()

    # --- inside ---------------------------------------------------------------------------------

    def _forget_tape(self) -> None:
        self._settle()
        self._tape, self._values = None, {}

    def _settle(self) -> None:
        if self._tape is not None:
            self._tape.settle()
        if self._batches is not None:
            self._batches.settle()

    def _ready(self) -> Executor:
        if self._executor is None or any(i not in self._fed for i in self.graph.inputs):
            self.allocate_tensors()
        assert self._executor is not None
        return self._executor

    def _tensor(self, index: int) -> Tensor:
        if not 0 <= index < len(self.graph.tensors):
            raise DataError(
                f"tensor index: got {index}; expected 0 to {len(self.graph.tensors) - 1}"
            )
        return self.graph.tensors[index]

    def _details(self, index: int) -> dict[str, Any]:
        return tensor_details(self.graph.tensors[index], index, self.input_shape(index))


def _graph(
    source: str | os.PathLike[str] | IntegerGraph | None, content: bytes | None
) -> IntegerGraph:
    if (source is None) == (content is None):
        raise ModelError("Interpreter: got no model or two; expected model_path or model_content")
    given: Any = source if content is None else content
    return given if isinstance(given, IntegerGraph) else read_tflite(given)
