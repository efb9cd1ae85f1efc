#!/usr/bin/env python3
"""Export a quantized model to an integer .tflite and verify it element by element.

    tools/export_tflite.py --model=resnet8_w4a4.keras --output=resnet8_w4a4.tflite \
        --verify_data=cifar10_test.npz --limit=1000 --json=verified.json
    tools/export_tflite.py --model=wrpn/model.keras --output=wrpn.tflite --float_bits=8 \
        --data=cifar10_train.npz --verify_data=cifar10_test.npz --limit=512
    tools/export_tflite.py --model=digits.keras --output=digits.tflite --c_source=digits_c \
        --verify_data=digits.npz --runtimes=litert,reference,tflm,c
    tools/export_tflite.py --model=digits.keras --output=digits.tflite \
        --tflm_compression=digits_small.tflite --c_array=digits.h

Before the file is written, every tensor is compared with Keras on drawn inputs; if anything differs
that no note announces, nothing is written. Exit code 1 if an output differs between Keras, tfxp's
interpreter and the --runtimes by more than --tolerance LSB, or one of these does not run the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tfxp
from tfxp import cli
from tfxp.commands.read_data import read_data
from tfxp.comparison.portability import Verdict
from tfxp.comparison.runtime_results import runtime_rows
from tfxp.csource import write_c_source
from tfxp.data import ModelData, Source
from tfxp.errors import ConfigError
from tfxp.files import write_json
from tfxp.progress import Progress
from tfxp.runtimes import RUNTIMES, runtimes_of
from tfxp.tflm import write_c_array, write_compressed

if TYPE_CHECKING:  # loads TensorFlow, which --help can do without
    from tfxp.export import ExportReport
    from tfxp.export.verify import Verification
    from tfxp.keras_types import KerasModel

_FLAGS = cli.ToolFlags(__doc__)
_MODEL = _FLAGS.model("Quantized Keras model, from quantize_model.py.")
_OPENING = _FLAGS.opening()
_OUTPUT = _FLAGS.output("File to write (.tflite).", ".tflite", required=True)
_FLOAT_BITS = _FLAGS.DEFINE_integer(
    "float_bits",
    None,
    "Give tensors that were trained in float (WRPN's first and last layer) this many bits, "
    "measured on --data.",
    lower_bound=2,
    upper_bound=16,
)
_DATA = _FLAGS.data("Samples for --float_bits to measure; labels are not needed.", required=False)
_VERIFY_DATA = _FLAGS.verify_data()
_SPLIT = _FLAGS.split()
_LIMIT = _FLAGS.limit()
_FLAGS.preprocessing()
_FLAGS.input_scale()
_FLAGS.input_shift()
_SOFTMAX = _FLAGS.DEFINE_boolean(
    "softmax", False, "Write the final Softmax too; without it the file returns logits."
)
_PACK_INT4 = _FLAGS.DEFINE_boolean(
    "pack_int4", False, "Two weights of up to 4 bits to a byte; LiteRT then rounds twice."
)
_FINE_BIAS = _FLAGS.DEFINE_boolean(
    "fine_bias",
    True,
    "Let kernels of few bits before a kept BatchNormalization fill their storage, which makes the "
    "steps of its offsets finer; --nofine_bias writes their codes as they are.",
)
_RUNTIME = _FLAGS.DEFINE_enum(
    "runtime",
    "litert",
    ["litert", "tfxp"],
    "What the file is for: LiteRT must run it and compute the same, or tfxp's interpreter alone, "
    "which takes weights of more than 8 bits too.",
)
_CHECK = _FLAGS.DEFINE_boolean(
    "check", True, "Compare every tensor with Keras on drawn inputs before writing."
)
_PORTABLE = _FLAGS.DEFINE_enum(
    "portable",
    "list",
    ["list", "require", "off"],
    "The same integers on every runtime: list tensors on which they may differ, refuse to write "
    "them, or take fewer operators that only LiteRT's default engine rounds as Keras does.",
)
_WEIGHTS_NPZ = _FLAGS.output("Also write integer weights as .npz.", ".npz", name="weights_npz")
_WEIGHTS_HEADER = _FLAGS.output("Also write them as a C header (.h).", ".h", name="weights_header")
_QONNX = _FLAGS.output("Also write the network as QONNX (.onnx).", ".onnx", name="qonnx")
_C_SOURCE = _FLAGS.output(
    "Also write the network as plain C, with --verify_data as its test.",
    name="c_source",
    folder=True,
)
_TFLM_COMPRESSION = _FLAGS.output(
    "Also write the file for LiteRT for Microcontrollers with weights of k bits in k bits.",
    ".tflite",
    name="tflm_compression",
)
_C_ARRAY = _FLAGS.output(
    "Also write the file (with --tflm_compression the compressed one) as a C array (.h) for LiteRT "
    "for Microcontrollers, with its operators and the size of its arena.",
    ".h",
    name="c_array",
)
_NULLHOP = _FLAGS.output(
    "Also write a chain's convolutions as NullHop text, read back and checked.",
    name="nullhop",
)
_RUNTIMES = _FLAGS.DEFINE_list(
    "runtimes",
    ["litert"],
    "Runtimes that run the file on --verify_data and are compared with the interpreter: "
    f"{', '.join(RUNTIMES)}, or all. The first is always asked.",
)
_TOLERANCE = _FLAGS.DEFINE_integer(
    "tolerance",
    0,
    "Steps of the outputs that may differ without an exit code of 1, as after --float_bits.",
    lower_bound=0,
)
_JSON = _FLAGS.json()
_PROGRESS = _FLAGS.progress()
_FIRMWARE = 256  # samples of a stream that go into a firmware's test


def _check_flags() -> None:
    """Flags that need others, before anything is loaded."""
    if _NULLHOP.value and _VERIFY_DATA.value is None:
        raise ConfigError("nullhop: got no --verify_data; expected some, the first sample is used.")
    if _FLOAT_BITS.value is not None and _DATA.value is None:
        raise ConfigError("float_bits: got no --data to measure on; expected some samples.")
    if len(runtimes_of(_RUNTIMES.value)) > 1 and _VERIFY_DATA.value is None:
        raise ConfigError("runtimes: got no --verify_data; expected some samples for them to run.")
    for flag in (_TFLM_COMPRESSION, _C_ARRAY):
        if flag.value and _RUNTIME.value != "litert":
            raise ConfigError(
                f"{flag.name}: got it beside --runtime={_RUNTIME.value}; expected "
                "--runtime=litert, since LiteRT for Microcontrollers has to run the file."
            )


def main() -> int:
    """Export, verify, and say what was found; 1 if anything differs by more than the tolerance."""
    _check_flags()
    qmodel = tfxp.load_model(_MODEL.value, **_OPENING.options())
    if _FLOAT_BITS.value is not None:
        qmodel = _completed(qmodel)
    data = _inputs(qmodel, _VERIFY_DATA.value, "test")
    count = None if data is None else data.samples
    with Progress(count, "verifying", "sample", _PROGRESS.value) as bar:
        report = tfxp.export_tflite(
            qmodel,
            _OUTPUT.value,
            verify=None if data is None else data.x,
            softmax=_SOFTMAX.value,
            pack_int4=_PACK_INT4.value,
            fine_bias=_FINE_BIAS.value,
            runtime=_RUNTIME.value,
            check=_CHECK.value,
            portable={"list": True, "require": "require", "off": False}[_PORTABLE.value],
            runtimes=_RUNTIMES.value,
            progress=bar.reach,
        )
    _write_hardware(qmodel)
    _print(report)
    firmware = _write_firmware(data)
    first = data.in_memory(1).x[0] if _NULLHOP.value and data is not None else None
    differ = {} if first is None else _write_nullhop(qmodel, first)
    if _JSON.value:
        text = {"nullhop": differ} if differ else {}
        write_json(_JSON.value, {**report.to_dict(), **firmware, **text})
    checked = report.verification
    parts = checked is not None and not agrees(checked, _TOLERANCE.value, _RUNTIME.value)
    return int(parts or any(differ.values()))


def _write_hardware(qmodel: KerasModel) -> None:
    """What was asked for beside the file, for hardware."""
    from tfxp.export import export_qonnx, save_c_header, save_npz, steps_or_reason

    if _WEIGHTS_NPZ.value or _WEIGHTS_HEADER.value:
        weights, (steps, reason) = tfxp.integer_weights(qmodel), steps_or_reason(qmodel)
        if _WEIGHTS_NPZ.value:
            save_npz(_WEIGHTS_NPZ.value, weights, steps)
        if _WEIGHTS_HEADER.value:
            save_c_header(_WEIGHTS_HEADER.value, weights, steps)
        if reason:
            print(f"weights are written without the network's steps: {reason}")
    if _QONNX.value:
        export_qonnx(qmodel, _QONNX.value)


def agrees(checked: Verification, tolerance: int, runtime: str = "litert") -> bool:
    """Whether engines compute the same, up to some steps of the outputs; a refusal does not."""
    needed = [found for found in checked.runtimes if (found.runtime, runtime) != ("litert", "tfxp")]
    refused = bool(checked.litert_error) and runtime == "litert"
    same = all(found.agrees(tolerance) for found in needed)
    return checked.exact or (checked.max_abs_lsb <= tolerance and same and not refused)


def _write_firmware(data: Source | None) -> dict[str, object]:
    """What was asked for beside the file, for firmware; the figures of each."""
    figures: dict[str, object] = {}
    samples = None
    if data is not None and (_C_SOURCE.value or _TFLM_COMPRESSION.value):
        samples = (data if isinstance(data, ModelData) else data.in_memory(_FIRMWARE)).x
    if _C_SOURCE.value:
        done = write_c_source(tfxp.read_tflite(_OUTPUT.value), _C_SOURCE.value, samples)
        figures["c_source"] = done.to_dict()
        print(
            f"{done.folder}: {done.flash_bytes:,} bytes of constants, {done.ram_bytes:,} of RAM; "
            f"run `make test` there ({done.samples} samples)"
        )
    path = _OUTPUT.value
    if _TFLM_COMPRESSION.value:
        path = _TFLM_COMPRESSION.value
        small = write_compressed(path, Path(_OUTPUT.value).read_bytes(), samples)
        figures["tflm_compression"] = small.to_dict()
        print(small.sentence())
    if _C_ARRAY.value:
        array = write_c_array(_C_ARRAY.value, Path(path).read_bytes())
        figures["c_array"] = array.to_dict()
        print(array.sentence())
    return figures


def _write_nullhop(qmodel: Any, sample: Any) -> dict[str, int]:
    """Write the text, read it back, compute it; layer -> values that differ from Keras."""
    from tfxp.export import check_nullhop, nullhop_network, save_nullhop

    save_nullhop(_NULLHOP.value, nullhop_network(qmodel, sample))
    differ = check_nullhop(_NULLHOP.value, qmodel, sample)
    wrong = {name: count for name, count in differ.items() if count}
    result = f"values that differ from Keras: {wrong}" if wrong else "all values as in Keras"
    print(f"{_NULLHOP.value}: {len(differ)} convolutions, read back and computed: {result}")
    return differ


def _completed(qmodel: Any) -> Any:
    """The model with formats for all that is float, measured while the rest is on its grids."""
    data = _inputs(qmodel, _DATA.value, "train")
    assert data is not None  # main has asked for some
    stats = tfxp.measure_model(qmodel, data.x, fold_batch_norm=False)
    precision = tfxp.precision_of(qmodel).completed(_FLOAT_BITS.value)
    return tfxp.quantize_model(qmodel, precision, stats, fold_batch_norm=False)


def _inputs(qmodel: Any, path: str | None, split: str) -> Source | None:
    """Real inputs from a data file; of files with both halves the one named."""
    return read_data(
        _FLAGS, path, qmodel, split=_SPLIT.value, limit=_LIMIT.value, default_split=split, keep=True
    )


def portability_lines(verdicts: Sequence[Verdict]) -> list[str]:
    """One line for all tensors of an operator that may differ for the same reason."""
    tensors: dict[tuple[str, str], list[str]] = {}
    for verdict in verdicts:
        tensors.setdefault((verdict.operator, verdict.reason), []).append(verdict.tensor)
    return [
        f"runtimes may differ: {', '.join(names)} ({operator}): {reason}"
        for (operator, reason), names in tensors.items()
    ]


def _print(report: ExportReport) -> None:
    ratio = report.tflite_bytes / report.float_bytes
    print(
        f"{report.path}: {report.tflite_bytes:,} bytes, {ratio:.1%} of the float weights; "
        f"activations in {report.storage}"
    )
    for note in report.notes:
        print(f"note: {note}")
    for line in portability_lines(report.not_portable):
        print(line)
    if not report.not_portable:
        print("Every tensor is the same on every runtime.")
    if report.self_check is not None:
        print(report.self_check.sentence())
    checked = report.verification
    if checked is None:
        print("No --verify_data: not compared on real samples.")
        return
    print(f"{checked.samples:,} samples, {checked.elements:,} output elements compared with Keras:")
    rows: list[list[object]] = [["tfxp interpreter", checked.mismatches_interpreter]]
    if checked.litert_error:
        rows.append(["LiteRT", f"does not run the file: {checked.litert_error}"])
    else:
        rows.append(["LiteRT", checked.mismatches_litert])
    rows.append(["largest difference", f"{checked.max_abs_lsb} LSB"])
    print(cli.format_table(["", "differing"], rows))
    if len(checked.runtimes) > 1:
        print("The interpreter, which is compared with Keras above, against every runtime:")
        print(cli.format_table(*runtime_rows(checked.runtimes)))


run = cli.entry_point(main, _FLAGS)

if __name__ == "__main__":
    run()
