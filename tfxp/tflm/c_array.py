"""A `.tflite` file as a C array, with what a firmware for TFLM has to write beside it."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from pathlib import Path

from tfxp.errors import EngineError
from tfxp.files import PathLike, write_text
from tfxp.graph import read_tflite
from tfxp.tflm.memory import arena_bytes
from tfxp.tflm.operators import resolver_calls

_TEMPLATE = """\
/* {what}: {size:,} bytes for LiteRT for Microcontrollers.
 *
 *   #include "{file}"
 *   static tflite::MicroMutableOpResolver<{upper}_OPERATORS> resolver;
 *   {name}_add_operators(resolver);
 *   alignas(16) static uint8_t arena[{upper}_ARENA_BYTES];
 *   tflite::MicroInterpreter interpreter(tflite::GetModel({name}), resolver, arena,
 *                                        {upper}_ARENA_BYTES);
 *
 * {arena_note}
 */
#ifndef {upper}_H
#define {upper}_H

#define {upper}_OPERATORS {operators}
{arena}
#ifdef __cplusplus
#define {upper}_ALIGNED alignas(16)
/* For a MicroMutableOpResolver<{upper}_OPERATORS>; true if all could be added. */
template <class Resolver>
inline bool {name}_add_operators(Resolver &resolver) {{
  return {calls};
}}
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define {upper}_ALIGNED _Alignas(16)
#else
#define {upper}_ALIGNED __attribute__((aligned(16)))
#endif

static const unsigned int {name}_length = {size};
{upper}_ALIGNED static const unsigned char {name}[] = {{
{bytes}
}};

#endif
"""


@dataclasses.dataclass(frozen=True)
class CArray:
    """A written C array.

    Args:
        path: where it is.
        name: of the array.
        bytes: of flash that the file takes.
        operators: calls that register its operators with TFLM's resolver.
        arena_bytes: of the tensor arena that TFLM used; None where TFLM is missing.
        note: why the arena is unknown; "" if it is known.
    """

    path: str
    name: str
    bytes: int
    operators: tuple[str, ...]
    arena_bytes: int | None
    note: str = ""

    def sentence(self) -> str:
        """What was written, for people."""
        arena = f"an arena of {self.arena_bytes:,}" if self.arena_bytes else "an unknown arena"
        why = f" ({self.note})" if self.note else ""
        return (
            f"{self.path}: array {self.name} of {self.bytes:,} bytes, {len(self.operators)} "
            f"operators, {arena}{why}"
        )

    def to_dict(self) -> dict[str, object]:
        """Figures for a JSON file."""
        return dataclasses.asdict(self)


def write_c_array(path: PathLike, content: bytes) -> CArray:
    """Write a file as a C header for LiteRT for Microcontrollers.

    The header has the file as an aligned constant array, its length, a function that registers
    exactly the operators in use with TFLM's `MicroMutableOpResolver`, and the size of the tensor
    arena that TFLM really used for a run.

    Args:
        path: header to write; the array is called as its name without suffix.
        content: the `.tflite` file.

    Raises:
        UnsupportedOpError: TFLM has no kernel of an operator; all are named.
        EngineError: TFLM does not run the file.
        OutputError: it cannot be written.
    """
    file = Path(path).name
    name = _identifier(Path(path).stem)
    calls = resolver_calls(read_tflite(content))
    arena, note = None, ""
    try:
        arena = arena_bytes(content)
    except EngineError as error:
        if error.outcome != "missing":
            raise
        note = str(error)
    upper = name.upper()
    status = " &&\n         ".join(f"resolver.{call}() == 0" for call in calls)
    known = "The smallest arena in which TFLM ran it on 64 bits; a processor of 32 needs less."
    text = _TEMPLATE.format(
        what=file,
        file=file,
        name=name,
        upper=upper,
        size=len(content),
        operators=len(calls),
        calls=status,
        arena=f"#define {upper}_ARENA_BYTES {arena}\n" if arena else "",
        arena_note=known
        if arena
        else "The size of the arena is unknown: tflite-micro was missing.",
        bytes=_bytes(content),
    )
    write_text(path, text)
    return CArray(str(path), name, len(content), tuple(calls), arena, note)


def _identifier(stem: str) -> str:
    name = re.sub(r"\W+", "_", stem, flags=re.ASCII).strip("_") or "model"
    return f"model_{name}" if name[0].isdigit() else name


def _bytes(content: bytes) -> str:
    return textwrap.fill(
        ", ".join(map(str, content)), 98, initial_indent="  ", subsequent_indent="  "
    )
