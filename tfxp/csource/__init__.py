"""Integer networks as plain C99 that an engineer can read, check and build for any target."""

from tfxp.csource.lowering import known_operators
from tfxp.csource.write_c import CSource, write_c_source

__all__ = ["CSource", "known_operators", "write_c_source"]
