"""How layers become operators of integer files, one file per family."""

from tfxp.export.operators import (  # noqa: F401
    activations,
    function_tables,
    joins,
    linear,
    lookup,
    lstm,
    pools,
    products,
    shaping,
)
from tfxp.export.operators.writers import (
    WRITERS,
    Write,
    Writer,
    key_of,
    no_operator,
    writer_of,
    writes,
)

__all__ = ["WRITERS", "Write", "Writer", "key_of", "no_operator", "writer_of", "writes"]
