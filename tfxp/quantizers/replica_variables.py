"""How variables that a step writes behave where several replicas take the step."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def summed_over_replicas() -> dict[str, Any]:
    """Keywords of `add_weight`: every replica adds to its own copy, and who reads gets the sum.

    What is counted, and gradients of a loss that is a mean over the global batch.
    """
    return _written_by_replicas(tf.VariableAggregation.SUM)


def same_on_replicas() -> dict[str, Any]:
    """Keywords of `add_weight`: every replica writes the same, so any of the copies is the value.

    What follows from the weights alone.
    """
    return _written_by_replicas(tf.VariableAggregation.ONLY_FIRST_REPLICA)


def _written_by_replicas(aggregation: tf.VariableAggregation) -> dict[str, Any]:
    # Copies are joined when they are read: a step may write under a condition, or inside a
    # gradient, where replicas cannot wait for one another.
    return {
        "synchronization": tf.VariableSynchronization.ON_READ,
        "aggregation": aggregation,
        "trainable": False,
    }
