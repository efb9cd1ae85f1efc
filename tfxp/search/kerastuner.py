"""The one place that imports keras-tuner.

It is hardly maintained, and its service for several processes is private; what is missing in
another version is said in one sentence (`tfxp.dependencies` knows the version that was tested).
"""

from __future__ import annotations

import tfxp.keras  # noqa: F401  first, because it loads TensorFlow quietly and picks Keras 2
from tfxp.dependencies import importing

with importing("keras-tuner"):
    from keras_tuner import HyperParameters, Objective, Oracle, synchronized
    from keras_tuner.engine.base_tuner import BaseTuner
    from keras_tuner.engine.trial import Trial, TrialStatus
    from keras_tuner.oracles import (
        BayesianOptimizationOracle,
        HyperbandOracle,
        RandomSearchOracle,
    )
    from keras_tuner.src.distribute import oracle_chief, oracle_client
    from keras_tuner.src.protos import get_service_grpc

__all__ = [
    "BaseTuner",
    "BayesianOptimizationOracle",
    "HyperParameters",
    "HyperbandOracle",
    "Objective",
    "Oracle",
    "RandomSearchOracle",
    "Trial",
    "TrialStatus",
    "get_service_grpc",
    "oracle_chief",
    "oracle_client",
    "synchronized",
]
