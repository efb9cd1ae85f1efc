#!/usr/bin/env python3
"""Find the first layer where two forms of one network part: quantized Keras, .tflite, engines.

    tools/compare_models.py --model=q.keras                      # against its own export
    tools/compare_models.py --model=q.keras --against=q.tflite
    tools/compare_models.py --model=a.tflite --against=b.tflite --data=test.npz --json=parts.json
    tools/compare_models.py --model=a.tflite --data=test.npz --runtimes=litert,reference,tflm,c

Every form runs on the same samples, integer files in tfxp's interpreter and in the --runtimes, and
every tensor is compared in LSBs: steps of its scale. Scales, zero points, weights and biases are
compared too, so that a wrong one is named even where the samples do not show it. Without --data the
inputs are random codes. Exits with 1 if any two runs part, or a runtime does not run a file.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tfxp
from tfxp import cli
from tfxp.commands.read_data import preprocessing_for, scalings_for
from tfxp.comparison.compare import Comparison, TensorDifference, compare_traces
from tfxp.comparison.operator_differences import operator_differences
from tfxp.comparison.runtime_results import RuntimeResult, compare_runtimes, runtime_rows
from tfxp.comparison.trace import Trace, trace_file, trace_interpreter, trace_runtime
from tfxp.data import Dataset
from tfxp.data.model_notes import notes_in
from tfxp.errors import (
    ConfigError,
    DataError,
    EngineError,
    ModelError,
    TfliteFormatError,
    UnsupportedOpError,
)
from tfxp.files import write_json
from tfxp.graph import IntegerGraph, Tensor, index_limit, read_tflite
from tfxp.graph.element_types import CODE_LIMITS
from tfxp.interpreter.encoding import decode_output, encode_input
from tfxp.runtimes import RUNTIMES, runtimes_of
from tfxp.streams import open_data

_FLAGS = cli.ToolFlags(__doc__)
_MODEL = _FLAGS.model("Quantized Keras model, or .tflite.")
_OPENING = _FLAGS.opening()
_AGAINST = _FLAGS.DEFINE_string(
    "against", None, "The other form: quantized Keras model or .tflite."
)
_DATA = _FLAGS.data("Samples to compare on (default: random codes).", required=False)
_SPLIT = _FLAGS.split()
_LIMIT = _FLAGS.limit()
_FLAGS.preprocessing()
_FLAGS.input_scale()
_FLAGS.input_shift()
_INPUT_KIND = _FLAGS.input_kind()
_TOLERANCE = _FLAGS.DEFINE_integer("tolerance", 0, "LSBs that are let pass.", lower_bound=0)
_RUNTIMES = _FLAGS.DEFINE_list(
    "runtimes",
    None,
    f"Where integer files run besides the interpreter: {', '.join(RUNTIMES)}, or all (litert). "
    "The exit code is 1 if one of them does not run a file.",
)
_OPERATORS = _FLAGS.DEFINE_boolean(
    "operators",
    False,
    "Also compare every operator by itself, on the interpreter's inputs, on all --runtimes.",
)
_LITERT = _FLAGS.DEFINE_boolean("litert", True, "--nolitert takes litert out of --runtimes.")
_SEED = _FLAGS.seed()
_JSON = _FLAGS.json()
_SAMPLES = 8


class KerasForm:
    """A quantized Keras model among the forms that are compared."""

    def __init__(self, path: str) -> None:
        from tfxp.export import KerasTracer

        self.name = f"Keras ({path})"
        self._tracer = KerasTracer(tfxp.load_model(path, **_OPENING.options()))
        self.graph = self._tracer.graph

    def random(self, samples: int, generator: np.random.Generator) -> list[np.ndarray]:
        """Real inputs."""
        return self._tracer.random_inputs(samples, generator)

    def runs(self, inputs: Sequence[np.ndarray]) -> dict[str, Trace]:
        """One run."""
        return {"Keras": self._tracer.trace(inputs, self.name)}


class FileForm:
    """An integer file, run by the interpreter and by runtimes."""

    def __init__(self, path: str, graph: IntegerGraph) -> None:
        self.path, self.graph = path, graph
        self.refusals: list[str] = []
        self.results: tuple[RuntimeResult, ...] = ()
        self.operators: dict[str, tuple[TensorDifference, ...]] = {}

    def random(self, samples: int, generator: np.random.Generator) -> list[np.ndarray]:
        """Real inputs."""
        results = []
        for index in self.graph.inputs:
            tensor = self.graph.tensors[index]
            shape = (samples, *tensor.shape[1:])
            if tensor.dtype.kind == "f":
                results.append(generator.normal(size=shape).astype(np.float32))
                continue
            low, high = CODE_LIMITS[tensor.type]
            rows = index_limit(self.graph, index)
            if rows is not None and not tensor.scale:
                low, high = 0, rows - 1
            codes = generator.integers(low, high + 1, shape).astype(tensor.dtype)
            results.append(decode_output(tensor, codes) if tensor.scale else codes)
        return results

    def runs(self, inputs: Sequence[np.ndarray]) -> dict[str, Trace]:
        """Runs by what ran them; what the file says if the interpreter refuses it."""
        tensors = [self.graph.tensors[index] for index in self.graph.inputs]
        feeds = [encode_input(t, part, "real" if t.scale else "auto")
                 for t, part in zip(tensors, inputs, strict=True)]  # fmt: skip
        try:
            traces = {"interpreter": trace_interpreter(self.graph, feeds, self._of("interpreter"))}
        except (ModelError, TfliteFormatError, UnsupportedOpError) as error:
            self.refusals.append(f"The interpreter does not run {self.path}: {error}")
            return {"file": trace_file(self.graph, f"file {self.path}")}
        self.results = compare_runtimes(self.graph, feeds, asked_runtimes())
        for result in self.results:
            runtime = RUNTIMES[result.runtime]
            try:
                if result.error:
                    raise EngineError(result.error, "refused")
                name = self._of(runtime.title)
                traces[result.runtime] = trace_runtime(self.graph, feeds, runtime, name)
                if _OPERATORS.value:
                    found = operator_differences(self.graph, feeds, runtime)
                    self.operators[result.runtime] = found
            except EngineError as error:
                self.refusals.append(str(error))
        return traces

    def _of(self, engine: str) -> str:
        return f"{engine} ({self.path})"


def asked_runtimes() -> list[str]:
    """Names of the runtimes that files are run on."""
    names = [runtime.name for runtime in runtimes_of(_RUNTIMES.value or ["litert"])]
    return [name for name in names if name != "litert" or _LITERT.value]


def open_form(path: str) -> KerasForm | FileForm:
    """What a path holds."""
    return FileForm(path, read_tflite(path)) if path.endswith(".tflite") else KerasForm(path)


def main() -> int:
    """Run all forms, compare, print; 1 if any two runs part, or a runtime that was named fails."""
    asked_runtimes()
    forms: list[Any] = [open_form(_MODEL.value)]
    if _AGAINST.value:
        forms.append(open_form(_AGAINST.value))
    elif isinstance(forms[0], KerasForm):
        forms.append(FileForm("its export", forms[0].graph))
    check_alike(forms)
    inputs = real_inputs(forms[0])
    pairs = compared([form.runs(inputs) for form in forms])
    if not pairs:
        raise ConfigError(
            f"model {_MODEL.value}: got one run of it; expected two to compare. Give --against."
        )
    found = [compare_traces(one, other) for one, other in pairs]
    show(found)
    files = [form for form in forms if isinstance(form, FileForm)]
    show_runtimes(files)
    if _JSON.value:
        rows = [comparison.to_dict(_TOLERANCE.value) for comparison in found]
        runtimes = [{"model": f.path, **r.to_dict()} for f in files for r in f.results]
        operators = [
            {"model": form.path, "runtime": name, **dataclasses.asdict(row)}
            for form in files for name, found in form.operators.items() for row in found
        ]  # fmt: skip
        write_json(_JSON.value, {"samples": len(inputs[0]), "tolerance": _TOLERANCE.value,
                                 "comparisons": rows, "runtimes": runtimes,
                                 "operators": operators})  # fmt: skip
    failed = _RUNTIMES.value and any(result.error for form in files for result in form.results)
    return int(failed or any(comparison.first(_TOLERANCE.value) for comparison in found))


def compared(runs: Sequence[dict[str, Trace]]) -> list[tuple[Trace, Trace]]:
    """Which runs are compared, of forms with runs by what ran them.

    The first run of a form is compared with its others. Runs of two forms are compared where the
    same has run both; where nothing has, all are.
    """
    across, within = [], []
    for one, other in itertools.combinations(runs, 2):
        same = [(one[kind], other[kind]) for kind in one if kind in other]
        across += same or list(itertools.product(one.values(), other.values()))
    for form in runs:
        first, *others = form.values()
        within += [(first, trace) for trace in others]
    return across + within


def show_runtimes(files: Sequence[FileForm]) -> None:
    """Print what every runtime made of the outputs, and what did not run."""
    for form in files:
        if len(form.results) > 1:
            print(f"{form.path}: outputs of the interpreter against every runtime:")
            print(cli.format_table(*runtime_rows(form.results)))
        show_operators(form)
        for refusal in form.refusals:
            print(refusal)


def show_operators(form: FileForm) -> None:
    """Print the operators that some runtime computes otherwise."""
    if not form.operators:
        return
    found = {name: {row.name: row for row in rows} for name, rows in form.operators.items()}
    whole = {row.name: row for rows in found.values() for row in rows.values()}
    differ = [name for name in whole if any(r[name].differing for r in found.values() if name in r)]
    rows = [
        [name, whole[name].operator, whole[name].elements,
         *(_cell(row[name]) if name in row else "" for row in found.values())]
        for name in differ
    ]  # fmt: skip
    print(f"{form.path}: {len(rows)} of {len(whole)} operators differ by themselves:")
    print(cli.format_table(["tensor", "operator", "values", *found], rows))


def check_alike(forms: Sequence[Any]) -> None:
    """Complain about forms that cannot be the same network.

    Raises:
        DataError: their inputs have different shapes.
    """
    shapes = [[f.graph.tensors[i].sample_shape for i in f.graph.inputs] for f in forms]
    if any(shape != shapes[0] for shape in shapes):
        raise DataError(
            f"inputs of {_AGAINST.value}: got shapes {shapes[1]}; expected {shapes[0]}, those of "
            f"{_MODEL.value}."
        )


def real_inputs(form: Any) -> list[np.ndarray]:
    """Samples as real values: from --data, or random codes of the first form's inputs."""
    if not _DATA.value:
        generator = np.random.default_rng(_SEED.value)
        return form.random(_LIMIT.value or _SAMPLES, generator)
    tensors = [form.graph.tensors[index] for index in form.graph.inputs]
    shapes = {tensor.name: tensor.sample_shape for tensor in tensors}
    notes = notes_in(form.graph.metadata)
    steps = preprocessing_for(_FLAGS, notes)
    data = open_data(
        _DATA.value, shapes, split=_SPLIT.value, limit=_LIMIT.value or _SAMPLES, preprocessing=steps
    ).in_memory()
    scaled, _ = _FLAGS.scaled(data, list(shapes), scalings_for(steps, notes, list(shapes)))
    return [
        decode_output(tensor, part.x.astype(tensor.dtype)) if _holds_codes(tensor, part) else real.x
        for tensor, part, real in zip(tensors, data.parts, scaled.parts, strict=True)
    ]


