"""Energy per inference from a cited table of operations and memory accesses."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from typing import Any

from tfxp.cost.bits import is_float, tensor_bits
from tfxp.errors import ConfigError
from tfxp.files import read_json
from tfxp.precision import TensorPrecision

SCHEMA = 1
_OPERATIONS = ("integer_multiply", "integer_add", "float_multiply", "float_add")
_REQUIRED = ("schema", "description", "unit", "source", "page", "process", "memory", "defaults")


@dataclasses.dataclass(frozen=True)
class EnergyTable:
    """Picojoules of operations by width, and of memory accesses.

    Between the widths that the source gives, energy follows the power law through the two
    neighbouring points (beyond them, through the outermost two); a product of unlike widths is
    charged at their geometric mean.

    Args:
        operations: operation -> width in bits -> pJ.
        memory: memory -> pJ per bit.
        defaults: "weights" and "activations" -> the memory that holds them.
        provenance: description, source, page and process of the figures.

    References:
        The multiplier's exponent through Horowitz' 8- and 32-bit figures is 1.98, so products cost
        about the product of the operands' widths; the adder's is 0.87.
    """

    operations: Mapping[str, Mapping[int, float]]
    memory: Mapping[str, float]
    defaults: Mapping[str, str]
    provenance: Mapping[str, str]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> EnergyTable:
        """Read a JSON file.

        Raises:
            ConfigError: the file is missing, is no JSON, or lacks a field; unit, source and page
                are required.
        """
        data = read_json(path, "energy table")
        return cls.from_dict(data, f"energy table {os.fspath(path)!r}")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "energy table") -> EnergyTable:
        """From its JSON form.

        Raises:
            ConfigError: a field is missing or has an impossible value.
        """
        for name in (*_REQUIRED, *_OPERATIONS):
            if name not in data:
                raise ConfigError(f"{where}: got no field {name!r}; expected it to be given.")
        if data["schema"] != SCHEMA or data["unit"] != "pJ":
            raise ConfigError(
                f"schema and unit of {where}: got {data['schema']!r} and {data['unit']!r}; "
                f"expected {SCHEMA} and 'pJ'."
            )
        operations = {
            name: {int(bits): float(pj) for bits, pj in data[name].items()} for name in _OPERATIONS
        }
        memory = {
            name: float(access["pj"]) / float(access["bits"])
            for name, access in data["memory"].items()
        }
        values = [pj for widths in operations.values() for pj in widths.values()]
        if any(value <= 0 for value in [*values, *memory.values()]):
            raise ConfigError(f"energies of {where}: got one that is not positive.")
        for tensor in ("weights", "activations"):
            if data["defaults"].get(tensor) not in memory:
                raise ConfigError(
                    f"default memory of {tensor} in {where}: got {data['defaults'].get(tensor)!r}; "
                    f"expected one of {', '.join(memory)}."
                )
        provenance = {
            name: str(data[name]) for name in ("description", "source", "page", "process")
        }
        return cls(operations, memory, dict(data["defaults"]), provenance)

    def operation_pj(self, name: str, bits: float) -> float:
        """Energy of one operation at a width, in pJ.

        Example:
            >>> table = EnergyTable({"integer_add": {8: 1.0, 32: 4.0}}, {}, {}, {})
            >>> table.operation_pj("integer_add", 16)
            2.0
        """
        points = sorted(self.operations[name].items())
        if len(points) == 1:
            return points[0][1] * bits / points[0][0]
        upper = next((i for i, (width, _) in enumerate(points) if width >= bits), len(points) - 1)
        (w0, e0), (w1, e1) = points[max(upper, 1) - 1], points[max(upper, 1)]
        exponent = math.log(e1 / e0) / math.log(w1 / w0)
        return e0 * (bits / w0) ** exponent

    def mac_pj(
        self, weights: TensorPrecision, activations: TensorPrecision, accumulator_bits: int
    ) -> float:
        """Energy of one multiply-accumulate in pJ: float if either operand is."""
        if is_float(weights) or is_float(activations):
            return self.operation_pj("float_multiply", 32) + self.operation_pj("float_add", 32)
        width = math.sqrt(tensor_bits(weights) * tensor_bits(activations))
        product = self.operation_pj("integer_multiply", width)
        return product + self.operation_pj("integer_add", accumulator_bits)

    def access_pj(self, tensor: str, bits: float, memory: str | None = None) -> float:
        """Energy of moving bits of "weights" or "activations", in pJ.

        Raises:
            ConfigError: the table has no such memory.
        """
        name = memory or self.defaults[tensor]
        if name not in self.memory:
            known = ", ".join(self.memory)
            raise ConfigError(f"memory of {tensor}: got {name!r}; expected one of {known}.")
        return self.memory[name] * bits
