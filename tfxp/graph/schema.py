"""The installed `.tflite` schema, loaded privately with bounds-checked access to the bytes.

The schema's generated readers trust their bytes. Here a copy of that module is executed whose
`flatbuffers.table.Table` is `CheckedTable`: each offset, vector and string is checked against the
file before it is touched, and the number of tables is bounded by the size of the file, so that
offsets which share tables cannot multiply work. The public copy of the module is left alone.
"""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType, SimpleNamespace
from typing import Any

import flatbuffers
from flatbuffers import encode
from flatbuffers import number_types as N
from flatbuffers.table import Table

from tfxp.errors import TfliteFormatError


class Budget:
    """How many tables and string bytes one file may still unpack to."""

    def __init__(self, file_bytes: int) -> None:
        self.tables = file_bytes // 2 + 4096
        self.string_bytes = 4 * file_bytes + 4096

    def spend_table(self) -> None:
        """Counts one table; raises once they outnumber what the file could hold."""
        self.tables -= 1
        if self.tables < 0:
            raise TfliteFormatError(
                "tables of the flatbuffer: got more than the file has room for; expected each "
                "table to be stored once. The file is damaged or made to exhaust memory"
            )

    def spend_string(self, length: int) -> None:
        """Counts the bytes of one string."""
        self.string_bytes -= length
        if self.string_bytes < 0:
            raise TfliteFormatError(
                "strings of the flatbuffer: got more bytes than the file has; expected each "
                "string to be stored once. The file is damaged or made to exhaust memory"
            )


class CheckedBytes(bytes):
    """File content that carries its own budget, so that every table of the file shares one."""

    budget: Budget


def checked_bytes(content: bytes) -> CheckedBytes:
    """The file content with a fresh budget."""
    wrapped = CheckedBytes(content)
    wrapped.budget = Budget(len(content))
    return wrapped


class CheckedTable(Table):
    """A flatbuffer table whose every access is checked against the end of the file."""

    __slots__ = ()

    def __init__(self, buf: Any, pos: int) -> None:
        if isinstance(buf, CheckedBytes):
            buf.budget.spend_table()
        Table.__init__(self, buf, pos)
        if pos:
            self._check_vtable()

    def _require(self, start: int, size: int, what: str) -> None:
        if start < 0 or size < 0 or start + size > len(self.Bytes):
            raise TfliteFormatError(
                f"{what} of the flatbuffer: got bytes {start} to {start + size}; expected at most "
                f"{len(self.Bytes)}, the end of the file. The file is truncated or damaged"
            )

    def _check_vtable(self) -> None:
        self._require(self.Pos, 4, "table")
        vtable = self.Pos - encode.Get(N.SOffsetTFlags.packer_type, self.Bytes, self.Pos)
        self._require(vtable, 4, f"vtable of the table at byte {self.Pos}")
        length = encode.Get(N.VOffsetTFlags.packer_type, self.Bytes, vtable)
        self._require(vtable, length, f"vtable of the table at byte {self.Pos}")
        if length < 4 or length % 2:
            raise TfliteFormatError(
                f"vtable at byte {vtable} of the flatbuffer: got {length} bytes; expected an even "
                "number of at least 4. The file is damaged"
            )

    def Get(self, flags: Any, off: int) -> Any:
        """A scalar at byte `off`."""
        self._require(off, flags.bytewidth, "value")
        return flags.py_type(encode.Get(flags.packer_type, self.Bytes, off))

    def Indirect(self, off: int) -> int:
        """The position that the offset at byte `off` points to."""
        self._require(off, 4, "offset")
        target = off + encode.Get(N.UOffsetTFlags.packer_type, self.Bytes, off)
        self._require(target, 4, f"target of the offset at byte {off}")
        return int(target)

    def String(self, off: int) -> bytes:
        """The string that the offset at byte `off` points to."""
        start = self.Indirect(off)
        length = encode.Get(N.UOffsetTFlags.packer_type, self.Bytes, start)
        self._require(start + 4, length, f"string at byte {start}")
        if isinstance(self.Bytes, CheckedBytes):
            self.Bytes.budget.spend_string(length)
        return bytes(self.Bytes[start + 4 : start + 4 + length])

    def VectorLen(self, off: int) -> int:
        """Number of elements of the vector at slot offset `off`."""
        start = self.Indirect(self.Pos + off)
        length = int(encode.Get(N.UOffsetTFlags.packer_type, self.Bytes, start))
        # one byte per element is the least any vector takes; wider ones are checked on access
        self._require(start + 4, length, f"vector at byte {start}")
        return length

    def Vector(self, off: int) -> int:
        """Position of the first element of the vector at slot offset `off`."""
        return self.Indirect(self.Pos + off) + 4

    def Union(self, t2: Any, off: int) -> None:
        """Points `t2` to the union's table at slot offset `off`."""
        t2.Pos = self.Indirect(self.Pos + off)
        t2.Bytes = self.Bytes

    def GetVectorAsNumpy(self, flags: Any, off: int) -> Any:
        """The vector at slot offset `off` as an array over the file's bytes."""
        start, length = self.Vector(off), self.VectorLen(off)
        self._require(start, length * flags.bytewidth, f"vector at byte {start - 4}")
        return encode.GetVectorAsNumpy(N.to_numpy_type(flags), self.Bytes, length, start)


