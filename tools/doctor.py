#!/usr/bin/env python3
"""Print versions, processor features and what is missing, and try the whole chain once.

    tools/doctor.py
    tools/doctor.py --noself_test --json=machine.json
    tools/doctor.py --device

Exit code 1 if a package is missing that tfxp needs, or if the self-test fails.
"""

from __future__ import annotations

import dataclasses

from tfxp import cli
from tfxp.commands.doctor import inspect_machine, self_test
from tfxp.files import write_json

_FLAGS = cli.ToolFlags(__doc__)
_SELF_TEST = _FLAGS.DEFINE_boolean(
    "self_test", True, "Quantize, export and run a small network, in some ten seconds."
)
_DEVICE = _FLAGS.DEFINE_boolean(
    "device", False, "Also compare sums on the GPUs (or the processor) with whole numbers."
)
_JSON = _FLAGS.json()


def main() -> int:
    """Inspect, print, try."""
    found = inspect_machine()
    if _DEVICE.value and not any(row.wrong for row in found):
        from tfxp.commands.check_device import check_device

        found += check_device()
    rows: list[list[object]] = [
        [row.subject, row.found or ("MISSING" if row.wrong else "not found"), row.note]
        for row in found
    ]
    print(cli.format_table(["", "found", ""], rows))
    wrong = [row.subject for row in found if row.wrong]
    tried = ""
    if wrong:
        print(f"tfxp cannot work, or not exactly, as long as these are wrong: {', '.join(wrong)}.")
    elif _SELF_TEST.value:
        print("Self-test:", flush=True)
        tried = self_test()
        print(tried)
    if _JSON.value:
        findings = [dataclasses.asdict(row) for row in found]
        write_json(_JSON.value, {"findings": findings, "self_test": tried})
    return int(bool(wrong))


run = cli.entry_point(main, _FLAGS)

if __name__ == "__main__":
    run()
