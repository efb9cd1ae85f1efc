"""One function of a batch, computed by all replicas on their parts of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tfxp.keras import tf


def per_replica(
    strategy: tf.distribute.Strategy, function: Callable[..., Any]
) -> Callable[..., Any]:
    """A compiled function of a global batch whose results are summed over the replicas.

        result = sum_r function(part_r, share_r),    share_r = samples of part r / samples

    A mean over samples that is multiplied by the share sums up to the mean over the global batch,
    whatever the parts' sizes. Every process is given the same global batch and takes its own
    parts, in order; so the sum is that of one device but for the rounding of its additions.

    Args:
        strategy: where; the default strategy has one replica, whose part is all of it.
        function: takes tensors whose first axis numbers samples, then the share as a float32
            scalar; returns tensors that are sums over samples, or means times the share.

    Example:
        >>> from tfxp.devices import per_replica
        >>> mean = per_replica(tf.distribute.get_strategy(),
        ...                    lambda x, share: share * tf.reduce_mean(x))
        >>> float(mean(tf.constant([1.0, 2.0, 6.0])))
        3.0
    """

    @tf.function(reduce_retracing=True)
    def run(*parts: tf.Tensor) -> Any:
        results = strategy.run(function, parts)
        return tf.nest.map_structure(
            lambda value: strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None), results
        )

    def of_batch(*batch: tf.Tensor) -> Any:
        return run(*_parts(strategy, batch))

    return of_batch


def _parts(strategy: tf.distribute.Strategy, batch: tuple[tf.Tensor, ...]) -> list[Any]:
    """Every tensor of a batch as values for the replicas of this process, then the shares."""
    flat = tf.nest.flatten(batch)
    samples, replicas = int(flat[0].shape[0]), strategy.num_replicas_in_sync

    def rows(context: tf.distribute.experimental.ValueContext) -> slice:
        number = context.replica_id_in_sync_group
        return slice(samples * number // replicas, samples * (number + 1) // replicas)

    def share(context: tf.distribute.experimental.ValueContext) -> tf.Tensor:
        mine = rows(context)
        return tf.constant((mine.stop - mine.start) / max(samples, 1), tf.float32)

    distribute = strategy.experimental_distribute_values_from_function
    parts = [distribute(lambda context, t=tensor: t[rows(context)]) for tensor in flat]
    return [*tf.nest.pack_sequence_as(batch, parts), distribute(share)]
