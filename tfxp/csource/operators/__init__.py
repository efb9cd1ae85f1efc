"""Which kernel calls an operator becomes, one file per family."""

from tfxp.csource.operators import functions, joins, moves, products, reductions  # noqa: F401
from tfxp.csource.operators.site import LOWERINGS, Lowering, Site, lowers

__all__ = ["LOWERINGS", "Lowering", "Site", "lowers"]