def _holds_codes(tensor: Tensor, data: Dataset) -> bool:
    """Whether a file's array holds an input's codes rather than real values."""
    same = data.x.dtype == tensor.dtype and data.x.dtype.kind in "iu"
    codes = _INPUT_KIND.value == "codes" or (_INPUT_KIND.value == "auto" and same)
    return bool(tensor.scale) and codes


def show(found: Sequence[Comparison]) -> None:
    """Print a row per tensor and a sentence per pair of runs."""
    header = ["tensor", "operator", "values", *(f"{number}" for number in range(1, len(found) + 1))]
    table = [[row.name, row.operator, row.elements] for row in found[0].rows]
    columns: list[Callable[[str], str]] = [cells(comparison) for comparison in found]
    print(
        cli.format_table(
            header, [[*row, *(cell(str(row[0])) for cell in columns)] for row in table]
        )
    )
    for number, comparison in enumerate(found, 1):
        print(f"{number}: {comparison.sentence(_TOLERANCE.value)}")


def cells(comparison: Comparison) -> Callable[[str], str]:
    """Tensor -> how many values differ and by how many LSBs at most, for the table."""
    rows = {row.name: row for row in comparison.rows}

    def cell(name: str) -> str:
        row = rows.get(name)
        if row is None:
            return ""
        return _cell(row) + "*" * bool(row.notes)

    return cell


def _cell(row: TensorDifference) -> str:
    same = "=" if row.elements else "-"
    return f"{row.differing:,} ({row.max_lsb})" if row.differing else same


run = cli.entry_point(main, _FLAGS)

if __name__ == "__main__":
    run()
