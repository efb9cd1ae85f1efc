"""Records docs/first_ten_minutes.md: types its commands into a shell and keeps what they print.

    python docs/_record.py [COPY.md]

The page is its own script. Every `text` block that starts with a prompt is run again, in order, in
one empty folder with the checkout's tools in it, and what it printed takes the place of what stood
there. A block that starts with `$ cat > FILE` is a file to write; text around blocks stays.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/first_ten_minutes.md"
_BLOCK = re.compile(r"```text\n\[([\d:]+)\] \$ (.*?)\n(.*?)```", re.S)
_FILE = re.compile(r"cat > (\S+) <<'END'")


def record(text: str, folder: Path) -> str:
    """The page with every command run anew.

    Args:
        text: of the page.
        folder: empty; commands run in it.
    """
    (folder / "tools").symlink_to(ROOT / "tools")
    started = time.monotonic()

    def run_again(block: re.Match[str]) -> str:
        command = block.group(2)
        typed = command
        if _FILE.match(command):
            typed = f"{command}\n{block.group(3)}"
            said = block.group(3)
            _shell(typed, folder)
        else:
            said = _shell(command, folder)
        seconds = round(time.monotonic() - started)
        return f"```text\n[{seconds // 60}:{seconds % 60:02}] $ {command}\n{said}```"

    return _BLOCK.sub(run_again, text)


def _shell(command: str, folder: Path) -> str:
    """What a command prints, on both streams, and its exit status where it is not 0."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    bin_folder = str(Path(sys.executable).parent)
    environment["PATH"] = f"{bin_folder}:{environment['PATH']}"
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    if done.returncode:
        lines.append(f"(exit status {done.returncode})")
    return "".join(f"{line}\n" for line in lines)


def main() -> None:
    """Record into the page, or into a copy of it."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    with tempfile.TemporaryDirectory() as folder:
        text = record(PAGE.read_text(encoding="utf-8"), Path(folder))
    target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
