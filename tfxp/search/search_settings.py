"""What a search may be told, checked, and read from a JSON file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from tfxp.errors import ConfigError, check_fields, did_you_mean
from tfxp.files import read_json

SCHEMA = 1
METHODS = ("greedy", "random", "bayesian", "hyperband", "evolution")
_NOTES = ("schema", "description", "reference", "command", "expected")


@dataclasses.dataclass(frozen=True)
class SearchSettings:
    """How precisions are searched.

    Args:
        method: "greedy" (Judd's slowest descent), "random", "bayesian", "hyperband", "evolution".
        tolerance: find the cheapest map whose accuracy is at most this share below the float
            network's. Used unless a budget is given.
        margin: standard errors that the chosen map stays below the tolerance by, so that it keeps
            it on other samples too; see `tfxp.assign.pareto.tolerance_with_margin`.
        budget: find the most accurate map that costs at most this.
        cost: which total of the cost report is meant; "macs_executed" counts the zeros that a map
            makes of the measured distributions.
        skip_zeros: whether multiplications by these zeros cost no energy either.
        cost_batch_size: images that a layer processes before the next, for costs of traffic.
        weights, activations: word lengths that may be tried.
        blocks: name -> layers that share their bits.
        fixed: layers that keep 8 bits.
        max_trials: how many trials at most; None lets greedy run to its end, 300 otherwise.
        front_error: relative error up to which the Pareto front is exact.
        warm_start: begin at Lin's allocation.
        fine_tune_steps: steps of fine-tuning in every trial; for Hyperband in each of its epochs.
        max_epochs: Hyperband's largest number of epochs.
        learning_rate, train_batch_size: of fine-tuning.
        metric: one of `tfxp.data.METRICS`, "auto", "anomaly_auc", or the name of a Keras metric.
        batch_size: samples evaluated at a time.
        cache_mib: memory for activations that are reused.
        fit: how bits become formats, as in `quantize_model`.
        seed: seed of every draw.

    Raises:
        ConfigError: a value that cannot be.

    Example:
        >>> SearchSettings(method="evolution", tolerance=0.02).max_trials
        300
    """

    method: str = "evolution"
    tolerance: float | None = None
    budget: float | None = None
    cost: str = "traffic_batch_bits"
    cost_batch_size: int = 64
    weights: Sequence[int] = tuple(range(2, 9))
    activations: Sequence[int] = tuple(range(2, 9))
    blocks: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    fixed: Sequence[str] = ()
    max_trials: int | None = None
    front_error: float | None = None
    warm_start: bool = True
    fine_tune_steps: int = 0
    max_epochs: int = 9
    learning_rate: float = 1e-2
    train_batch_size: int = 64
    metric: str = "auto"
    batch_size: int = 128
    cache_mib: int = 1024
    fit: str = "mse"
    seed: int = 0
    margin: float = 0.0
    skip_zeros: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            hint = did_you_mean(self.method, METHODS)
            raise ConfigError(f"method: got {self.method!r}; expected one of {METHODS}.{hint}")
        if self.tolerance is None and self.budget is None:
            object.__setattr__(self, "tolerance", 0.01)
        if self.max_trials is None and self.method not in ("greedy", "hyperband"):
            object.__setattr__(self, "max_trials", 300)
        for name in ("cost_batch_size", "max_trials", "max_epochs", "train_batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name}: got {value}; expected at least 1.")
        if self.margin < 0:
            raise ConfigError(f"margin: got {self.margin}; expected 0 or more standard errors.")
        if self.fine_tune_steps < 0:
            raise ConfigError(f"fine_tune_steps: got {self.fine_tune_steps}; expected 0 or more.")
        if self.method == "hyperband" and not self.fine_tune_steps:
            raise ConfigError(
                "method hyperband: got no steps of fine-tuning, which are what it gives out; "
                "expected some. Set fine_tune_steps, or use evolution."
            )

    @property
    def skips_zeros(self) -> bool:
        """Whether zeros count in the cost."""
        return self.skip_zeros or self.cost == "macs_executed"

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SearchSettings:
        """Read a JSON file.

        Raises:
            ConfigError: no such file, no JSON, unknown fields or impossible values.
        """
        name = os.fspath(path)
        data = read_json(path, "search settings")
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            raise ConfigError(f"search settings {name!r}: expected an object of schema {SCHEMA}.")
        fields = {key: value for key, value in data.items() if key not in _NOTES}
        known = [field.name for field in dataclasses.fields(cls)]
        check_fields(f"search settings {name!r}", fields, known)
        try:
            return cls(**fields)
        except TypeError as error:
            raise ConfigError(f"search settings {name!r}: {error}.") from None

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"schema": SCHEMA, **dataclasses.asdict(self)}
