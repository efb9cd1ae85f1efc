"""How a quantized model is fine-tuned."""

from __future__ import annotations

import dataclasses
import math

from tfxp.errors import ConfigError
from tfxp.sparsity.sparsity_map import SparsityMap

AUGMENTATIONS = ("none", "flip", "flip_crop")
FORMATS = ("learned", "fixed")
OPTIMIZERS = ("adam", "adafactor")


@dataclasses.dataclass(frozen=True)
class FineTuneSettings:
    """How a quantized model is fine-tuned.

    The defaults are what won on networks in 4 bits (docs/results_learned.md), with these reasons.
    BatchNormalization is folded before, so kernels and their channels differ in size by orders of
    magnitude: with one step for all (Adam at 1e-3) ResNet-8 on raw pixels collapses. Steps are
    shares of sizes instead. The rate rises from 0, because Adam's first steps have one size
    whatever the gradient is, and falls to 0 as a cosine, which ends the wandering of weights
    between two codes. Formats that are learned are held from the middle of the training on, those
    that move least first, so that none flips at its end. Labels and the float model have half of
    the loss each: the float model alone passes its own mistakes on, labels alone say less of each
    sample.

    Args:
        epochs: passes over the data.
        learning_rate: largest relative step, 0.01 = 1 % of the size of a channel or tensor, and
            0.01 in log2 of a threshold.
        batch_size: samples per step.
        augment: "none", "flip" (left-right) or "flip_crop" (pad by 4, crop, flip); images only.
        teacher_weight: share of the loss that compares with the float model's outputs, 0 to 1;
            without labels it is 1, without a float model 0.
        held_back: share of the samples that is not trained on, and decides which epoch is kept; at
            0, or where a batch would not be left, all samples do both.
        seed: seed of shuffling, augmentation, and the choice of samples that are held back.
        formats: "learned" (binary points train, by "tqt" of `learn_formats`) or "fixed".
        optimizer: "adam" (steps are shares of each channel's size) or "adafactor" (of each
            tensor's; for models whose channels must not drift apart).
        warm_up: share of the steps in which the rate rises.
        sparsity: zeros to make in the first half of the steps, by the cubic schedule of
            `tfxp.callbacks.PruningSchedule`; masks that the model has already hold without it.
        activation_l1, activation_hoyer: strengths of `tfxp.sparsity.ActivationZeros` for every
            ReLU.

    Raises:
        ConfigError: a value outside its range.
    """

    epochs: int = 2
    learning_rate: float = 5e-3
    batch_size: int = 64
    augment: str = "none"
    teacher_weight: float = 0.5
    seed: int = 0
    held_back: float = 0.1
    formats: str = "learned"
    optimizer: str = "adam"
    warm_up: float = 0.1
    sparsity: SparsityMap | str | float | None = None
    activation_l1: float = 0.0
    activation_hoyer: float = 0.0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or self.learning_rate <= 0:
            raise ConfigError(
                f"fine-tuning: got {self.epochs} epochs of batches of {self.batch_size} at rate "
                f"{self.learning_rate}; expected positive numbers."
            )
        if not 0 <= self.teacher_weight <= 1:
            raise ConfigError(f"teacher_weight: got {self.teacher_weight}; expected 0 to 1.")
        for name, share in (("held_back", self.held_back), ("warm_up", self.warm_up)):
            if not 0 <= share < 1:
                raise ConfigError(f"{name}: got {share}; expected 0 to below 1.")
        for name in ("activation_l1", "activation_hoyer"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name}: got {getattr(self, name)}; expected 0 or more.")
        if self.sparsity is not None:
            object.__setattr__(self, "sparsity", SparsityMap.of(self.sparsity))
        for name, word, known in (
            ("augment", self.augment, AUGMENTATIONS),
            ("formats", self.formats, FORMATS),
            ("optimizer", self.optimizer, OPTIMIZERS),
        ):
            if word not in known:
                raise ConfigError(f"{name}: got {word!r}; expected one of {known}.")

    @property
    def makes_zeros(self) -> bool:
        """Whether the network is to have more zeros than before."""
        return bool(self.sparsity is not None or self.activation_l1 or self.activation_hoyer)