def _load() -> ModuleType:
    spec = importlib.util.find_spec("ai_edge_litert.schema_py_generated")
    if spec is None or spec.loader is None:
        raise ImportError("ai_edge_litert has no schema_py_generated; install ai-edge-litert >= 2")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    names = {name: getattr(flatbuffers, name) for name in dir(flatbuffers) if name[0] != "_"}
    names["table"] = SimpleNamespace(Table=CheckedTable)
    module.flatbuffers = SimpleNamespace(**names)  # type: ignore[attr-defined]
    return module


S: Any = _load()


def enum_names(enum: str) -> dict[int, str]:
    """Value to name of one of the schema's enums."""
    return {v: k for k, v in vars(getattr(S, enum)).items() if not k.startswith("_")}


TENSOR_TYPES = enum_names("TensorType")
OPERATORS = enum_names("BuiltinOperator")
OPTION_TABLES = enum_names("BuiltinOptions")

#: option fields that hold an enum, and which
ENUM_FIELDS = {
    "padding": "Padding",
    "fused_activation_function": "ActivationFunctionType",
    "mode": "MirrorPadMode",
    "weights_format": "FullyConnectedOptionsWeightsFormat",
    "in_data_type": "TensorType",
    "out_data_type": "TensorType",
    "output_type": "TensorType",
    "out_type": "TensorType",
    "idx_out_type": "TensorType",
    "quantized_bias_type": "TensorType",
}
ENUM_NAMES = {name: enum_names(enum) for name, enum in ENUM_FIELDS.items()}
ENUM_VALUES = {
    name: {text: value for value, text in names.items()} for name, names in ENUM_NAMES.items()
}

_SPECIAL_TABLES = {
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "L2_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "SUM": "ReducerOptions",
    "REDUCE_MAX": "ReducerOptions",
    "REDUCE_MIN": "ReducerOptions",
    "REDUCE_PROD": "ReducerOptions",
    "REDUCE_ANY": "ReducerOptions",
    "REDUCE_ALL": "ReducerOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "L2_NORMALIZATION": "L2NormOptions",
    "UNIDIRECTIONAL_SEQUENCE_RNN": "SequenceRNNOptions",
}
_BY_LOWER = {name.lower(): name for name in OPTION_TABLES.values()}


def default_options_type(operator: str) -> str:
    """The option table that belongs to an operator name, or "" if it has none.

    Example:
        >>> default_options_type("CONV_2D"), default_options_type("RELU")
        ('Conv2DOptions', '')
    """
    if operator in _SPECIAL_TABLES:
        return _SPECIAL_TABLES[operator]
    return _BY_LOWER.get(operator.replace("_", "").lower() + "options", "")


def snake(camel: str) -> str:
    """ "strideH" to "stride_h"."""
    return re.sub(r"([A-Z])", r"_\1", camel).lower()


def default_options(table: str) -> dict[str, Any]:
    """Every field of an option table at its schema default; {} for no or an unknown table.

    Example:
        >>> default_options("Conv2DOptions")["dilation_w_factor"]
        1
    """
    kind = getattr(S, table + "T", None) if table else None
    return options_to_dict(kind()) if kind else {}


def options_to_dict(table: Any) -> dict[str, Any]:
    """An option table as a dictionary; enums that kernels read become names."""
    result: dict[str, Any] = {}
    for camel, value in vars(table).items():
        key = snake(camel)
        names = ENUM_NAMES.get(key)
        result[key] = names.get(value, value) if names and isinstance(value, int) else value
    return result


def dict_to_options(table: str, options: dict[str, Any]) -> Any:
    """An option table of the schema from a dictionary.

    Raises:
        TfliteFormatError: a name that the table does not have, or an unknown enum name.
    """
    built = getattr(S, table + "T")()
    fields = {snake(camel): camel for camel in vars(built)}
    for key, value in options.items():
        if key not in fields:
            raise TfliteFormatError(
                f"option of {table}: got {key!r}; expected one of {sorted(fields)}. Rename it"
            )
        if isinstance(value, str) and key in ENUM_VALUES:
            if value not in ENUM_VALUES[key]:
                raise TfliteFormatError(
                    f"{key} of {table}: got {value!r}; expected one of {sorted(ENUM_VALUES[key])}"
                )
            value = ENUM_VALUES[key][value]
        setattr(built, fields[key], value)
    return built
