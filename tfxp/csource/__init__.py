"""Integer networks as plain C99 that an engineer can read, check and build for any target."""

from tfxp.csource.lowering import known_operators
from tfxp.csource.program_text import Port
from tfxp.csource.run_c import compile_c_program, run_c_program, run_compiled
from tfxp.csource.write_c import CSource, write_c_source

__all__ = [
    "CSource",
    "Port",
    "compile_c_program",
    "known_operators",
    "run_c_program",
    "run_compiled",
    "write_c_source",
]
