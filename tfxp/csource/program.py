"""A network as C constants and calls of kernels, before it is written out."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True)
class Constant:
    """A constant array of the program.

    Args:
        name: in C.
        type: of an element in C, such as "int32_t".
        values: numbers.
    """

    name: str
    type: str
    values: NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Structure:
    """A constant struct of the program.

    Args:
        type: in C.
        name: in C.
        fields: numbers and names in order, tuples nested.
    """

    type: str
    name: str
    fields: tuple[Any, ...]

    @property
    def text(self) -> str:
        """Its definition."""
        return f"static const {self.type} {self.name} = {initialiser(*self.fields)};"

    @property
    def bytes(self) -> int:
        """Its size on a processor of 32 bits, where every field has four bytes."""
        return 4 * _count(self.fields)


def _count(fields: tuple[Any, ...]) -> int:
    return sum(_count(field) if isinstance(field, tuple) else 1 for field in fields)


@dataclasses.dataclass(frozen=True)
class Step:
    """One call of a kernel.

    Args:
        layer: name of what it computes, as in the file.
        operator: the operator's name in the file.
        call: C text with `$in0`, `$in1`, … and `$out` in the places of tensors.
        inputs: tensors that it reads.
        output: the tensor that it writes.
        sums: int32 elements of scratch memory.
        codes: int16 elements of scratch memory.
        structure: the constant struct that the call names.
        constants: arrays that the structure or the call names.
    """

    layer: str
    operator: str
    call: str
    inputs: tuple[int, ...]
    output: int
    sums: int = 0
    codes: int = 0
    structure: Structure | None = None
    constants: tuple[Constant, ...] = ()


_TAKEN = (
    "arena sums weights main auto break case char const continue default do double else enum "
    "extern float for goto if inline int long register restrict return short signed sizeof static "
    "struct switch typedef union unsigned void volatile while"
).split()


#: Names that kernels, the program and stdint.h have.
_OURS = re.compile(r"model_run|(tfxp|MODEL)_\w*|u?int\w*_t|U?INT\w*")


def identifiers(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """Tensors' names as C identifiers, each of them once and none that is taken.

    Example:
        >>> identifiers(["block/conv_1:0", "block conv_1 0", "1x1", "int"])
        ['block_conv_1_0', 'block_conv_1_0_2', 'n1x1', 'int_2']
        >>> identifiers(["tfxp_add", "INT8_MAX", "MODEL_H", "int8_t", "interval"])
        ['t_tfxp_add', 't_INT8_MAX', 't_MODEL_H', 't_int8_t', 'interval']
    """
    used = {*_TAKEN, *taken}
    result: list[str] = []
    for name in names:
        base = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "tensor"
        base = f"n{base}" if base[0].isdigit() else f"t_{base}" if _OURS.fullmatch(base) else base
        text, number = base, 2
        while text in used:
            text, number = f"{base}_{number}", number + 1
        used.add(text)
        result.append(text)
    return result


def initialiser(*fields: object) -> str:
    """Initialiser of a C struct: numbers and texts in order, tuples nested.

    Example:
        >>> initialiser((1, 2), "bias", 3)
        '{{1, 2}, bias, 3}'
    """
    texts = (initialiser(*field) if isinstance(field, tuple) else str(field) for field in fields)
    return "{" + ", ".join(texts) + "}"
