"""A quantized Keras model to a `.tflite` file that computes the same integers."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from tfxp.comparison.portability import Verdict, not_portable
from tfxp.data.model_notes import notes_of
from tfxp.data.named_inputs import InputSignature
from tfxp.errors import ConfigError, ExportError, OutputError, check_kind
from tfxp.export.check_exportable import check_exportable
from tfxp.export.exactness_notes import exactness_notes
from tfxp.export.graph_builder import GraphBuilder
from tfxp.export.litert_limits import litert_refusals, requantizing_notes
from tfxp.export.note import Note
from tfxp.export.self_check import (
    ANYWAY,
    FOR_TFXP,
    SelfCheck,
    announced_outputs,
    check_export,
)
from tfxp.export.trace_keras import KerasTracer
from tfxp.export.verify import Verification, verify_graph
from tfxp.export.write_layers import write_layers
from tfxp.files import check_writable, write_bytes
from tfxp.graph import IntegerGraph, write_tflite
from tfxp.keras_types import KerasModel, Samples
from tfxp.progress import Report
from tfxp.quantization.quantized_network import QuantizedNetwork
from tfxp.quantization.read_network import read_network
from tfxp.runtimes import runtimes_of

METADATA = "tfxp"


Runtime = Literal["litert", "tfxp"]


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """What was written, what may differ, and what the comparisons found.

    Args:
        path: the file.
        tflite_bytes: its size.
        float_bytes: size of the network's weights in float32.
        storage: type of the activations in the file, "INT8" or "INT16".
        notes: which tensors may differ from Keras, by how much and why; why LiteRT does not run
            the file, if it is for tfxp's interpreter only.
        verification: element by element comparison, if data were given.
        self_check: comparison of every tensor on drawn inputs; None if it was left out.
        not_portable: tensors on which runtimes may differ, each with the reason.
    """

    path: str
    tflite_bytes: int
    float_bytes: int
    storage: str
    notes: tuple[str, ...]
    verification: Verification | None = None
    self_check: SelfCheck | None = None
    not_portable: tuple[Verdict, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON form, the verification's figures at the top level."""
        result = {
            "path": self.path,
            "tflite_bytes": self.tflite_bytes,
            "float_bytes": self.float_bytes,
            "storage": self.storage,
            "notes": list(self.notes),
            "not_portable": [dataclasses.asdict(verdict) for verdict in self.not_portable],
            "self_check": self.self_check.to_dict() if self.self_check else None,
        }
        return {**result, **(self.verification.to_dict() if self.verification else {})}


