#!/usr/bin/env python3
"""Print a .tflite model as searchable text: operators, tensors, scales, options, metadata.

tools/view_tflite.py --model=model.tflite | grep CONV_2D
tools/view_tflite.py --model=model.tflite --weights=8 --output=model.txt
"""

from __future__ import annotations

from tfxp import cli
from tfxp.files import write_text
from tfxp.graph import read_tflite
from tfxp.graph.view import view_graph

_FLAGS = cli.ToolFlags(__doc__)
_MODEL = _FLAGS.model("Model: .tflite.")
_WEIGHTS = _FLAGS.DEFINE_integer(
    "weights", 0, "How many values of each constant to print.", lower_bound=0
)
_OUTPUT = _FLAGS.output("Write the text to this file instead of printing it.")


def main() -> None:
    """Read, format, print."""
    text = view_graph(read_tflite(_MODEL.value), _WEIGHTS.value)
    if _OUTPUT.value:
        write_text(_OUTPUT.value, text)
    else:
        print(text, end="")


run = cli.entry_point(main, _FLAGS)

if __name__ == "__main__":
    run()
