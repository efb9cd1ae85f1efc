"""An announcement: where a file may differ from its Keras model, by how much, and why."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Note:
    """Layers whose results may differ.

    Args:
        layers: names; none stands for every layer.
        text: why.
        lsb: largest difference where a layer reads equal inputs; None if nothing bounds it.
    """

    layers: tuple[str, ...]
    text: str
    lsb: int | None = 1

    def __str__(self) -> str:
        return f"{', '.join(self.layers)}: {self.text}" if self.layers else self.text
