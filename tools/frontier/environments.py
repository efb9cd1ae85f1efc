"""An environment per peer: a virtual environment in a cache folder, made once."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

from tfxp.errors import DependencyError
from tfxp.files import write_text
from tools.frontier.peers import Peer


def python_of(name: str, peer: Peer, cache: Path) -> str:
    """Path of the Python that runs a peer's program; its packages are installed if need be.

    Raises:
        DependencyError: pip cannot install them.
    """
    if not peer.requirements:
        return sys.executable
    folder = cache.absolute() / name
    python, stamp = folder / "bin" / "python", folder / "installed"
    wanted = "".join(f"{line}\n" for line in peer.requirements)
    if stamp.exists() and sorted(stamp.read_text().splitlines()) == sorted(wanted.splitlines()):
        return str(python)
    print(f"installing {', '.join(peer.requirements)} into {folder} (minutes)", flush=True)
    venv.create(folder, clear=True, with_pip=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*command, *peer.requirements], capture_output=True, text=True)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        why = said[-1] if said else f"pip ended with {done.returncode}"
        raise DependencyError(f"{peer.title}: {why}")
    write_text(stamp, wanted)
    return str(python)


def environment(threads: int) -> dict[str, str]:
    """Variables of a peer's process: nothing of this process's Python, few threads."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    count = str(threads)
    return kept | {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "OMP_NUM_THREADS": count,
        "TF_NUM_INTRAOP_THREADS": count,
        "TF_NUM_INTEROP_THREADS": count,
        "PYTHONUNBUFFERED": "1",
    }
