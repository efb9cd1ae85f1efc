#!/usr/bin/env python3
"""Two runs side by side: one page with the layers of both and their differences.

    tfxp report --run=w8a8.html --against=w4a4.html --output=differences.html
    tools/report_runs.py --run=first.json --against=second.json --names=before,after \
        --output=differences.html --json=differences.json

Runs are pages (`measure --html`, the quickstart's report.html) or JSON files (`measure --json`).
Layers are paired by their names. The page needs no network: a click on a layer of the graph selects
it in every table and chart, headings sort, and a filter such as `d.sqnr<-3` shows the layers that
lost 3 dB.
"""

from __future__ import annotations

from tfxp import cli
from tfxp.errors import ConfigError
from tfxp.files import write_json
from tfxp.report import compare_page, compared_data, read_run
from tfxp.report.live_data import decibels, difference, paired_layers

_FLAGS = cli.ToolFlags(__doc__)
_RUN = _FLAGS.DEFINE_string("run", None, "The first run: a page or a JSON file.", required=True)
_AGAINST = _FLAGS.DEFINE_string(
    "against", None, "The second run: a page or a JSON file.", required=True
)
_NAMES = _FLAGS.DEFINE_list("names", [], "What to call the two runs.")
_OUTPUT = _FLAGS.output("The page (.html).", ".html")
_JSON = _FLAGS.json()
_MOST_ROWS = 10


def main() -> None:
    """Read, print the layers that changed most, write what was asked for."""
    if _NAMES.value and len(_NAMES.value) != 2:
        raise ConfigError(f"names: got {_NAMES.value}; expected two, such as --names=before,after.")
    first, second = read_run(_RUN.value), read_run(_AGAINST.value)
    names = tuple(_NAMES.value) if _NAMES.value else (first.name, second.name)
    changes = [
        (b or a, a, b, difference(a and a.sqnr_db, b and b.sqnr_db))
        for a, b in paired_layers(first.layers, second.layers)
    ]
    changed = sorted((c for c in changes if c[3] is not None), key=lambda c: -abs(c[3]))
    rows = [
        [own.name, decibels(a.sqnr_db), decibels(b.sqnr_db), f"{change:+.1f}"]
        for own, a, b, change in changed[:_MOST_ROWS]
    ]
    if rows:
        print(cli.format_table(["layer", f"SQNR {names[0]}", f"SQNR {names[1]}", "change"], rows))
    alone = [own.name for own, a, b, _ in changes if a is None or b is None]
    print(f"{len(changes) - len(alone)} layers in both; {len(alone)} in one only")
    if _JSON.value:
        data = compared_data(first.layers, second.layers, names)
        write_json(_JSON.value, {"runs": [first.to_dict(), second.to_dict()], **data})
    if _OUTPUT.value:
        compare_page(first, second, names).write(_OUTPUT.value)
        print(f"Look at {_OUTPUT.value}.")


run = cli.entry_point(main, _FLAGS)

if __name__ == "__main__":
    run()
