"""Machine code of kernels: made once with Numba, kept on disk, loaded without it.

Numba turns a kernel into LLVM's intermediate form; llvmlite makes machine code of that and loads
it. A file that is there is loaded in a millisecond, and Numba (a fifth of a second, a hundred
megabytes) is not even imported. Each kernel is compiled when a model first needs it, alone: kernels
call each other by address (`memory.call`), so none is compiled again inside another.

Files lie in NUMBA_CACHE_DIR, else beside this one, else in the user's cache folder. Their names
tell the version of every source, of the compilers and the processor.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path

import llvmlite.binding as llvm

from tfxp.errors import OutputError
from tfxp.files import write_bytes
from tfxp.interpreter.compiled.lanes import USE_BYTES, cpu_features, cpu_name

#: Where each kernel is defined. All take seven int64, most of them addresses: inputs x and y,
#: output, how many (images, elements, rows), record, scratch memory, six counts. Kernels that
#: requantize take accumulators, values to restart from, codes, pixels, record, scratch, counts.
KERNELS = {
    "program": "program", "count": "counting",
    "scatter": "scatter", "planes": "planes", "depthwise": "depthwise", "dense": "dense",
    "store_float32": "store", "store_fixed": "store", "store_scalar": "store_scalar",
    "add": "elementwise", "average_pool": "elementwise", "max_pool": "elementwise",
    "softmax": "elementwise", "add_fixed": "fixed_point", "softmax_fixed": "fixed_point",
    "table": "moving", "pairs": "moving", "permute": "moving", "copy": "moving",
    **({"dense_bytes": "dense"} if USE_BYTES else {}),
}  # fmt: skip

_PARAMETERS = 7
_SYMBOL = "tfxp_kernel"
_DIGEST_BYTES = 32
_LOCK = threading.RLock()
_LOADED: dict[str, tuple[llvm.ExecutionEngine, int]] = {}


def address_of(kernel: str) -> int:
    """The address of a kernel's machine code, compiled now if nobody has before.

    Args:
        kernel: one of KERNELS.
    """
    with _LOCK:
        if kernel not in _LOADED:
            _LOADED[kernel] = _load(_machine_code(kernel))
        return _LOADED[kernel][1]


def function_of(kernel: str) -> Callable[..., None]:
    """A kernel as a Python function of seven integers, which lets other threads run meanwhile."""
    return ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * _PARAMETERS)(address_of(kernel))


def _machine_code(kernel: str) -> bytes:
    """From disk, or compiled and put there."""
    for folder in _folders():
        try:
            stored = (folder / _file_name(kernel)).read_bytes()
        except OSError:
            continue
        digest, code = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
        if hashlib.sha256(code).digest() == digest:
            return code
    code = _compile(kernel)
    for folder in _folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_bytes(folder / _file_name(kernel), hashlib.sha256(code).digest() + code)
        except (OSError, OutputError):
            continue
        break
    return code


def _folders() -> list[Path]:
    """Where machine code may lie, the first place first."""
    if os.environ.get("NUMBA_CACHE_DIR"):
        return [Path(os.environ["NUMBA_CACHE_DIR"]) / "tfxp"]
    users = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return [Path(__file__).parent / "__pycache__", Path(users) / "tfxp"]


def _file_name(kernel: str) -> str:
    return f"{kernel}-{_own_stamp()}.o"


def sources() -> list[Path]:
    """Files that machine code is made of."""
    folder = Path(__file__).parent
    return [*sorted(folder.glob("*.py")), folder.parent / "numerics" / "arithmetic.py"]


def stamp(files: Iterable[Path]) -> str:
    """Short for everything that machine code of these sources depends on."""
    avx = os.environ.get("NUMBA_ENABLE_AVX", "")
    tools = version("numba"), version("llvmlite"), cpu_name(), cpu_features(), avx
    state = hashlib.sha256("|".join(tools).encode())
    for path in files:
        state.update(path.read_bytes())
    return state.hexdigest()[:24]


@cache
def _own_stamp() -> str:
    return stamp(sources())


def _compile(kernel: str) -> bytes:
    """Machine code of a kernel, and a line about it: this takes seconds."""
    _say(f"tfxp compiles {kernel} for this processor, once ... ")
    began = time.monotonic()
    from numba import njit, types

    module = importlib.import_module(f"tfxp.interpreter.compiled.{KERNELS[kernel]}")
    signature = (types.int64,) * _PARAMETERS
    # nobody calls it from Python, so the wrappers that Numba would compile for that are left out
    options = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    dispatcher = njit(nogil=True, error_model="numpy", **options)(getattr(module, kernel))
    dispatcher.compile(signature)
    descriptor = dispatcher.overloads[signature].fndesc
    code = _assemble(dispatcher.inspect_llvm(signature), descriptor.llvm_func_name)
    _say(f"{time.monotonic() - began:.1f} s\n")
    return code


def _say(words: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(words)
        sys.stderr.flush()


def _assemble(text: str, function: str) -> bytes:
    """Machine code of a module, with a function of plain arguments for Numba's `function`."""
    _initialize()
    module = llvm.parse_assembly(text)
    kinds = ", ".join(["i64"] * _PARAMETERS)
    given = ", ".join(f"i64 %a{i}" for i in range(_PARAMETERS))
    wrapper = (
        f'target triple = "{module.triple}"\ntarget datalayout = "{module.data_layout}"\n'
        f'declare i32 @"{function}"(ptr, ptr, {kinds})\n'
        f"define void @{_SYMBOL}({given}) {{\n"
        "  %result = alloca ptr\n  %error = alloca ptr\n"
        f'  %status = call i32 @"{function}"(ptr %result, ptr %error, {given})\n'
        "  ret void\n}\n"
    )
    module.link_in(llvm.parse_assembly(wrapper))
    return bytes(_machine().emit_object(module))


def _load(code: bytes) -> tuple[llvm.ExecutionEngine, int]:
    _initialize()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine, engine.get_function_address(_SYMBOL)


def _initialize() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


def _machine() -> llvm.TargetMachine:
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=cpu_name(),
        features=cpu_features(),
        opt=3,
        reloc="pic",
        codemodel="jitdefault",
        jit=True,
    )
