"""Measure a Keras model on data: ranges, zeros and sizes of every tensor that can be quantized.

    tools/measure_model.py --model=resnet8.h5 --data=cifar10_train.npz --limit=512 \
        --output=resnet8_stats.json

The statistics file is what quantize_model.py --stats and assign_precision.py take.
"""

from __future__ import annotations

import tfxp
from tfxp import cli
from tfxp.data import load_npz
from tfxp.files import check_writable, write_json
from tfxp.precision import LayerStats, ModelStats
from tfxp.progress import Progress

_FLAGS = cli.ToolFlags(__doc__)
_MODEL = _FLAGS.model()
_DATA = _FLAGS.data("Samples to measure on; labels are not needed.")
_SPLIT = _FLAGS.split()
_LIMIT = _FLAGS.limit()
_INPUT_SCALE = _FLAGS.input_scale()
_INPUT_SHIFT = _FLAGS.input_shift()
_BATCH_SIZE = _FLAGS.batch_size(64)
_OUTPUT = _FLAGS.output("Statistics file to write (.json).")
_JSON = _FLAGS.json()
_PROGRESS = _FLAGS.progress()


def main() -> None:
    """Measure, print a row per layer, write what was asked for."""
    check_writable(_OUTPUT.value, _JSON.value)
    model = tfxp.load_model(_MODEL.value)
    data = load_npz(_DATA.value, split=_SPLIT.value, limit=_LIMIT.value, default_split="train")
    x = data.shaped(model.inputs[0].shape[1:]).inputs(_INPUT_SCALE.value, _INPUT_SHIFT.value)
    with Progress(len(x), "measuring", "sample", _PROGRESS.value) as bar:
        stats = tfxp.measure_model(
            model,
            x,
            batch_size=_BATCH_SIZE.value,
            progress=lambda done, _: bar.step(done - bar.done),
        )
    header = ["layer", "kind", "output", "weights", "MACs", "min", "max", "std", "zeros"]
    print(cli.format_table(header, [row(layer) for layer in stats.layers.values()]))
    sizes = f"{stats.weight_count:,} weights; {stats.macs:,} MACs a sample"
    print(f"{stats.samples:,} samples; {sizes}")
    if _OUTPUT.value:
        stats.save(_OUTPUT.value)
        print(f"Statistics are in {_OUTPUT.value}.")
    if _JSON.value:
        write_json(_JSON.value, figures(stats))


def row(layer: LayerStats) -> list[object]:
    """One line of the table."""
    shape = "x".join(map(str, layer.output_shape))
    sizes: list[object] = [layer.name, layer.kind, shape, layer.weight_count, layer.macs]
    seen = layer.activations
    if seen is None:
        return [*sizes, "", "", "", ""]
    spread = [f"{value:.4g}" for value in (seen.min, seen.max, seen.std)]
    return [*sizes, *spread, f"{seen.zero_fraction:.1%}"]


def figures(stats: ModelStats) -> dict[str, object]:
    """The table for programs."""
    rows = []
    for layer in stats.layers.values():
        entry: dict[str, object] = {
            "name": layer.name,
            "kind": layer.kind,
            "output_shape": list(layer.output_shape),
            "weight_count": layer.weight_count,
            "macs": layer.macs,
        }
        for name in ("activations", "pre_activations", "weights", "bias"):
            seen = getattr(layer, name)
            if seen is not None:
                entry[name] = {
                    "min": seen.min,
                    "max": seen.max,
                    "mean": seen.mean,
                    "std": seen.std,
                    "kurtosis": seen.kurtosis,
                    "zero_fraction": seen.zero_fraction,
                }
        rows.append(entry)
    return {
        "samples": stats.samples,
        "macs": stats.macs,
        "weight_count": stats.weight_count,
        "layers": rows,
    }


run = cli.entry_point(main, _FLAGS)

if __name__ == "__main__":
    run()
