"""The figures of one run as JSON: the truth behind its page, and what two runs are compared by."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfxp.errors import DataError
from tfxp.report.layer_figures import LayerFigures

SCHEMA = 1
_DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)


@dataclass(frozen=True)
class RunFigures:
    """Everything that a model's page says of one run, without its charts.

    Args:
        name: the model's name.
        layers: figures of each layer.
        summary: what it is -> text, such as accuracies and sizes.
        accuracies: what was evaluated -> its accuracy.
        costs: what is counted -> (of this network, of the float one).
        provenance: as `tfxp.report.provenance` gives it.
    """

    name: str
    layers: tuple[LayerFigures, ...]
    summary: Mapping[str, str] = field(default_factory=dict)
    accuracies: Mapping[str, float] = field(default_factory=dict)
    costs: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON form; `from_dict` is the inverse.

        Example:
            >>> run = RunFigures("net", (LayerFigures("conv", "conv"),))
            >>> RunFigures.from_dict(run.to_dict()) == run
            True
        """
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        values["layers"] = [layer.to_dict() for layer in self.layers]
        values["costs"] = {name: list(pair) for name, pair in self.costs.items()}
        return {"schema": SCHEMA, **values}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "figures of a run") -> RunFigures:
        """From its JSON form.

        Raises:
            DataError: a field is missing or broken, or the schema is another one.
        """
        try:
            if data["schema"] != SCHEMA:
                raise DataError(
                    f"schema of {where}: got {data['schema']!r}; expected {SCHEMA}. Make it again."
                )
            return cls(
                str(data["name"]),
                tuple(LayerFigures.from_dict(layer) for layer in data["layers"]),
                dict(data["summary"]),
                {name: float(value) for name, value in data["accuracies"].items()},
                {name: (float(a), float(b)) for name, (a, b) in data["costs"].items()},
                dict(data["provenance"]),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{where}: got no figures of a run ({error!r}); expected what measure --json or "
                "--html wrote. Make it again."
            ) from None


def accuracy_name(evaluated: str) -> str:
    """What an accuracy is called beside other figures.

    Args:
        evaluated: a key of `RunFigures.accuracies`, such as "float".
    """
    return f"accuracy, {evaluated}"


def read_run(path: str | os.PathLike[str]) -> RunFigures:
    """Figures from a page, or from the JSON file of `tfxp measure`.

    Args:
        path: .html or .json.

    Raises:
        DataError: it is missing, or holds no figures of a run.
    """
    where = f"run {os.fspath(path)!r}"
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise DataError(
            f"{where}: got {reason[0].lower()}{reason[1:]}; expected a page or a JSON file."
        ) from None
    found = _DATA.search(text)
    try:
        data = json.loads(found.group(1) if found else text)
    except ValueError:
        raise DataError(
            f"{where}: got neither JSON nor a page with figures; expected what measure --json or "
            "--html wrote."
        ) from None
    if isinstance(data, dict) and isinstance(data.get("run"), dict):
        data = {"layers": data.get("layers"), **data["run"]}  # a page has them once
    return RunFigures.from_dict(data, where)