def export_tflite(
    qmodel: KerasModel,
    path: str | os.PathLike[str],
    *,
    verify: Samples | None = None,
    softmax: bool = False,
    pack_int4: bool = False,
    fine_bias: bool = True,
    runtime: Runtime = "litert",
    check: bool = True,
    runtimes: Iterable[str] = ("litert",),
    portable: bool | Literal["require"] = True,
    progress: Report | None = None,
) -> ExportReport:
    """Write a quantized model as an integer `.tflite`, and compare it with Keras.

    Weights and activations of up to 8 bits are stored as int8; if any activation is wider, all are
    stored as int16. Biases are int32 (int64 beside int16) at the accumulator's scale. The formats
    travel in the file's metadata under "tfxp".

    Before the file is written, every tensor of it is compared with Keras on a few drawn inputs in
    tfxp's interpreter, and its outputs in LiteRT.

    Args:
        qmodel: what `quantize_model` returned, trained or not.
        path: file to write; whole or not at all.
        verify: real inputs, in any form that `measure_model` takes; outputs of Keras, tfxp's
            interpreter and LiteRT are compared on all of them.
        softmax: write final Softmax layers too; without them the file returns logits, which are
            exact.
        pack_int4: store kernels of up to 4 bits two to a byte. LiteRT runs those through kernels
            that round twice: 1 LSB at each such layer, which grows through the layers behind it.
        fine_bias: let kernels of few bits in front of a kept BatchNormalization fill their storage:
            codes are multiplied by the largest whole number that fits, so that the offset, a whole
            number of accumulator steps, is met more closely. Zeros stay zeros. False writes the
            codes as they are (-1, 0 and 1 for ternary weights).
        runtime: what the file is for. "litert": LiteRT must run it and compute the same.
            "tfxp": files that only tfxp's interpreter runs, such as those with weights of more
            than 8 bits, are written too; a note says why LiteRT does not run them.
        check: compare with Keras before writing; differences that no note announces are errors.
        runtimes: where the file runs on `verify` and is compared with the interpreter, of
            `tfxp.runtimes.RUNTIMES`: "litert" (always), "reference", "builtin", "tflm",
            "compiled_model", "c", or "all". The report counts what differs; a runtime that is
            missing or does not run the file is one sentence in it.
        portable: whether operators are chosen that all runtimes round alike, where the model was
            trained for it; the report lists the tensors on which they may still differ. "require"
            refuses such a file. False takes fewer operators for sums and changes of format, whose
            integers are those of LiteRT's default engine.
        progress: called with (samples compared, samples in all).

    Raises:
        ExportError: something cannot be written as integers; everything is listed. Or the file
            differs from Keras otherwise than its notes say, or LiteRT does not run it, or runtimes
            may differ though `portable` is "require".
        OutputError: the path cannot be written.
        DataError: `verify` is empty or does not fit the network's inputs.
        ConfigError: no such runtime, or runtimes to compare but no data.

    Example:
        >>> report = tfxp.export_tflite(qmodel, "model.tflite", verify=x)  # doctest: +SKIP
        >>> report.verification.mismatches_litert                          # doctest: +SKIP
        0
    """
    asked = _asked_runtimes(runtime, runtimes, verify is not None)
    check_kind(path, (str, os.PathLike), "path", "where to write the file", OutputError)
    check_writable(path)
    network = read_network(qmodel)
    check_exportable(network)
    notes = exactness_notes(network, pack_int4)
    form = _FileForm(pack_int4, fine_bias, bool(portable), notes_of(qmodel))
    tracer = form.written(network, softmax)
    logits = form.written(network, False) if softmax and verify is not None else tracer
    differing = not_portable(tracer.graph)
    if portable == "require":
        _require_portable(tracer.graph, differing)
    notes += requantizing_notes(tracer.graph)
    network.forget_integers()  # the graphs hold them in the file's order by now
    refusal = _refusal(tracer.graph, runtime)
    found = check_export(tracer, notes, runtime, refusal) if check else None
    checked = None
    if verify is not None:
        checked = verify_graph(
            logits.outputs, logits.graph, tracer.input_formats, verify, progress=progress,
            inputs=InputSignature.of(qmodel), refusal=refusal, runtimes=asked,
            written=None if logits is tracer else tracer.graph,
        )  # fmt: skip
        if check:
            _require_announced(checked, runtime, logits, notes)
    content = write_tflite(tracer.graph)
    write_bytes(path, content)
    storage = tracer.graph.tensors[tracer.graph.inputs[0]].type
    said = [str(note) for note in notes] + [refusal] * bool(refusal)
    return ExportReport(
        os.fspath(path), len(content), _float_bytes(network), storage, tuple(said), checked, found,
        tuple(differing),
    )  # fmt: skip


def _asked_runtimes(runtime: str, runtimes: Iterable[str], has_data: bool) -> list[str]:
    """The names of the runtimes that the user's data run on.

    Raises:
        ConfigError: no such runtime, or some to compare but no data.
    """
    if runtime not in get_args(Runtime):
        known = ", ".join(get_args(Runtime))
        raise ConfigError(f"runtime of export_tflite: got {runtime!r}; expected one of {known}.")
    asked = [found.name for found in runtimes_of(runtimes)]
    if not has_data and asked != ["litert"]:
        raise ConfigError(
            f"runtimes of export_tflite: got {', '.join(asked)}, but no data for them to run; "
            "expected some in verify."
        )
    return asked


