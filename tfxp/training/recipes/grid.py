"""A table of trainings: one recipe, rows that change some of its fields, and seeds."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Mapping
from typing import Any

from tfxp.errors import ConfigError, check_fields
from tfxp.files import find_config, read_json
from tfxp.training.recipes.recipe import SCHEMA, TrainingRecipe

_FIELDS = ["schema", "description", "reference", "command", "expected", "base", "seeds", "rows"]


@dataclasses.dataclass(frozen=True)
class TrainingGrid:
    """Trainings that differ in what is compared and in nothing else.

    Args:
        base: the recipe that all rows share.
        rows: name -> fields of the recipe that this row changes; in order of importance.
        seeds: every row is trained with each; all rows with the first seed come first.

    Example:
        >>> base = TrainingRecipe(model={"name": "lenet"})
        >>> grid = TrainingGrid(base, {"wide": {"widen": 2}, "narrow": {}}, (0, 1))
        >>> [name for name, _ in grid.runs()]
        ['wide_seed0', 'narrow_seed0', 'wide_seed1', 'narrow_seed1']
    """

    base: TrainingRecipe
    rows: Mapping[str, Mapping[str, Any]]
    seeds: tuple[int, ...] = (0,)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TrainingGrid:
        """Read a JSON file; its `base` is a recipe, or the name of a file with one.

        Raises:
            ConfigError: missing, no JSON, no grid, or a row with an impossible value.
        """
        where = os.fspath(path)
        data = read_json(path, "training grid")
        check_fields(where, data, _FIELDS)
        if data.get("schema") != SCHEMA:
            raise ConfigError(f"schema of {where}: got {data.get('schema')!r}; expected {SCHEMA}.")
        rows, seeds = data.get("rows"), data.get("seeds", [0])
        if not isinstance(rows, Mapping) or not rows or not isinstance(seeds, list):
            raise ConfigError(f"rows and seeds of {where}: expected an object and a list.")
        base = data.get("base")
        if isinstance(base, str):
            beside = os.path.join(os.path.dirname(where), base)
            chosen = beside if os.path.exists(beside) else find_config(base, "train")
            recipe = TrainingRecipe.load(chosen)
        else:
            recipe = TrainingRecipe.from_dict(base, f"base of {where}")
        grid = cls(recipe, rows, tuple(seeds))
        grid.runs()  # says what is wrong with a row before the first one has trained
        return grid

    def runs(self, only: Collection[str] = ()) -> list[tuple[str, TrainingRecipe]]:
        """Name of the run's folder and its recipe, in the order of training.

        Args:
            only: rows ("wide": with every seed) and runs ("wide_seed1"); empty for all.

        Raises:
            ConfigError: a row changes an unknown field or has an impossible value, or `only`
                names something that the grid does not have.
        """
        known = {*self.rows, *(f"{name}_seed{seed}" for name in self.rows for seed in self.seeds)}
        if unknown := [name for name in only if name not in known]:
            last = f"{list(self.rows)[-1]}_seed{self.seeds[-1]}"
            raise ConfigError(
                f"rows of the grid: got {', '.join(unknown)}; expected some of "
                f"{', '.join(self.rows)}, or one seed of them, such as {last}."
            )
        result = []
        for seed in self.seeds:
            for name, changes in self.rows.items():
                try:
                    recipe = self.base.updated({**changes, "seed": seed})
                except ConfigError as error:
                    raise ConfigError(f"row {name!r}: {error}") from None
                run = f"{name}_seed{seed}"
                if not only or name in only or run in only:
                    result.append((run, recipe))
        return result
