"""Runs a program as on a processor whose instructions end at AVX2, to time what users have.

Libraries choose their kernels by the instruction CPUID. Linux can make it fail in a process, on
processors with "cpuid_fault"; `cpuid_avx2.c`, preloaded, then answers in the processor's place and
hides AVX-512, VNNI and AMX. Nothing is emulated: NumPy, LLVM and LiteRT take the kernels that they
would take on an AVX2 machine, on this machine's caches and at its clock.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tfxp.errors import DependencyError

_SOURCE = Path(__file__).with_name("cpuid_avx2.c")
#: Set in the processes that believe to be on AVX2.
_MARK = "TFXP_AS_AVX2"


def is_avx2_only() -> bool:
    """Whether this process was started by `run_as_avx2`."""
    return _MARK in os.environ


def run_as_avx2(command: Sequence[str]) -> int:
    """Run a program, and all that it starts, with the newest instructions hidden.

    Args:
        command: the program and its arguments.

    Returns:
        Its exit code.

    Raises:
        DependencyError: there is no C compiler, it does not compile the library, or this processor
            or system cannot make CPUID fail.
    """
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "cpuid_avx2.so")
        _compile(library)
        env = {**os.environ, _MARK: "1", "LD_PRELOAD": str(library)}
        if subprocess.run(["true"], env=env, capture_output=True, check=False).returncode:
            raise DependencyError(
                "isa: this machine does not let a program hide instructions (arch_prctl with "
                "ARCH_SET_CPUID); expected Linux on a processor with cpuid_fault in /proc/cpuinfo. "
                "Leave --isa=avx2 away, or run on a processor that ends at AVX2."
            )
        return subprocess.run(command, env=env, check=False).returncode


def _compile(library: Path) -> None:
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise DependencyError(
            f"isa: got no C compiler named {os.environ.get('CC', 'cc')!r}; expected one on PATH. "
            "Install gcc or clang, or name one in the environment variable CC."
        )
    flags = ("-O2", "-shared", "-fPIC", "-o", str(library))
    done = subprocess.run(
        [compiler, *flags, str(_SOURCE), "-ldl"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise DependencyError(
            f"isa: {compiler} does not compile {_SOURCE.name}; expected Linux on x86-64. It said: "
            f"{done.stderr.strip()[-300:]}"
        )
