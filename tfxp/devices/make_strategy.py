"""Strategies by name, as tools take them."""

from __future__ import annotations

import json
import os

from tfxp.errors import ConfigError, did_you_mean
from tfxp.keras import tf

STRATEGIES = ("none", "mirrored", "multi_worker")


def make_strategy(name: str, replicas: int | None = None) -> tf.distribute.Strategy:
    """The strategy that a tool's --strategy stands for; to be made before anything is computed.

    "mirrored" takes all GPUs of this machine, or `replicas` of them; without a GPU, as many logical
    devices on the processor. "multi_worker" is this process's part of what TF_CONFIG describes.

    Args:
        name: one of `STRATEGIES`.
        replicas: how many devices of this machine.

    Raises:
        ConfigError: no such strategy, too few GPUs, or TF_CONFIG is missing or no cluster.

    Example:
        >>> from tfxp.devices import make_strategy
        >>> make_strategy("none").num_replicas_in_sync
        1
    """
    if name not in STRATEGIES:
        hint = did_you_mean(name, STRATEGIES)
        raise ConfigError(f"strategy: got {name!r}; expected one of {STRATEGIES}.{hint}")
    if replicas is not None and name != "mirrored":
        raise ConfigError(f"replicas: got {replicas} with strategy {name!r}; expected 'mirrored'.")
    if name == "none":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        return tf.distribute.MirroredStrategy(_local_devices(replicas))
    _check_cluster()
    return tf.distribute.MultiWorkerMirroredStrategy()


def _local_devices(replicas: int | None) -> list[str]:
    gpus = tf.config.list_physical_devices("GPU")
    count = replicas or max(len(gpus), 1)
    if gpus and count > len(gpus):
        raise ConfigError(f"replicas: got {count}; expected at most {len(gpus)}, the GPUs here.")
    if gpus:
        return [f"GPU:{number}" for number in range(count)]
    cpu = tf.config.list_physical_devices("CPU")[0]
    wanted = [tf.config.LogicalDeviceConfiguration()] * count
    try:
        tf.config.set_logical_device_configuration(cpu, wanted)
    except RuntimeError:  # TensorFlow has started
        have = len(tf.config.list_logical_devices("CPU"))
        if have < count:
            raise ConfigError(
                f"replicas: got {count} after TensorFlow has started with {have} devices; expected "
                "the strategy to be made before anything is computed."
            ) from None
    return [f"CPU:{number}" for number in range(count)]


def _check_cluster() -> None:
    text = os.environ.get("TF_CONFIG", "")
    try:
        found = json.loads(text)
        workers = [host for job in ("chief", "worker") for host in found["cluster"].get(job, [])]
        complete = bool(workers) and {"type", "index"} <= set(found["task"])
    except (ValueError, KeyError, TypeError, AttributeError):
        complete = False
    if not complete:
        raise ConfigError(
            f"TF_CONFIG: got {text!r}; expected JSON such as "
            '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", '
            '"index": 0}}, with another index in every process.'
        )
