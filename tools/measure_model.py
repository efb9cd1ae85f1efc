#!/usr/bin/env python3
"""Measure a Keras model on data: ranges, zeros, noise and sizes of every tensor that is quantized.

    tools/measure_model.py --model=resnet8.h5 --data=cifar10_train.npz --limit=512 \
        --output=resnet8_stats.json --html=ranges.html
    tools/measure_model.py --model=resnet8.h5 --data=cifar10_train.npz --precision=w6a6 \
        --json=figures.json --html=before_and_after.html
    tools/measure_model.py --model=quantized.keras --data=cifar10_test.npz --html=noise.html
    tools/measure_model.py --model=quantized.keras --stats=resnet8_stats.json \
        --data=cifar10_test.npz --figures=export.json,run.json --html=report.html

The statistics file is what quantize_model.py --stats and assign_precision.py take. With --precision
the model is also quantized and measured again: SQNR of every layer against the float model, zeros
before and after. A model that is quantized already is measured on its grids; --stats then gives the
float network's ranges and zeros beside it. --figures adds to the page what other tools found:
accuracies, sizes, executed multiplications. --json has more than the table: percentiles, histograms
over powers of two, and for the word lengths of --candidate_bits what every format would clip.
"""

from __future__ import annotations

import math
from typing import Any

import tfxp
from tfxp import cli
from tfxp.commands.read_data import read_data
from tfxp.data import Source
from tfxp.errors import ConfigError
from tfxp.files import write_json
from tfxp.formats import TensorStats, candidates
from tfxp.formats.tensor_stats import LOG2_LOW
from tfxp.precision import LayerStats, ModelStats, PrecisionMap
from tfxp.progress import Progress
from tfxp.report import (
    ModelFigures,
    model_costs,
    model_page,
    provenance,
    tool_figures,
    write_node_data,
    write_tensorboard_graph,
)

_FLAGS = cli.ToolFlags(__doc__)
_MODEL = _FLAGS.model()
_OPENING = _FLAGS.opening()
_DATA = _FLAGS.data("Samples to measure on; labels are not needed.")
_SPLIT = _FLAGS.split()
_LIMIT = _FLAGS.limit()
_FLAGS.preprocessing()
_FLAGS.input_scale()
_FLAGS.input_shift()
_BATCH_SIZE = _FLAGS.batch_size(64)
_PRECISION = _FLAGS.precision()
_STATS = _FLAGS.DEFINE_string(
    "stats", None, "Statistics (.json) of the float network, for a --model that is quantized."
)
_FIGURES = _FLAGS.DEFINE_list(
    "figures", [], "What quantize, export and run wrote with --json, for the page."
)
_NAME = _FLAGS.DEFINE_string("name", None, "What the page calls the network (its file).")
_BITS = _FLAGS.DEFINE_list("candidate_bits", ["4", "6", "8", "16"], "Word lengths for --json.")
_OUTPUT = _FLAGS.output("Statistics file to write (.json).", ".json")
_HTML = _FLAGS.output("Save a page with the ranges and all figures (.html).", ".html", name="html")
_NODE_DATA = _FLAGS.output(
    "Folder for node data of Google's Model Explorer, to look at beside the exported file.",
    name="node_data",
    folder=True,
)
_TENSORBOARD = _FLAGS.output(
    "Folder for TensorBoard's GRAPHS dashboard: a node per layer with its figures.",
    name="tensorboard",
    folder=True,
)
_JSON = _FLAGS.json()
_PROGRESS = _FLAGS.progress()
_TENSORS = ("activations", "pre_activations", "weights", "bias")
_PERCENTILES = (0.1, 1, 5, 25, 50, 75, 95, 99, 99.9)


def main() -> None:
    """Measure, print a row per layer, write what was asked for."""
    bits, found = word_lengths(), tool_figures(_FIGURES.value)
    model = tfxp.load_model(_MODEL.value, **_OPENING.options())
    model, _ = tfxp.split_normalization(model, always=False)
    data = read_data(
        _FLAGS, _DATA.value, model,
        split=_SPLIT.value, limit=_LIMIT.value, default_split="train",
    )  # fmt: skip
    assert data is not None  # the flag is required
    stats, after, precision = measured(model, data)
    header = ["layer", "kind", "output", "weights", "MACs", "min", "max", "std", "zeros"]
    quantized = [*header, "zeros after", "SQNR"] if after else header
    rows = [row(layer, after) for layer in stats.layers.values()]
    print(cli.format_table(quantized, rows))
    sizes = f"{stats.weight_count:,} weights; {stats.macs:,} MACs a sample"
    print(f"{stats.samples:,} samples; {sizes}")
    for name, value in (after or stats).output_sqnr.items():
        print(f"SQNR at the output {name}: {value:.1f} dB")
    if _OUTPUT.value:
        stats.save(_OUTPUT.value)
        print(f"Statistics are in {_OUTPUT.value}.")
    shown = page_figures(stats, after, precision, found)
    if _JSON.value:
        write_json(_JSON.value, {**figures(stats, after, bits), "run": shown.run.to_dict()})
    if _NODE_DATA.value:
        paths = write_node_data(_NODE_DATA.value, shown.layers).values()
        print(f"model-explorer FILE.tflite --node_data_paths={','.join(map(str, paths))}")
    if _TENSORBOARD.value:
        write_tensorboard_graph(_TENSORBOARD.value, shown.layers)
    if _HTML.value:
        model_page(shown).write(_HTML.value)
        print(f"Look at {_HTML.value}.")


