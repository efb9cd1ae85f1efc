"""Which kernel calls an operator becomes, one file per family."""

from tfxp.csource.operators import (  # noqa: F401
    functions,
    gathers,
    joins,
    moves,
    products,
    reductions,
)
from tfxp.csource.operators.site import LOWERINGS, Lowering, Site, lowers

__all__ = ["LOWERINGS", "Lowering", "Site", "lowers"]
