"""Where a page's figures come from: command, date, versions, data, seed, commit."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from tfxp.version import __version__

_PACKAGES = ("numpy", "tensorflow", "tf-keras", "ai-edge-litert", "tensorflow-model-optimization")
_BLOCK = 1 << 20


def provenance(
    data: Sequence[str | os.PathLike[str]] = (), seed: int | None = None
) -> dict[str, str]:
    """What is to be known to make the same figures again.

    Args:
        data: files that the figures depend on; each is named with the start of its SHA-256.
        seed: what random draws started from.

    Returns:
        What it is -> its text, in the order of a page.

    Example:
        >>> sorted(provenance(seed=3))[:3]
        ['command', 'date', 'seed']
    """
    found = {
        "command": command_line(),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC"),
    }
    files = [file_text(path) for path in data]
    if files:
        found["files"] = "; ".join(files)
    if seed is not None:
        found["seed"] = str(seed)
    found["versions"] = ", ".join(f"{name} {number}" for name, number in versions().items())
    commit = working_commit()
    if commit:
        found["git commit"] = commit
    return found


def command_line() -> str:
    """The command that runs, as a shell takes it, with the program's name alone."""
    return shlex.join([Path(sys.argv[0]).name or "python", *sys.argv[1:]])


def versions() -> Mapping[str, str]:
    """Package -> version, without importing any."""
    found = {"tfxp": __version__, "Python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def working_commit() -> str:
    """Commit of the working directory, with "-dirty" where files differ; empty without git."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def file_text(path: str | os.PathLike[str]) -> str:
    """A file's name and the start of its SHA-256; a folder's name alone."""
    name = os.path.basename(os.fspath(path).rstrip("/"))
    if not os.path.isfile(path):
        return name
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return f"{name} (SHA-256 {digest.hexdigest()[:16]})"
