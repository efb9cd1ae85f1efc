#!/usr/bin/env python3
"""Accuracy against bits for tfxp and other toolkits, on one model and the same images.

    tools/bench_frontier.py --model=pretrainedResnet.h5 --train_data=cifar10_train.npz \
        --eval_data=cifar10_test.npz --output=out/frontier --cache=out/peers \
        --plot=frontier.png --table=frontier.md
    tools/bench_frontier.py --model=pretrainedResnet.h5 --train_data=cifar10_train.npz \
        --eval_data=cifar10_test.npz --output=out/frontier --peers=tfxp,qkeras --rows=w4a4c:2 \
        --seeds=0,1

A row is precision:epochs; without epochs nothing is trained (post-training quantization). Every
peer runs in an environment of its own, which is made in --cache with pip, by its own documented
practice; those that train do so on the same images, by the same teacher, epochs, batches and
schedule. Where a peer writes an integer file, the accuracy is that of the file in its runtime. What
a peer cannot do is a row that says so. Each run leaves a JSON file in --output; the same command
again does what is missing, and table and plot show all runs that lie there.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tfxp import cli
from tfxp.errors import ConfigError
from tfxp.files import write_json, write_text
from tools.frontier.peers import PEERS

_FLAGS = cli.ToolFlags(__doc__)
_MODEL = _FLAGS.model()
_TRAIN_DATA = _FLAGS.train_data(required=True)
_EVAL_DATA = _FLAGS.eval_data(required=True)
_OUTPUT = _FLAGS.output("Folder for a JSON file a run.", required=True, folder=True)
_CACHE = _FLAGS.output(
    "Folder for the peers' environments.", name="cache", folder=True, default="out/peers"
)
_PEERS = _FLAGS.DEFINE_list("peers", list(PEERS), f"Who runs, of {', '.join(PEERS)}.")
_ROWS = _FLAGS.DEFINE_list("rows", ["w8a8c", "w4a8c", "w4a4c:2"], "What they do: precision:epochs.")
_SEEDS = _FLAGS.DEFINE_list("seeds", ["0"], "Seeds; every row once for each.")
_IMAGES = _FLAGS.DEFINE_integer("images", 20000, "Training images.", lower_bound=1)
_EVAL_IMAGES = _FLAGS.DEFINE_integer("eval_images", None, "Test images (default: all).")
_CALIBRATION = _FLAGS.DEFINE_integer("calibration", 512, "Images to choose ranges on.")
_BATCH_SIZE = _FLAGS.batch_size(64)
_RATE = _FLAGS.DEFINE_float("learning_rate", 1e-3, "Largest rate of the peers' Adam.")
_THREADS = _FLAGS.DEFINE_integer("threads", 1, "Threads of a run.", lower_bound=1)
_FLOAT = _FLAGS.DEFINE_boolean("float_accuracy", True, "Measure the float model for the plot.")
_TABLE = _FLAGS.output("Write the table (.md).", ".md", name="table")
_PLOT = _FLAGS.plot("Save accuracy against MACs x bits")
_JSON = _FLAGS.json()


def main() -> None:
    """Do the runs that are missing, print and write the table."""
    from tools.frontier.report import markdown, plot
    from tools.frontier.runs import Common, all_records, do_runs, list_runs

    if not all(seed.isdigit() for seed in _SEEDS.value):
        raise ConfigError(f"seeds: got {_SEEDS.value}; expected whole numbers.")
    for flag in (_TRAIN_DATA, _EVAL_DATA):
        if not flag.value.endswith(".npz"):
            raise ConfigError(
                f"{flag.name}: got {flag.value!r}; expected an .npz file, which all peers read."
            )
    runs = list_runs(_PEERS.value, _ROWS.value, [int(seed) for seed in _SEEDS.value])
    common = Common(
        *(str(Path(flag.value).absolute()) for flag in (_MODEL, _TRAIN_DATA, _EVAL_DATA)),
        images=_IMAGES.value,
        eval_images=_EVAL_IMAGES.value,
        calibration=_CALIBRATION.value,
        batch_size=_BATCH_SIZE.value,
        learning_rate=_RATE.value,
    )
    command = f"tools/bench_frontier.py {' '.join(sys.argv[1:])}"
    folders = Path(_OUTPUT.value), Path(_CACHE.value)
    for run, record in do_runs(runs, common, *folders, _THREADS.value, command):
        print(f"{run.name}: {_shown(record)}", flush=True)
    network, float_accuracy = _float_model()
    records = all_records(folders[0])
    table = markdown(records, network)
    print(table)
    if _TABLE.value:
        write_text(_TABLE.value, table)
    if _PLOT.value:
        plot(records, network, float_accuracy, _PLOT.value)
    if _JSON.value:
        write_json(_JSON.value, {"float": float_accuracy, "runs": records})


def _shown(record: dict[str, Any]) -> str:
    if "accuracy" not in record:
        return f"cannot: {record['error']}"
    return f"{record['accuracy']:.2%} ({record['measured_on']}, {record['seconds']:.0f} s)"


def _float_model() -> tuple[Any, float | None]:
    """Layers of the float model, and its accuracy."""
    import tfxp
    from tfxp.data import evaluate_metric, load_npz
    from tfxp.measure import count_model

    model = tfxp.load_model(_MODEL.value)
    network = count_model(model)
    if not _FLOAT.value:
        return network, None
    shape = model.inputs[0].shape[1:]
    tests = load_npz(_EVAL_DATA.value, limit=_EVAL_IMAGES.value, default_split="test").shaped(shape)
    outputs = model.predict(tests.inputs(1.0, 0.0), batch_size=256, verbose=0)
    return network, evaluate_metric("accuracy", outputs, tests)


run = cli.entry_point(main, _FLAGS)

if __name__ == "__main__":
    run()
