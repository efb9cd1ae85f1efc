"""GATHER: rows of a table, and functions of one code by a table of all 256.

Files hold functions that no operator computes as CAST, ADD and GATHER
(`tfxp.export.operators.function_tables`). In C they are one step, and the indices are computed
nowhere.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from tfxp.csource.operators.joins import repeated
from tfxp.csource.operators.moves import move, numbered
from tfxp.csource.operators.site import Site, lowers
from tfxp.csource.program import Step

_CODES = 256


@dataclasses.dataclass(frozen=True)
class Counted:
    """An INT32 tensor as codes plus a number.

    Args:
        source: number of the tensor of codes.
        first: what is added.
    """

    source: int
    first: int = 0


def count(site: Site) -> None:
    """Note what a tensor of indices is made of.

    Raises:
        UnsupportedOpError: it is no tensor of codes plus one number.
    """
    if site.operator == "CAST" and site.tensor(0).type == "INT8":
        site.known[site.node.operator.outputs[0]] = Counted(site.index(0))
        return
    before: Any = site.known.get(site.index(0))
    added = site.node.inputs[-1]
    number = None if added is None else added.data
    plain = site.node.options.get("fused_activation_function", "NONE") == "NONE"
    adds = site.operator == "ADD" and plain and isinstance(before, Counted)
    if not adds or number is None or number.size != 1:
        raise site.refusal("output of type INT32; expected codes and one number, added")
    total = before.first + int(number.reshape(-1)[0])
    site.known[site.node.operator.outputs[0]] = Counted(before.source, total)


@lowers("CAST")
def _cast(site: Site) -> list[Step]:
    raise site.refusal("a change of type; expected one of codes to INT32, as indices of a table")


@lowers("GATHER")
def _gathered(site: Site) -> list[Step]:
    if isinstance(counted := site.known.get(site.index(1)), Counted):
        return _look_up(site, counted)
    table, indices = site.tensor(0), site.tensor(1)
    if indices.data is not None:
        (places,) = site.evaluate(numbered(table), indices.data)
        return [move(site, places, site.index(0))]
    whole = site.node.cache["axis"] == 0 and site.node.cache["batch_dims"] == 0
    if table.data is None or not whole or indices.type != "INT32":
        raise site.refusal("an index that is computed; expected INT32 into a constant table")
    rows, width = table.shape[0], table.size // table.shape[0]
    constant = site.constant("table", "int8_t", table.data)
    call = f"tfxp_gather({rows}, {width}, {constant.name}, {indices.size}, $in0, $out)"
    return [site.step(call, [site.index(1)], constants=[constant])]


def _look_up(site: Site, counted: Counted) -> list[Step]:
    """The GATHER from a table by such indices."""
    table = site.tensor(0).data
    if table is None or table.shape != (_CODES,) or counted.first != _CODES // 2:
        raise site.refusal("codes as indices; expected a constant table of all 256")
    constant = site.constant("table", "int8_t", table)
    return [repeated(site, constant, counted.source)]
