"""C programs for tests: kernels compiled once under the strictest flags and both sanitizers."""

import functools
import shutil
import subprocess
import tempfile
from importlib import resources
from pathlib import Path

import pytest

from tfxp.csource import write_c_source
from tfxp.csource.run_c import run_compiled

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")
SANITIZED = (*STRICT, "-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover")
MAINS = ("test_model.c", "run_model.c", "cortex_m4.c")
needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


@functools.cache
def _kernels(flags):
    """Object files of all kernels."""
    folder = Path(tempfile.mkdtemp())
    source = Path(str(resources.files("tfxp.csource") / "kernels"))
    files = [str(path) for path in source.glob("*.c") if path.name not in MAINS]
    _compile([*flags, "-c", *files], folder)
    return [str(path) for path in folder.glob("*.o")]


def _compile(arguments, folder):
    done = subprocess.run(["cc", *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def run_graph(graph, codes, folder, flags=SANITIZED):
    """Outputs of a graph's C program, for codes of each input."""
    write_c_source(graph, folder)
    _compile([*flags, "model.c", "run_model.c", *_kernels(flags), "-o", "run_model"], folder)
    return run_compiled(folder / "run_model", folder, codes)