def word_lengths() -> list[int]:
    """What --candidate_bits says.

    Raises:
        ConfigError: something else than whole numbers.
    """
    if not all(text.isdigit() and 1 <= int(text) <= 32 for text in _BITS.value):
        raise ConfigError(f"candidate_bits: got {_BITS.value}; expected numbers from 1 to 32.")
    return [int(text) for text in _BITS.value]


def measured(model: Any, data: Source) -> tuple[ModelStats, ModelStats | None, PrecisionMap]:
    """Statistics before and after quantization, and the formats; after is None without any."""
    from tfxp.measure import is_quantized

    if is_quantized(model):
        if _PRECISION.value:
            raise ConfigError("precision: got one for a model that is quantized already.")
        after = measure(model, data, "measuring")
        before = ModelStats.load(_STATS.value) if _STATS.value else after
        if list(before.layers) != list(after.layers):
            raise ConfigError(
                f"stats {_STATS.value!r}: got layers {', '.join(before.layers)}; expected those of "
                f"the model, {', '.join(after.layers)}. Measure the network that it was made of."
            )
        return before, after, tfxp.precision_of(model)
    if _STATS.value:
        raise ConfigError("stats: got some for a float model; expected a quantized one beside it.")
    stats = measure(model, data, "measuring")
    if not _PRECISION.value:
        return stats, None, PrecisionMap.uniform("float", "float")
    qmodel = tfxp.quantize_model(model, cli.read_precision(_PRECISION.value), stats)
    return stats, measure(qmodel, data, "measuring the quantized model"), tfxp.precision_of(qmodel)


def measure(model: Any, data: Source, title: str) -> ModelStats:
    """One pass with a progress bar."""
    with Progress(data.samples, title, "sample", _PROGRESS.value) as bar:
        return tfxp.measure_model(model, data.x, batch_size=_BATCH_SIZE.value, progress=bar.reach)


def row(layer: LayerStats, after: ModelStats | None) -> list[object]:
    """One line of the table."""
    shape = "x".join(map(str, layer.output_shape))
    cells: list[object] = [layer.name, layer.kind, shape, layer.weight_count, layer.macs]
    seen = layer.activations
    if seen is None:
        return [*cells, *[""] * (6 if after else 4)]
    cells += [f"{value:.4g}" for value in (seen.min, seen.max, seen.std)]
    cells.append(f"{seen.zero_fraction:.1%}")
    if after:
        other = after[layer.name]
        zeros = "" if other.activations is None else f"{other.activations.zero_fraction:.1%}"
        noise = other.sqnr.get("activations")
        text = "exact" if noise == math.inf else f"{noise:.1f} dB"
        cells += [zeros, "" if noise is None else text]
    return cells


def figures(stats: ModelStats, after: ModelStats | None, bits: list[int]) -> dict[str, object]:
    """The table for programs, and more."""
    rows = []
    for layer in stats.layers.values():
        entry: dict[str, object] = {
            "name": layer.name,
            "kind": layer.kind,
            "output_shape": list(layer.output_shape),
            "weight_count": layer.weight_count,
            "macs": layer.macs,
        }
        for name in _TENSORS:
            seen = getattr(layer, name)
            if seen is not None:
                entry[name] = {**tensor_figures(seen), "candidates": split(seen, bits)}
        if after:
            other = after[layer.name]
            entry["after"] = {
                name: tensor_figures(getattr(other, name))
                for name in _TENSORS
                if getattr(other, name) is not None
            }
            entry["sqnr_db"] = dict(other.sqnr)
        rows.append(entry)
    return {
        "samples": stats.samples,
        "macs": stats.macs,
        "weight_count": stats.weight_count,
        "output_sqnr_db": (after or stats).output_sqnr,
        "layers": rows,
    }


def tensor_figures(seen: TensorStats) -> dict[str, object]:
    """Everything about one distribution."""
    octaves = {LOG2_LOW + i: int(n) for i, n in enumerate(seen.log2_counts) if n}
    return {
        "count": seen.count,
        "min": seen.min,
        "max": seen.max,
        "mean": seen.mean,
        "std": seen.std,
        "kurtosis": seen.kurtosis,
        "zero_fraction": seen.zero_fraction,
        "percentiles": {f"{q:g}": seen.percentile(q) for q in _PERCENTILES},
        "log2_histogram": octaves,
    }


def split(seen: TensorStats, bits: list[int]) -> dict[int, list[dict[str, object]]]:
    """Word length -> formats with what they clip."""
    return {width: [found.to_dict() for found in candidates(seen, width)] for width in bits}


def page_figures(
    stats: ModelStats, after: ModelStats | None, precision: PrecisionMap, found: dict[str, Any]
) -> ModelFigures:
    """What the page shows, and what `tfxp report` compares runs by."""
    return ModelFigures(
        _NAME.value or _MODEL.value.rstrip("/").split("/")[-1],
        stats,
        precision,
        after=after,
        costs=model_costs(stats, precision) if after else {},
        provenance=provenance([_MODEL.value, _DATA.value, *_FIGURES.value]),
        **found,
    )


run = cli.entry_point(main, _FLAGS)

if __name__ == "__main__":
    run()
