"""Noise of a quantized model against its float twin, layer by layer, while it trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.callbacks.observer import Figures, Observer
from tfxp.callbacks.tensor_taps import Key, first_samples, quantized_weight_taps
from tfxp.errors import ConfigError
from tfxp.files import PathLike
from tfxp.formats import decibels
from tfxp.keras_types import Samples
from tfxp.quantization.read_network import read_network, wrappers_of
from tfxp.quantization.twin import TwinNetwork, power_and_noise
from tfxp.transforms.layer_graph import Ref


class SqnrLogger(Observer):
    """Logs the SQNR of every tensor of a quantized model against its float twin, in dB.

        SQNR = 10 log10( sum x^2 / sum (x_q - x)^2 )

    The twin is the same network without quantizers, on the float weights as they are at the time.
    For activations the noise is what has built up from the input to there; "outputs" of a line
    are those of the network, before a final softmax. A tensor without any noise gives null.

    Args:
        data: inputs to run both networks on.
        log_dir, options: as in `Observer`.

    Raises:
        ConfigError: no data.
        PrecisionError: at the start of training: the model carries no quantizers.

    Example:
        >>> noise = SqnrLogger(x, "runs/w4a4")                         # doctest: +SKIP
        >>> qmodel.fit(x, y, callbacks=[noise])                        # doctest: +SKIP
        >>> noise.records[-1]["outputs"]                               # doctest: +SKIP
        {'dense': 21.4}

    References:
        Lin et al., ICML 2016, sec. 3.1: noise adds up from layer to layer.
    """

    name = "sqnr"

    def __init__(
        self, data: Samples | None, log_dir: PathLike | None = None, **options: Any
    ) -> None:
        if data is None:
            raise ConfigError("data of SqnrLogger: got none; expected inputs to run the model on.")
        super().__init__(data, log_dir, **options)
        self._outputs: list[str] = []

    def make_measure(self) -> Callable[[], Figures]:
        """Both networks and all sums in one graph function."""
        assert self._data is not None
        twin = TwinNetwork(read_network(self.model))
        batch = first_samples(self.model, self._data, self._samples)
        owners = {
            owner: Ref(twin.plan.graph.uses(p.layer)[0]) for owner, p in twin.plan.points.items()
        }
        kernels = [
            tap
            for layer in wrappers_of(self.model)
            for tap in quantized_weight_taps(layer)
            if tap.quantizer is not None
        ]
        keys: list[Key] = [tap.key for tap in kernels] + [(name, "activations") for name in owners]
        self._outputs = twin.plan.selected()["@outputs"]

        @tf.function
        def run() -> tf.Tensor:
            have, wanted = twin.quantized(batch), twin.floats(batch)
            sums = [power_and_noise(tf.convert_to_tensor(t.variable), t.values()) for t in kernels]
            sums += [power_and_noise(wanted[ref], have[ref]) for ref in owners.values()]
            return tf.stack(sums)

        def measure() -> Figures:
            pairs = zip(keys, run().numpy(), strict=True)
            return {key: {"sqnr": np.float64(decibels(*sums))} for key, sums in pairs}

        return measure

    def record(self, figures: Figures) -> dict[str, Any]:
        """dB by layer and tensor, the network's outputs first."""
        layers: dict[str, dict[str, float]] = {}
        for (layer, tensor), found in figures.items():
            layers.setdefault(layer, {})[tensor] = float(found["sqnr"])
        outputs = {name: layers[name]["activations"] for name in self._outputs}
        return {"outputs": outputs, "sqnr": layers}

    def scalars(self, figures: Figures) -> dict[str, float]:
        """Curves of what has noise."""
        curves = super().scalars(figures)
        return {tag: value for tag, value in curves.items() if np.isfinite(value)}
