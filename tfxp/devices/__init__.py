"""Several devices: what tfxp asks `tf.distribute`, in one place.

A model lives on the devices of the strategy in whose scope it was made; all models that are made of
it live there too.
"""

import tfxp.keras  # noqa: F401  first: it loads TensorFlow without its noise
from tfxp.devices.make_strategy import STRATEGIES, make_strategy
from tfxp.devices.model_strategy import (
    is_chief,
    is_replicated,
    require_one_replica,
    scope_of,
    strategy_of,
)
from tfxp.devices.optimizer_state import learning_rate, step_count
from tfxp.devices.per_replica import per_replica
from tfxp.devices.workers import (
    check_every_replica,
    check_global_batch,
    lost_workers,
    require_one_worker,
    same_on_workers,
    wait_for_chief,
    worker_count,
)

__all__ = [
    "STRATEGIES",
    "check_every_replica",
    "check_global_batch",
    "is_chief",
    "is_replicated",
    "learning_rate",
    "lost_workers",
    "make_strategy",
    "per_replica",
    "require_one_replica",
    "require_one_worker",
    "same_on_workers",
    "scope_of",
    "step_count",
    "strategy_of",
    "wait_for_chief",
    "worker_count",
]