def _refusal(graph: IntegerGraph, runtime: Runtime) -> str:
    """Why LiteRT is known not to run a file that is for tfxp; empty if nothing is known.

    Raises:
        ExportError: the file is for LiteRT.
    """
    reasons = litert_refusals(graph)
    if not reasons:
        return ""
    if runtime == "tfxp":
        return f"for tfxp's interpreter only, LiteRT does not run the file: {'; '.join(reasons)}"
    listed = "\n".join(f"  - {text}" for text in reasons)
    raise ExportError(
        f"model {graph.name!r}: LiteRT does not run the file; runtime='tfxp' (--runtime=tfxp) "
        f"writes it for tfxp's interpreter:\n{listed}"
    )


def _require_portable(graph: IntegerGraph, differing: Sequence[Verdict]) -> None:
    """Refuse a file on whose tensors runtimes may differ.

    Raises:
        ExportError: there are some; all are named.
    """
    if not differing:
        return
    listed = "\n".join(f"  - {verdict}" for verdict in differing)
    raise ExportError(
        f"model {graph.name!r}: runtimes may differ, and portable='require' (--portable=require) "
        f"asks for the same integers everywhere. Nothing was written:\n{listed}"
    )


def _require_announced(
    checked: Verification, runtime: Runtime, tracer: KerasTracer, notes: Sequence[Note]
) -> None:
    """Complain about outputs that differ on the user's data though nothing announces it.

    Raises:
        ExportError: they do, or LiteRT does not run the file, which is for it.
    """
    name = tracer.graph.name
    found = f"of {checked.elements:,} outputs on the verification data"
    worst = f"up to {checked.max_abs_lsb} LSB. Nothing was written"
    if checked.mismatches_interpreter and not announced_outputs(tracer, notes):
        raise ExportError(
            f"model {name!r}: {checked.mismatches_interpreter:,} {found} differ from Keras, and no "
            f"note announces it; {worst}; {ANYWAY}."
        )
    if runtime == "litert" and checked.litert_error:
        raise ExportError(f"{checked.litert_error} Nothing was written; {FOR_TFXP}.")
    if runtime == "litert" and checked.mismatches_between:
        raise ExportError(
            f"model {name!r}: {checked.mismatches_between:,} {found} differ between LiteRT and "
            f"tfxp's interpreter; {worst}; {FOR_TFXP}."
        )


def _float_bytes(network: QuantizedNetwork) -> int:
    """Size of the weights in float32."""
    specs = network.graph.layers.values()
    return 4 * sum(int(np.prod(weight.shape)) for spec in specs for weight in spec.weights)


def integer_graph_of(
    qmodel: KerasModel, *, softmax: bool = False, pack_int4: bool = False, fine_bias: bool = True
) -> IntegerGraph:
    """The integer graph of a quantized model, as `export_tflite` writes it for tfxp.

    Args:
        qmodel: a quantized model.
        softmax: whether a final softmax is part of the file.
        pack_int4: whether two weights of up to 4 bits share a byte.
        fine_bias: as in `export_tflite`.

    Raises:
        ExportError: something cannot be written as integers; everything is listed.
    """
    network = read_network(qmodel)
    check_exportable(network)
    return _FileForm(pack_int4, fine_bias, True, notes_of(qmodel)).written(network, softmax).graph


@dataclasses.dataclass(frozen=True)
class _FileForm:
    """How a network is written, and what its file's metadata say besides the formats."""

    pack_int4: bool
    fine_bias: bool
    portable: bool
    model_notes: Mapping[str, Any]

    def written(self, network: QuantizedNetwork, softmax: bool) -> KerasTracer:
        """The graph of a network that was checked, beside the Keras model it is compared with."""
        options = self.pack_int4, self.fine_bias, self.portable
        builder = GraphBuilder(network, softmax, *options)
        graph = write_layers(builder)
        content = {
            "schema": 1,
            "tensors": builder.tensor_formats,
            "precision": network.precision.to_dict(),
            **self.model_notes,
        }
        graph.metadata[METADATA] = json.dumps(content).encode("utf-8")
        return KerasTracer.of_export(builder, graph)
