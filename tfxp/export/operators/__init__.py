"""How layers become operators of integer files, one file per family."""

from tfxp.export.operators import activations, joins, linear, pools, shaping  # noqa: F401
from tfxp.export.operators.writers import WRITERS, Writer, key_of, no_operator, writer_of, writes

__all__ = ["WRITERS", "Writer", "key_of", "no_operator", "writer_of", "writes"]
